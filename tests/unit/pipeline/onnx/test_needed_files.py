"""Of an ONNX model folder, what the runtime reads is handed on, and nothing that lies beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.onnx.needed_files import needed_files


def model_folder(folder: Path) -> Path:
    """Write a graph with external data, as onnx does, and what people leave beside one."""
    folder.mkdir()
    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    put = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [put], [out])
    graph.initializer.append(weight)
    model = helper.make_model(graph)
    onnx.save(
        *(model, str(folder / "model.onnx")),
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    config = {"model": {"decoder": {"filename": "model.onnx"}, "vision": {"filename": "eyes.onnx"}}}
    (folder / "genai_config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "LICENSE.txt", "id_rsa", "ops.so", "modeling.py", "old.onnx"):
        (folder / name).write_text("{}")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "modeling.pyc").write_bytes(b"")
    return folder


NEEDED = ("LICENSE.txt", "genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json")


def test_what_nothing_refers_to_is_not_needed(tmp_path: Path) -> None:
    assert needed_files(model_folder(tmp_path / "model")) == NEEDED


def test_a_library_that_the_config_names_goes_along(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["decoder"]["session_options"] = {"custom_ops_library": "ops.so"}
    (folder / "genai_config.json").write_text(json.dumps(config))
    assert set(needed_files(folder)) == {*NEEDED, "ops.so"}


def test_settings_that_the_runtime_reads_otherwise_are_refused(tmp_path: Path) -> None:
    """Of two keys of one name, Python takes the last; the runtime heeds both."""
    folder = model_folder(tmp_path / "model")
    text = '{"model": {"decoder": {"filename": "old.onnx"}, "decoder": {"filename": "model.onnx"}}}'
    (folder / "genai_config.json").write_text(text)
    with pytest.raises(ValueError, match="'decoder' occurs twice"):
        needed_files(folder)
