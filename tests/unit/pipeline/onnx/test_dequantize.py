"""Matrices that a ``DequantizeLinear`` makes floats of, beside ONNX's own evaluation of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from pipeline.onnx.dequantize import matrices
from pipeline.onnx.graph import OnnxModel
from pipeline.onnx.quantized import linear_layers, packing

INPUTS, OUTPUTS, BLOCK = 64, 6, 16
INT4, UINT4, INT8 = map(int, (TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8))
RANGES = {INT4: (-8, 8), UINT4: (0, 16), INT8: (-128, 128)}


def graph(kind: int, zero_points: bool, external: bool, folder: Path, blocks: int = 4) -> OnnxModel:
    """Return a graph of one product whose matrix has one scale for each block of a column."""
    random = np.random.default_rng(3)
    low, high = RANGES[kind]

    def numbers(name: str, shape: tuple[int, int]) -> Any:
        values = random.integers(low, high, shape).astype(helper.tensor_dtype_to_np_dtype(kind))
        return onnx.numpy_helper.from_array(values, name)

    scales = random.uniform(0.1, 0.2, (blocks, OUTPUTS)).astype(np.float32)
    stored = [numbers("w", (INPUTS, OUTPUTS)), onnx.numpy_helper.from_array(scales, "s")]
    if zero_points:
        stored.append(numbers("z", (blocks, OUTPUTS)))
    unpack = helper.make_node(
        "DequantizeLinear", [one.name for one in stored], ["f"], "dq", axis=0, block_size=BLOCK
    )
    product = helper.make_node("MatMul", ["x", "f"], ["y"], "product")
    made = helper.make_model(
        helper.make_graph(
            [unpack, product],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, INPUTS])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, OUTPUTS])],
            stored,
        ),
        opset_imports=[helper.make_opsetid("", 21)],
    )
    onnx.save(
        made, folder / "m.onnx", save_as_external_data=external, location="m.data", size_threshold=0
    )
    return OnnxModel(folder / "m.onnx")


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize(("kind", "bits"), [(INT4, 4), (UINT4, 4), (INT8, 8)])
def test_its_numbers_are_those_of_the_node(
    tmp_path: Path, kind: int, bits: int, zero_points: bool, external: bool
) -> None:
    model = graph(kind, zero_points, external, tmp_path)
    loaded = onnx.load(tmp_path / "m.onnx")
    (wanted,) = ReferenceEvaluator(loaded).run(["y"], {"x": np.eye(INPUTS, dtype=np.float32)})
    (matrix,) = matrices(model)
    assert (matrix.name, matrix.shape, matrix.bits) == ("w", (OUTPUTS, INPUTS), bits)
    found = np.concatenate([matrix.rows(0, 4), matrix.rows(4, 2)])
    np.testing.assert_allclose(found, np.asarray(wanted).T, rtol=1e-6)
    (layer,) = linear_layers(model)
    assert (layer.weight, layer.weights, layer.bits) == ("w", INPUTS * OUTPUTS, bits)
    assert packing(model) == []


def test_scales_of_other_blocks_are_named(tmp_path: Path) -> None:
    model = graph(INT4, False, True, tmp_path, blocks=3)
    assert packing(model) == [f"s has shape [3, {OUTPUTS}], not [4, {OUTPUTS}]"]
