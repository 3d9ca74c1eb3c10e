"""What no writer writes is refused where a graph or its settings are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.onnx.genai_config import GenAiConfig
from pipeline.onnx.graph import OnnxModel


def graph() -> Any:
    """Return a graph of one quantized product."""
    import numpy as np

    packed, scales = np.zeros((8, 1, 16), np.uint8), np.ones((8, 1), np.float32)
    node = helper.make_node(
        *("MatMulNBits", ["x", "w", "s"], ["y"], "/product"),
        domain="com.microsoft",
        N=8,
        K=32,
        bits=4,
        block_size=32,
    )
    inner = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(packed, "w"), numpy_helper.from_array(scales, "s")],
    )
    return helper.make_model(inner)


def without(name: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        node = model.graph.node[0]
        kept = [item for item in node.attribute if item.name != name]
        del node.attribute[:]
        node.attribute.extend(kept)

    return change


def as_list(model: Any) -> None:
    without("N")(model)
    model.graph.node[0].attribute.append(helper.make_attribute("N", [8]))


def empty_blocks(model: Any) -> None:
    for item in model.graph.node[0].attribute:
        if item.name == "block_size":
            item.i = 0


CHANGES: dict[str, Callable[[Any], object]] = {
    "has no N": without("N"),
    "has no block_size": empty_blocks,
    "/product has no N": as_list,
    "has 0 inputs": lambda model: model.graph.node[0].ClearField("input"),
    "w is of no type": lambda model: setattr(model.graph.initializer[0], "data_type", 99),
    "w has a negative size": lambda model: model.graph.initializer[0].dims.__setitem__(0, -8),
}


@pytest.mark.parametrize("said", CHANGES)
def test_a_graph_that_nothing_can_be_read_from(tmp_path: Path, said: str) -> None:
    model = graph()
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    assert len(OnnxModel(file).nodes) == 1
    CHANGES[said](model)
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=f"is not an ONNX model: .*{said}"):
        OnnxModel(file)


DECODER: dict[str, Any] = {
    "filename": "model.onnx",
    "num_hidden_layers": 2,
    "inputs": {"input_ids": "input_ids"},
    "outputs": {"logits": "logits"},
    "session_options": {"provider_options": [{"cuda": {}}]},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_hidden_layers": 1 << 62}, "num_hidden_layers is 4611686018427387904"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"inputs": ["input_ids"]}, "inputs is no table"),
        ({"outputs": {"logits": 1}}, "outputs holds what is no name"),
        ({"session_options": 7}, "session_options is no table"),
        ({"session_options": {"provider_options": {"cuda": {}}}}, "no list of tables"),
        ({"session_options": {"provider_options": ["cuda"]}}, "no list of tables"),
    ],
)
def test_settings_that_nothing_can_be_read_from(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    def write(decoder: dict[str, Any]) -> None:
        model = {"vocab_size": 8, "context_length": 16, "decoder": decoder}
        text = json.dumps({"model": model, "search": {}})
        (tmp_path / "genai_config.json").write_text(text)

    write(DECODER)
    assert GenAiConfig(tmp_path).provider == "cuda"
    write({**DECODER, **change})
    with pytest.raises(ValueError, match=said):
        GenAiConfig(tmp_path)


def test_onnx_itself_reads_such_a_graph(tmp_path: Path) -> None:
    """So it is for us to refuse it."""
    model = graph()
    CHANGES["has no N"](model)
    onnx.save(model, str(tmp_path / "model.onnx"))
    assert onnx.load(str(tmp_path / "model.onnx")).graph.node[0].op_type == "MatMulNBits"
