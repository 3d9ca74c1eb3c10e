"""One value flipped in each kind of place of ONNX and safetensors, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from targets.release.differences.compare_files import compare_bytes, compare_folders

MODEL, DATA = "model.onnx", "model.onnx.data"
N, K, BLOCK = 4, 64, 32
# Where the tensors lie in the data file: 64 bytes of padding stand between W and scales.
PLACES = {"W": (0, N * K // 2), "scales": (192, N * 2 * 4), "zeros": (224, N), "norm": (228, 6)}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    released, rebuilt = tmp_path / "released", tmp_path / "rebuilt"
    for folder in (released, rebuilt):
        folder.mkdir()
        (folder / MODEL).write_bytes(model().SerializeToString())
        (folder / DATA).write_bytes(bytes(data()))
    return released, rebuilt


def data() -> bytearray:
    content = bytearray(234)
    content[:128] = b"\x88" * 128
    content[192:224] = np.full(8, 0.5, np.float32).tobytes()
    content[224:228] = b"\x88" * 4
    content[228:234] = np.ones(3, np.float16).tobytes()
    return content


def model() -> Any:
    shapes = {
        "W": (TensorProto.UINT8, [N, 2, 16]),
        "scales": (TensorProto.FLOAT, [N, 2]),
        "zeros": (TensorProto.UINT8, [N, 1]),
        "norm": (TensorProto.FLOAT16, [3]),
    }
    initializers = [numpy_helper.from_array(np.array([1, 2], np.int64), "inside")]
    for name, (dtype, dims) in shapes.items():
        tensor = TensorProto(name=name, data_type=dtype, dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
        offset, length = PLACES[name]
        for key, value in (("location", DATA), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        initializers.append(tensor)
    node = helper.make_node(
        "MatMulNBits",
        ["x", "W", "scales", "zeros"],
        ["y"],
        name="/q_proj",
        domain="com.microsoft",
        K=K,
        N=N,
        bits=4,
        block_size=BLOCK,
    )
    graph = helper.make_graph(
        [node, helper.make_node("Identity", ["y"], ["z"], name="/end")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, K])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, N])],
        initializers,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, producer_name="quern")


def said(folders: tuple[Path, Path]) -> list[str]:
    return [f"{one.file}, {one.where}: {one.what}" for one in compare_folders(*folders)]


@pytest.mark.parametrize(
    ("at", "to", "expected"),
    [
        (33, 0x98, "W: 4-bit weights (4 x 64, blocks of 32) of /q_proj: 1 of 256 quantized values "
         "differs, at [1, 3]: 8 released, 9 rebuilt, by 1 step of 15"),
        (225, 0x85, "zeros: zero points of /q_proj: 1 of 8 quantized values differs, at [1, 0]: "
         "8 released, 5 rebuilt, by 3 steps of 15"),
        (195, 0x3E, "scales: float32 [4, 2], scales of /q_proj: 1 of 8 values differs, at [0, 0]: "
         "0.5 released, 0.125 rebuilt, by 0.375 (75 %)"),
        (229, 0x40, "norm: float16 [3]: 1 of 3 values differs, at [0]: 1 released, 2 rebuilt, "
         "by 1 (50 %)"),
        (140, 0x01, "bytes: no tensor that can be read differs; "
         "1 of 234 bytes differs, the first at offset 140"),
    ],
)  # fmt: skip
def test_one_byte_of_the_data_file(
    folders: tuple[Path, Path], at: int, to: int, expected: str
) -> None:
    content = data()
    content[at] = to
    (folders[1] / DATA).write_bytes(content)
    assert said(folders) == [f"{DATA}, {expected}"]


def _set(name: str, value: Any) -> Callable[[Any], None]:
    return lambda model: setattr(model, name, value)


def _attribute(model: Any) -> None:
    next(one for one in model.graph.node[0].attribute if one.name == "block_size").i = 64


def _type(model: Any) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros(3, np.int32), "inside"))


def _value(model: Any) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([1, 9]), "inside"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("producer_name", "other"), "graph: "),
        (_attribute, "graph: nodes, attributes, inputs, outputs or metadata differ"),
        (lambda m: m.graph.node.pop(), "graph: "),
        (lambda m: setattr(m.opset_import[1], "version", 2), "graph: "),
        (lambda m: m.metadata_props.add(key="a", value="b"), "graph: "),
        (lambda m: m.graph.node.reverse(), "graph: "),
        (lambda m: m.graph.initializer.pop(0), "inside: only released: int64 [2]"),
        (_type, "inside: int64 [2] released, int32 [3] rebuilt; its values are not compared"),
        (_value, "inside: int64 [2]: 1 of 2 values differs, at [1]: 2 released, 9 rebuilt"),
    ],
)
def test_the_model_itself(
    folders: tuple[Path, Path], change: Callable[[Any], object], expected: str
) -> None:
    changed = model()
    change(changed)
    (folders[1] / MODEL).write_bytes(changed.SerializeToString())
    (sentence,) = said(folders)
    assert sentence.startswith(f"{MODEL}, {expected}")


def test_a_truncated_data_file_names_the_tensors_that_are_cut(folders: tuple[Path, Path]) -> None:
    (folders[1] / DATA).write_bytes(data()[:230])
    assert said(folders) == [
        f"{DATA}, norm: the rebuilt tensor is damaged: its bytes are 228 to 233 of {DATA}, "
        "which has 230",
    ]


def test_a_missing_data_file_is_said_once(folders: tuple[Path, Path]) -> None:
    (folders[1] / DATA).unlink()
    assert said(folders) == [f"{DATA}, : only released: 234 bytes"]


def test_bytes_after_the_last_tensor(folders: tuple[Path, Path]) -> None:
    (folders[1] / DATA).write_bytes(data() + b"xx")
    assert said(folders) == [
        f"{DATA}, bytes: no tensor that can be read differs; 234 bytes released, 236 rebuilt; "
        "the shorter one is the beginning of the longer one"
    ]


def test_a_damaged_model_is_said(folders: tuple[Path, Path]) -> None:
    (folders[1] / MODEL).write_bytes((folders[0] / MODEL).read_bytes()[:50])
    assert said(folders)[0].startswith(f"{MODEL}, : the rebuilt file cannot be read as ONNX")


def test_data_outside_the_folder_is_not_read(folders: tuple[Path, Path]) -> None:
    changed = model()
    changed.graph.initializer[1].external_data[0].value = "../secret"
    (folders[1] / MODEL).write_bytes(changed.SerializeToString())
    assert any("outside the model's folder" in one for one in said(folders))


def adapter(path: Path, change: Callable[[dict[str, Any]], object] = len, **metadata: str) -> bytes:
    tensors: dict[str, Any] = {
        "lora_A": np.ones((2, 3), np.float32),
        "lora_B": np.ones((3, 2), ml_dtypes.bfloat16),
    }
    change(tensors)
    save_file(tensors, path, metadata or None)
    return path.read_bytes()


def _one_value(name: str, value: float) -> Callable[[dict[str, Any]], object]:
    return lambda tensors: tensors[name].__setitem__((1, 1), value)


@pytest.mark.parametrize(
    ("change", "metadata", "expected"),
    [
        (_one_value("lora_A", 2), {}, "lora_A: float32 [2, 3]: 1 of 6 values differs, at [1, 1]: "
         "1 released, 2 rebuilt, by 1 (50 %)"),
        (_one_value("lora_B", 0.5), {}, "lora_B: bfloat16 [3, 2]: 1 of 6 values differs, "
         "at [1, 1]: 1 released, 0.5 rebuilt, by 0.5 (50 %)"),
        (_one_value("lora_A", float("nan")), {}, "lora_A: float32 [2, 3]: 1 of 6 values differs, "
         "at [1, 1]: 1 released, nan rebuilt"),
        (len, {"format": "pt"}, '__metadata__.format: only rebuilt: "pt"'),
    ],
)  # fmt: skip
def test_safetensors(
    tmp_path: Path, change: Callable[[Any], object], metadata: dict[str, str], expected: str
) -> None:
    old = adapter(tmp_path / "a")
    new = adapter(tmp_path / "b", change, **metadata)
    found = compare_bytes("adapter_model.safetensors", old, new)
    assert [f"{one.where}: {one.what}" for one in found] == [expected]


def test_damaged_safetensors_are_said(tmp_path: Path) -> None:
    old = adapter(tmp_path / "a")
    header = int.from_bytes(old[:8], "little")
    described = json.loads(old[8 : 8 + header])
    last = max(described, key=lambda name: described[name]["data_offsets"][0])
    (cut,) = compare_bytes("a.safetensors", old, old[:-4])
    assert cut.where == last
    assert cut.what.startswith("the rebuilt tensor is damaged: ")
    for broken in (b"", old[:20], b"\xff" * 8 + old[8:], old[:8] + b"x" + old[9:]):
        (one,) = compare_bytes("a.safetensors", old, broken)
        assert one.what.startswith("the rebuilt file cannot be read as ")
