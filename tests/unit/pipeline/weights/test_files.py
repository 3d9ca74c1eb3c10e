"""Which files hold a checkpoint's weights, and what is wrong with those that cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.contract.errors import StepError
from pipeline.weights.files import tensors_of, weight_files
from tests.support.safetensors_files import write_index, write_safetensors

OLD, NEW = [[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """Return a checkpoint in two files, beside what others left in its folder."""
    write_safetensors(tmp_path / "model-00001-of-00002.safetensors", {"a": NEW})
    write_safetensors(tmp_path / "model-00002-of-00002.safetensors", {"b": NEW})
    write_index(
        tmp_path,
        {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
    )
    write_safetensors(tmp_path / "model-00003-of-00003.safetensors", {"a": OLD})
    write_safetensors(tmp_path / "consolidated.safetensors", {"tok_embeddings.weight": OLD})
    return tmp_path


def test_only_what_the_index_names_counts(sharded: Path) -> None:
    assert [path.name for path in weight_files(sharded)] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    found = tensors_of(sharded)
    assert {name: tensor.shape for name, tensor in found.items()} == {"a": (2, 2), "b": (2, 2)}
    assert found["a"].file.name == "model-00001-of-00002.safetensors"
    content = found["a"].file.read_bytes()
    assert content[found["a"].begin : found["a"].end] == content[-16:]


def test_a_single_file_comes_before_an_index(sharded: Path) -> None:
    write_safetensors(sharded / "model.safetensors", {"c": OLD})
    assert tensors_of(sharded).keys() == {"c"}


def test_other_names_are_no_weights(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "adapter_model.safetensors", {"a": OLD})
    write_safetensors(tmp_path / "consolidated.safetensors", {"a": OLD})
    assert weight_files(tmp_path) == ()
    assert not tensors_of(tmp_path)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("{}", "cannot be read"),
        ("[]", "cannot be read"),
        ("not JSON", "cannot be read"),
        ('{"weight_map": {}}', "names no tensor"),
        ('{"weight_map": {"a": 1}}', "names what is no file"),
        ('{"weight_map": {"a": "../x.safetensors"}}', "outside the folder: ../x.safetensors"),
        ('{"weight_map": {"a": "x.safetensors"}}', "shards are missing: x.safetensors"),
    ],
)
def test_a_broken_index_is_said(tmp_path: Path, index: str, said: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(StepError, match=said) as refused:
        weight_files(tmp_path)
    assert refused.value.cause == "bad_input"


def test_a_file_that_is_cut_short_is_named(sharded: Path) -> None:
    file = sharded / "model-00002-of-00002.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    with pytest.raises(StepError, match=rf"{file.name} is cut short: .* of {len(whole):,} bytes"):
        tensors_of(sharded)


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 40, b"\x05" + b"\0" * 7 + b"{nope"])
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(StepError, match=r"model\.safetensors"):
        tensors_of(tmp_path)


def test_two_files_with_the_same_tensor_are_refused(sharded: Path) -> None:
    write_safetensors(sharded / "model-00002-of-00002.safetensors", {"a": OLD, "b": NEW})
    with pytest.raises(StepError, match="both hold a"):
        tensors_of(sharded)
