"""ONNX Runtime's published table of kernels, read in the form it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets.toolchain.kernel_table import onnxruntime_version, parse_table
from targets.toolchain.toolchain import Toolchain

TABLE = """
## Operators implemented by CPUExecutionProvider

| Op Name | Parameters | OpSet Version | Types Supported |
|---------|------------|---------------|-----------------|
|**Operator Domain:** *ai.onnx*||||
|Cast|*in* input:**T1**<br> *out* output:**T2**|13+|**T1** = tensor(float)<br/> **T2** = tensor(bool)|

## Operators implemented by CUDAExecutionProvider

| Op Name | Parameters | OpSet Version | Types Supported |
|---------|------------|---------------|-----------------|
|**Operator Domain:** *ai.onnx*||||
|Cast|*in* input:**T1**<br> *out* output:**T2**|19+|**T1** = tensor(float), tensor(float16)<br/> **T2** = tensor(bool)|
|||[13, 18]|**T1** = tensor(float)<br/> **T2** = tensor(bool)|
|||9|**T1** = tensor(double)|
|Concat|*in* inputs:**T**<br> *out* concat_result:**T**|13+|**T** = tensor(float)|
|Split|*in* a:**T**<br> *out* outputs...:**T**<br><br>or<br><br>*in* a:**T**<br> *in* s:**tensor(int64)**<br> *out* outputs...:**T**|13+|**T** = tensor(float)|
|**Operator Domain:** *com.microsoft*||||
|Gelu|*in* X:**T**<br> *out* Y:**T**|1+|**T** = tensor(float16)|
"""  # noqa: E501 - the table's own form


def test_only_the_section_of_the_provider_counts() -> None:
    table = parse_table(TABLE, "cuda", "1.2.3")
    assert (table.provider, table.onnxruntime) == ("cuda", "1.2.3")
    assert set(table.operators) == {":Cast", ":Concat", ":Split", "com.microsoft:Gelu"}
    cast = table.operators[":Cast"]
    assert cast.kernels[0].types["T1"] == ("tensor(float)", "tensor(float16)")
    assert cast.signatures == ((("T1",), ("T2",)),)


@pytest.mark.parametrize(
    ("version", "kernels"), [(19, [0]), (21, []), (13, [1]), (18, [1]), (9, [2]), (10, [])]
)
def test_a_kernel_is_for_the_versions_it_names(version: int, kernels: list[int]) -> None:
    cast = parse_table(TABLE, "cuda", "1").operators[":Cast"]
    found = [place for place, kernel in enumerate(cast.kernels) if kernel.implements(version)]
    assert found == kernels


def test_forms_and_further_values_are_kept() -> None:
    split = parse_table(TABLE, "cuda", "1").operators[":Split"]
    assert split.signatures == (
        (("T",), ("T...",)),
        (("T", "tensor(int64)"), ("T...",)),
    )


def test_a_row_of_another_form_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a range of versions: 'since 13'"):
        parse_table(TABLE.replace("|13+|", "|since 13|"), "cuda", "1")
    with pytest.raises(ValueError, match="no kernels of dml"):
        parse_table(TABLE, "dml", "1")


@pytest.mark.parametrize(
    ("lock", "version"),
    [
        ("onnxruntime-genai-webgpu==0.18.0\nonnxruntime-webgpu==1.32.0\n", "1.32.0"),
        ("onnxruntime==1.31.1\nonnxruntime-genai==0.18.0\n", "1.31.1"),
    ],
)
def test_any_flavour_of_the_runtime_is_known_by_its_name(
    tmp_path: Path, lock: str, version: str
) -> None:
    text = "".join(f"{line} \\\n    --hash=sha256:{'0' * 64}\n" for line in lock.splitlines())
    (tmp_path / "requirements.linux-amd64.lock").write_text(text)
    toolchain = Toolchain("new", "linux/amd64", "3.11", tmp_path, {})
    assert onnxruntime_version(toolchain) == version
