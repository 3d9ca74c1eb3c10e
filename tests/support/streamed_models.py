"""Runs models whose weights do not fit into the memory that is left, and the same by plain calls.

Usage: ``python streamed_models.py TINY SCRATCH``, run by a toolchain's Python in the project's root
with the checkpoint of `tiny_model.py`. Prints one JSON object. What has little memory left is a
process of its own (a third argument), since memory that was freed counts too.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Phi3Config, Phi3ForCausalLM

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.evaluation.scores import greedy
from pipeline.onnx.reference import BASE_DIR, Reference
from pipeline.passes import adapted_reference, reference
from pipeline.process.memory import available_memory
from pipeline.training.answerer import TorchAnswerer
from pipeline.training.loading import ModelLoading, load_model
from pipeline.training.streamed import is_streamed, load_fp32
from tests.support.silent import Silent

_LEFT = 100 << 20
"""Memory that is left for a model of 160 MB in fp32, in bytes."""
_PROMPTS = [[5, 6, 7], [5, 6, 9, 10, 11], [5, 8]]
_MORE = 4


def main(tiny: Path, scratch: Path) -> None:
    """Make the model, run it by plain calls, and then with little memory left."""
    model, adapter = scratch / "model", scratch / "adapter"
    weights = make(tiny, model, adapter)
    short = reference.ReferenceParams(long_tokens=0)
    texts = [row.ids for row in made(reference.Pass(), short, model, scratch)]
    np.savez(scratch / "plain.npz", **by_plain_calls(model, adapter, texts))
    asked = answers(model)
    command = [sys.executable, __file__, str(tiny), str(scratch), "limited"]
    limited = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    found = {**limited, "fp32": 4 * weights, "rows": len(texts)}
    found["answers"] = [asked, limited["answers"]]
    sys.stdout.write(json.dumps(found) + "\n")


def with_little_memory(tiny: Path, scratch: Path) -> None:
    """Run the model where its weights in fp32 do not fit."""
    model, adapter = scratch / "model", scratch / "adapter"
    answers(tiny)  # what libraries load when they are first used does not count
    limit = data_size() + _LEFT
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    report = Silent()
    found = {
        "free": available_memory(),
        "streamed": is_streamed(load_fp32(model, ModelLoading(), report)),
        "warnings": report.warnings,
        "answers": answers(model),
        "errors": compared(scratch, model, adapter),
        "at_once": at_once(model),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def make(tiny: Path, folder: Path, adapter: Path) -> int:
    """Write a model in bf16, in several files, and an adapter; return its number of weights."""
    torch.manual_seed(0)
    config = Phi3Config.from_pretrained(tiny)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 512, 1536, 12
    config.num_attention_heads = config.num_key_value_heads = 8
    model = Phi3ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="30MB")
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    shape = {"r": 4, "lora_alpha": 32, "target_modules": ["qkv_proj", "down_proj"]}
    adapted = get_peft_model(model, LoraConfig(**shape, init_lora_weights=False))
    adapted.save_pretrained(adapter)
    return sum(weight.numel() for weight in model.parameters())


def made(step: Any, params: Any, model: Path, scratch: Path, **more: Path) -> Any:
    """Return the rows of the reference that the pass ``step`` writes."""
    out = scratch / f"{type(step).__module__}-{len(list(scratch.iterdir()))}"
    out.mkdir()
    step.run(Inputs({"model": model, **more}, None, 0, 1, Silent()), params, out)
    return Reference.load(out).rows if not (out / BASE_DIR).is_dir() else out


def by_plain_calls(folder: Path, adapter: Path, texts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return all logits of every text: of the model, and of it with the adapter beside it."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = {f"base-{at}": plain_logits(base, ids) for at, ids in enumerate(texts)}
    adapted = PeftModel.from_pretrained(base, adapter).eval()
    return found | {f"adapted-{at}": plain_logits(adapted, ids) for at, ids in enumerate(texts)}


def plain_logits(model: Any, ids: Sequence[int]) -> Any:
    with torch.inference_mode():
        return model(torch.tensor([list(ids)]), use_cache=False).logits[0].numpy()


def answers(folder: Path) -> list[list[int]]:
    """Return the answers of the model to a few prompts."""
    model = load_fp32(folder, ModelLoading(), Silent())
    answerer = TorchAnswerer(model, 0, frozenset(), 3)
    given = dict(greedy(answerer, _PROMPTS, _MORE))
    return [given[number].ids for number in range(len(_PROMPTS))]


def at_once(folder: Path) -> str:
    """Return how loading all weights ends: the limit has no room for them."""
    try:
        load_model(folder, ModelLoading(), torch.float32)
    except (MemoryError, RuntimeError, StepError) as error:
        return type(error).__name__
    return "loaded"


def compared(scratch: Path, model: Path, adapter: Path) -> dict[str, float]:
    """Return the largest difference of each reference from the plain calls."""
    plain = np.load(scratch / "plain.npz")
    rows = made(reference.Pass(), reference.ReferenceParams(), model, scratch)
    written = scratch / "rows"
    written.mkdir()
    Reference(rows).save(written)
    out = made(
        adapted_reference.Pass(),
        adapted_reference.AdaptedReferenceParams(),
        model,
        scratch,
        adapter=adapter,
        reference=written,
    )
    adapted = Reference.load(out).rows
    return {
        "reference": distance(rows, plain, "base"),
        "adapted": distance(adapted, plain, "adapted"),
        "base": distance(Reference.load(out / BASE_DIR).rows, plain, "base"),
        "change": distance(adapted, plain, "base"),
    }


def distance(rows: Sequence[Any], plain: Mapping[str, Any], name: str) -> float:
    pairs = [(row.logits, plain[f"{name}-{at}"]) for at, row in enumerate(rows)]
    return max(float(np.abs(ours - all_of[-len(ours) :]).max()) for ours, all_of in pairs)


def data_size() -> int:
    """Return the bytes of memory that the limit counts."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


if __name__ == "__main__":
    torch.set_num_threads(1)
    step = with_little_memory if sys.argv[3:] else main
    step(*map(Path, sys.argv[1:3]))
