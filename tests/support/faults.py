"""Plants faults into ONNX Runtime GenAI model folders. Run by a toolchain's Python.

Usage: ``python faults.py WORK NAME...``. The fault ``NAME`` is planted into ``WORK/NAME/output``;
``X-as-int4`` puts the graph of ``WORK/X/output`` there.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

_DISGUISED = "-as-int4"


def main(work: Path, names: list[str]) -> None:
    """Plant every fault named."""
    for name in names:
        folder = work / name / "output"
        if name.endswith(_DISGUISED):
            _other_graph(folder, work / name.removesuffix(_DISGUISED) / "output")
        else:
            _FAULTS[name](folder)


def _graph(folder: Path) -> Any:
    return onnx.load(str(folder / "model.onnx"), load_external_data=False)


def _save(folder: Path, model: Any) -> None:
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _tensor(model: Any, ending: str) -> Any:
    return next(t for t in model.graph.initializer if t.name.endswith(ending))


def _entry(tensor: Any, key: str) -> Any:
    return next(item for item in tensor.external_data if item.key == key)


def _fill(folder: Path, ending: str, value: np.ndarray) -> None:
    """Overwrite the first values of a tensor in the data file."""
    tensor = _tensor(_graph(folder), ending)
    with (folder / "model.onnx.data").open("r+b") as file:
        file.seek(int(_entry(tensor, "offset").value))
        file.write(value.tobytes())


def _truncated_data(folder: Path) -> None:
    data = folder / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-1000])


def _missing_data(folder: Path) -> None:
    (folder / "model.onnx.data").unlink()


def _trailing_bytes(folder: Path) -> None:
    with (folder / "model.onnx.data").open("ab") as file:
        file.write(b"\0" * 10)


def _offset_beyond(folder: Path) -> None:
    model = _graph(folder)
    size = (folder / "model.onnx.data").stat().st_size
    _entry(_tensor(model, "weight_scales"), "offset").value = str(size + 4096)
    _save(folder, model)


def _overlap(folder: Path) -> None:
    model = _graph(folder)
    first, second, *_ = (t for t in model.graph.initializer if t.name.endswith("layernorm.weight"))
    _entry(second, "offset").value = _entry(first, "offset").value
    _save(folder, model)


def _outside(folder: Path) -> None:
    model = _graph(folder)
    _entry(_tensor(model, "weight_scales"), "location").value = "../model.onnx.data"
    shutil.copy(folder / "model.onnx.data", folder.parent)
    _save(folder, model)


def _nan_scale(folder: Path) -> None:
    _fill(folder, "qkv_proj.MatMul.weight_scales", np.array([np.nan], np.float32))


def _zero_scales(folder: Path) -> None:
    tensor = _tensor(_graph(folder), "down_proj.MatMul.weight_scales")
    _fill(folder, "down_proj.MatMul.weight_scales", np.zeros(list(tensor.dims), np.float32))


def _scrambled_weights(folder: Path) -> None:
    tensor = _tensor(_graph(folder), "lm_head.MatMul.weight_Q4")
    noise = np.random.default_rng(0).integers(0, 256, list(tensor.dims), dtype=np.uint8)
    _fill(folder, "lm_head.MatMul.weight_Q4", noise)


def _wrong_k(folder: Path) -> None:
    model = _graph(folder)
    node = next(n for n in model.graph.node if n.op_type == "MatMulNBits")
    next(a for a in node.attribute if a.name == "K").i += 32
    _save(folder, model)


def _no_kernel(folder: Path) -> None:
    """Make one product an operator that ONNX Runtime knows and DirectML has no kernel for."""
    model = _graph(folder)
    node = next(node for node in model.graph.node if node.op_type == "Sigmoid")
    node.op_type = "Erf"
    double = onnx.TensorProto.DOUBLE
    for value in model.graph.value_info:
        if value.name in (*node.input, *node.output):
            value.type.tensor_type.elem_type = double
    _save(folder, model)


def _head_on_first_layer(folder: Path) -> None:
    """What the builder does by itself to a model whose layer has the vocabulary's size."""
    model = _graph(folder)
    first = next(n for n in model.graph.node if n.name.endswith("gate_proj/MatMul_Q4"))
    head = next(n for n in model.graph.node if n.name.startswith("/lm_head/"))
    head.input[0] = first.input[0]
    _save(folder, model)


def _unordered(folder: Path) -> None:
    model = _graph(folder)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    _save(folder, model)


def _broken_graph(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _inline_nan(folder: Path) -> None:
    model = _graph(folder)
    tensor = _tensor(model, "final_norm_layernorm.weight")
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(np.full(list(tensor.dims), np.inf, np.float32), name))
    _save(folder, model)


def _config(folder: Path) -> Any:
    return json.loads((folder / "genai_config.json").read_text("utf-8"))


def _write(folder: Path, config: Any) -> None:
    (folder / "genai_config.json").write_text(json.dumps(config), "utf-8")


def _decoder(key: str, value: Any) -> Any:
    def plant(folder: Path) -> None:
        config = _config(folder)
        config["model"]["decoder"][key] = value
        _write(folder, config)

    return plant


def _model(key: str, value: Any) -> Any:
    def plant(folder: Path) -> None:
        config = _config(folder)
        config["model"][key] = value
        _write(folder, config)

    return plant


def _renamed_input(folder: Path) -> None:
    config = _config(folder)
    config["model"]["decoder"]["inputs"]["input_ids"] = "tokens"
    _write(folder, config)


def _chat_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text("utf-8").replace("<|end|>", ""), "utf-8")


def _swapped_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(tokenizer), "utf-8")


def _other_graph(folder: Path, other: Path) -> None:
    for name in ("model.onnx", "model.onnx.data"):
        shutil.copy(other / name, folder / name)


_FAULTS = {
    "broken_graph": _broken_graph,
    "chat_template": _chat_template,
    "head_on_first_layer": _head_on_first_layer,
    "infinite_norm": _inline_nan,
    "missing_data": _missing_data,
    "nan_scale": _nan_scale,
    "no_end": _model("eos_token_id", []),
    "no_kernel": _no_kernel,
    "no_turn_end": _model("eos_token_id", 1),
    "offset_beyond": _offset_beyond,
    "outside": _outside,
    "overlap": _overlap,
    "renamed_input": _renamed_input,
    "scrambled_weights": _scrambled_weights,
    "swapped_tokenizer": _swapped_tokenizer,
    "trailing_bytes": _trailing_bytes,
    "truncated_data": _truncated_data,
    "unordered": _unordered,
    "wrong_context": _model("context_length", 8192),
    "wrong_head_size": _decoder("head_size", 64),
    "wrong_k": _wrong_k,
    "wrong_layers": _decoder("num_hidden_layers", 3),
    "wrong_vocabulary": _model("vocab_size", 500),
    "zero_scales": _zero_scales,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
