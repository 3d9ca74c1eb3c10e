"""Builds and merges a checkpoint twice: as Quern does, and by plain calls of the libraries.

Usage: ``python beside_plain.py CHECKPOINT OUT CASES``, run by a toolchain's Python in the project's
root. ``CASES`` is JSON: ``{"builds": {NAME: PARAMS}, "merges": {NAME: PARAMS}}`` with parameters of
the passes. Each writes ``OUT/NAME/ours``, ``OUT/NAME/plain`` and ``OUT/NAME/facts.json``; a
merge is of a random adapter of the kind that it is named by. ``OUT/NAME/untouched`` is a build
by the builder alone, without Quern's arithmetic.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from onnxruntime_genai.models.builder import create_model, parse_extra_options
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from pipeline.builder.build import build
from pipeline.builder.options import (
    known_options,
    requested_options,
    required_options,
    resolve,
)
from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.step import Inputs
from pipeline.training.merge_params import MergeParams
from pipeline.training.merging import merge
from pipeline.training.quantization import BaseQuantization
from pipeline.weights.arithmetic import SameBits

TARGETS = ("cpu", "cuda", "directml")
LAYERS = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
SHAPE: dict[str, Any] = {"r": 8, "target_modules": LAYERS}
ADAPTERS: Mapping[str, Any] = {
    "lora": LoraConfig(**SHAPE, lora_alpha=32),
    "rslora": LoraConfig(**SHAPE, use_rslora=True),
    "bias": LoraConfig(**SHAPE, bias="lora_only"),
    "dora": LoraConfig(**SHAPE, use_dora=True),
    "whole_embedding": LoraConfig(**SHAPE, modules_to_save=["embed_tokens"]),
    "embedding": LoraConfig(r=8, target_modules=[*LAYERS, "embed_tokens", "lm_head"]),
    "loha": LoHaConfig(**SHAPE),
    "lokr": LoKrConfig(**SHAPE),
    "qlora": LoraConfig(**SHAPE),
    "qlora_original": LoraConfig(**SHAPE),
}
QUANTIZED = BaseQuantization(quant_type="nf4", double_quant=True, skip_modules=("lm_head",))


class WarningRecorder:
    """A reporter that records warnings and ignores everything else."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        """Ignore it."""

    def warn(self, message: str) -> None:
        """Record the warning."""
        self.warnings.append(message)

    def note(self, message: str) -> None:
        """Ignore it."""

    def text(self, text: str) -> None:
        """Ignore it."""


def plain_build(checkpoint: Path, out: Path, params: ModelBuilderParams) -> None:
    """Call the builder as its command line does."""
    config, known = json.loads((checkpoint / "config.json").read_text("utf-8")), known_options()
    options = resolve({**required_options(config, known), **requested_options(params)}, known)
    pairs = [f"{name}={value}" for name, value in options.items()]
    with tempfile.TemporaryDirectory() as cache, contextlib.redirect_stdout(io.StringIO()):
        source = (None, str(checkpoint), str(out), params.precision, params.execution_provider)
        if "kv_items" in inspect.signature(parse_extra_options).parameters:
            parsed = parse_extra_options(pairs, params.execution_provider)
        else:
            parsed = parse_extra_options(*source, cache, pairs)
        create_model(*source, cache, **parsed)


def spelled_out(checkpoint: Path, folder: Path) -> Path:
    """Copy ``checkpoint`` with what the builder alone does not know: which layers have a window."""
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["layer_types"] = ["sliding_attention"] * config["num_hidden_layers"]
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def both_builds(checkpoint: Path, out: Path, raw_params: Mapping[str, Any]) -> dict[str, Any]:
    """Build as Quern does, plainly in the same arithmetic, and plainly."""
    params = ModelBuilderParams.model_validate(raw_params)
    report = WarningRecorder()
    (out / "ours").mkdir()
    made = build(checkpoint, out / "ours", params, report)
    with tempfile.TemporaryDirectory() as scratch:
        plain = spelled_out(checkpoint, Path(scratch) / "checkpoint")
        with SameBits():
            plain_build(plain, out / "plain", params)
        if out.name in TARGETS:
            plain_build(plain, out / "untouched", params)
    return {"weights": made["weights"], "warnings": report.warnings}


def random_adapter(checkpoint: Path, name: str, folder: Path) -> None:
    """Write an adapter of the kind ``name`` with random weights."""
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    linear = [path for path, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    adapted = get_peft_model(model, ADAPTERS[name])
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data.normal_(0, 0.05)
    adapted.save_pretrained(folder)
    if name.startswith("qlora"):
        layers = tuple(path for path in linear if path not in QUANTIZED.skip_modules)
        QUANTIZED.model_copy(update={"layers": layers}).save(folder)


def plain_merge(checkpoint: Path, adapter: Path, out: Path, dequantized: bool) -> None:
    """Merge as PEFT's documentation does, in fp32."""
    options: dict[str, Any] = {}
    if dequantized:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=QUANTIZED.quant_type,
            bnb_4bit_use_double_quant=QUANTIZED.double_quant,
            llm_int8_skip_modules=list(QUANTIZED.skip_modules),
        )
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, **options)
    if dequantized:
        model = model.dequantize().to(torch.float32)
    with SameBits():
        merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    merged.save_pretrained(out)


def both_merges(
    checkpoint: Path, out: Path, name: str, raw_params: Mapping[str, Any]
) -> dict[str, Any]:
    """Merge as Quern does and as PEFT does."""
    adapter = out / "adapter"
    random_adapter(checkpoint, name, adapter)
    report = WarningRecorder()
    (out / "ours").mkdir()
    paths = {"model": checkpoint, "adapter": adapter}
    inputs = Inputs(paths=paths, data=None, seed=0, threads=1, report=report)
    params = MergeParams.model_validate(raw_params)
    made = merge(inputs, params, out / "ours")
    plain_merge(checkpoint, adapter, out / "plain", name == "qlora")
    return {"weights": made["weights"], "warnings": report.warnings}


def main(checkpoint: Path, out: Path, cases: Mapping[str, Mapping[str, Any]]) -> None:
    """Run all cases, and write the results of each into its folder."""
    for kind, named_cases in cases.items():
        for name, raw_params in named_cases.items():
            folder = out / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            facts = (
                both_builds(checkpoint, folder, raw_params)
                if kind == "builds"
                else both_merges(checkpoint, folder, name, raw_params)
            )
            (folder / "facts.json").write_text(json.dumps(facts), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
