"""Passes that plant faults, as a user's own: copied beside a config as ``planted.py``.

``Join`` stands for ``merge`` and ``Plant`` changes what the model builder made. Without a fault
both leave things right, so that a clean build has the same passes.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.passes.base import BasePass


def copied(source: Path, folder: Path) -> None:
    """Copy what a step left, whose files nobody may write, so that it can be written to."""
    shutil.copytree(source, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)


class JoinParams(Frozen):
    times: int = 1
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"


class Join(BasePass[JoinParams]):
    """Merge an adapter any number of times."""

    Params = JoinParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint", "adapter": "adapter"}
    produces: ClassVar[Kind] = "checkpoint"

    def run(self, inputs: Any, params: JoinParams, out_dir: Path) -> dict[str, Any]:
        from pipeline.training.fingerprint import FINGERPRINT_FILE
        from pipeline.training.merge_params import MergeParams
        from pipeline.training.merging import merge

        if not params.times:
            copied(inputs["model"], out_dir)
            return {}
        adapter, base = out_dir / "adapter", inputs["model"]
        copied(inputs["adapter"], adapter)
        for number in range(params.times):
            last = number == params.times - 1
            made = out_dir if last else out_dir / f"merged-{number}"
            made.mkdir(exist_ok=True)
            paths = {"model": base, "adapter": adapter}
            dtype = params.dtype if last else "fp32"
            merge(dataclasses.replace(inputs, paths=paths), MergeParams(dtype=dtype), made)
            (adapter / FINGERPRINT_FILE).unlink(missing_ok=True)
            base = made
        for folder in [adapter, *out_dir.glob("merged-*")]:
            shutil.rmtree(folder)
        return {}


class PlantParams(Frozen):
    fault: str = ""


class Plant(BasePass[PlantParams]):
    """Copy the model folder and spoil it."""

    Params = PlantParams
    consumes: ClassVar[Mapping[str, Kind]] = {"artifact": "onnx", "model": "checkpoint"}
    produces: ClassVar[Kind] = "onnx"
    runs_on: ClassVar[Literal["host", "target"]] = "target"

    def run(self, inputs: Any, params: PlantParams, out_dir: Path) -> dict[str, Any]:
        copied(inputs["artifact"], out_dir)
        if params.fault == "really_fp16":
            _really_fp16(inputs, out_dir)
        elif params.fault:
            _FAULTS[params.fault](out_dir)
        return {}


def _really_fp16(inputs: Any, folder: Path) -> None:
    """Put the graph of an fp16 build where an int4 one should be."""
    from pipeline.builder.build import build
    from pipeline.builder.params import ModelBuilderParams

    other = folder / "other"
    other.mkdir()
    params = ModelBuilderParams(precision="fp16", execution_provider="cuda")
    build(inputs["model"], other, params, inputs.report)
    for name in ("model.onnx", "model.onnx.data"):
        shutil.move(other / name, folder / name)
    shutil.rmtree(other)


def _tensor(folder: Path, name: str) -> Any:
    """Return the first tensor whose name ends like that, mapped for writing."""
    import numpy as np
    import onnx

    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    tensor = next(item for item in model.graph.initializer if item.name.endswith(name))
    place = {entry.key: entry.value for entry in tensor.external_data}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    file = folder / place["location"]
    return np.memmap(file, dtype, "r+", int(place.get("offset", 0)), tuple(tensor.dims))


def _scaled_layer(folder: Path) -> None:
    """One layer is a quarter larger than it should be."""
    scales = _tensor(folder, "layers.1.mlp.up_proj.MatMul.weight_scales")
    scales *= 1.25
    scales.flush()


def _swapped_kv(folder: Path) -> None:
    """The rows of keys and values have changed places in the joined projection."""
    config = json.loads((folder / "genai_config.json").read_text("utf-8"))["model"]["decoder"]
    size = config["num_key_value_heads"] * config["head_size"]
    for name in ("weight_Q4", "weight_scales"):
        rows = _tensor(folder, f"layers.0.attn.qkv_proj.MatMul.{name}")
        keys = rows[-2 * size : -size].copy()
        rows[-2 * size : -size] = rows[-size:]
        rows[-size:] = keys
        rows.flush()


def _wrong_rope(folder: Path) -> None:
    """The tables begin again at position 2,048."""
    for name in ("cos_cache", "sin_cache"):
        rows = _tensor(folder, name)
        rows[2048:] = rows[: len(rows) - 2048]
        rows.flush()


def _no_end(folder: Path) -> None:
    """The output layer never gives the tokens that end an answer."""
    config = json.loads((folder / "genai_config.json").read_text("utf-8"))
    scales = _tensor(folder, "lm_head.MatMul.weight_scales")
    for token in config["model"]["eos_token_id"]:
        scales[token] = 0
    scales.flush()


def _other_end(folder: Path) -> None:
    """Generation ends at another token than the model was taught."""
    path = folder / "genai_config.json"
    config = json.loads(path.read_text("utf-8"))
    config["model"]["eos_token_id"] = [config["model"]["bos_token_id"]]
    path.write_text(json.dumps(config), "utf-8")


def _other_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(tokenizer), "utf-8")


def _truncated_data(folder: Path) -> None:
    data = folder / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-1000])


_FAULTS = {
    "no_end": _no_end,
    "other_end": _other_end,
    "other_tokenizer": _other_tokenizer,
    "scaled_layer": _scaled_layer,
    "swapped_kv": _swapped_kv,
    "truncated_data": _truncated_data,
    "wrong_rope": _wrong_rope,
}
