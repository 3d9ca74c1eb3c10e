"""Run by a toolchain's Python: asks models as Quern does, and as transformers does without a cache,
one row at a time. Prints one JSON object.

Usage: ``python asked_models.py CHECKPOINT SCRATCH`` with the checkpoint of `tiny_model.py`.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from pipeline.builder.build import build
from pipeline.builder.params import ModelBuilderParams
from pipeline.onnx.session import GenAiAnswerer, Session
from pipeline.training.answerer import TorchAnswerer
from pipeline.training.loading import fast_dtype
from pipeline.training.prompt_cache import can_continue
from tests.support.silent import Silent

_SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
}
PENALTY = 1.4
END = frozenset({2, 5, 11})
MORE = 7


def models() -> dict[str, Any]:
    """Return models that keep all keys and values, and some that do not, or not in this way."""
    torch.manual_seed(0)
    narrow = {"head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]}
    return {
        "llama": LlamaForCausalLM(LlamaConfig(**_SHAPE)),
        "within the window": MistralForCausalLM(MistralConfig(**_SHAPE, sliding_window=64)),
        "beyond the window": MistralForCausalLM(MistralConfig(**_SHAPE, sliding_window=8)),
        "two kinds of layers": Gemma2ForCausalLM(Gemma2Config(**_SHAPE, **narrow)),
        "convolutions": Lfm2ForCausalLM(
            Lfm2Config(**_SHAPE, layer_types=["conv", "full_attention"])
        ),
        "no positions": BloomForCausalLM(
            BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3)
        ),
    }


def rows(common: int) -> list[list[int]]:
    """Return prompts of several lengths with ``common`` tokens at the beginning of each."""
    chance = random.Random(common)  # noqa: S311 - rows, not secrets
    start = [chance.randrange(3, 97) for _ in range(common)]
    return [
        [*start, *(chance.randrange(3, 97) for _ in range(length))] for length in (1, 9, 4, 4, 15)
    ]


CONTINUATIONS: list[list[list[int]]] = [
    [[7], [8, 9, 2], []],
    [[7, 2]],
    [],
    [[3, 4, 5, 6, 2], [9]],
    [[12, 13]],
]


def plain_logprobs(model: Any, prompt: Sequence[int], after: Sequence[int]) -> list[float]:
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *after]]), use_cache=False).logits[0]
    chosen = logits.log_softmax(-1)
    return [float(chosen[len(prompt) - 1 + at, token]) for at, token in enumerate(after)]


def plain_greedy(model: Any, prompt: Sequence[int], penalty: float) -> list[int]:
    """Return the greedy tokens, the end token included."""
    ids = torch.tensor([list(prompt)])
    made = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=MORE,
        do_sample=False,
        use_cache=False,
        repetition_penalty=penalty,
        eos_token_id=sorted(END),
        pad_token_id=0,
    )
    return list(made[0, len(prompt) :].tolist())


def compared(answerer: Any, model: Any, common: int, penalty: float) -> dict[str, Any]:
    prompts = rows(common)
    ours = answerer.logprobs(prompts, CONTINUATIONS)
    worst = 0.0
    for prompt, several, found in zip(prompts, CONTINUATIONS, ours, strict=True):
        for after, values in zip(several, found, strict=True):
            plain = plain_logprobs(model, prompt, after)
            pairs = zip(plain, values, strict=True)
            worst = max([worst, *(abs(one - other) for one, other in pairs)])
    replies = answerer.greedy(prompts, MORE)
    right = [plain_greedy(model, prompt, penalty) for prompt in prompts]
    return {
        "worst": worst,
        "replies": [reply.ids for reply in replies],
        "right": [ids[:-1] if ids[-1] in END else ids for ids in right],
        "ended": [reply.ended for reply in replies],
        "right_ended": [ids[-1] in END for ids in right],
    }


def in_torch() -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for name, model in models().items():
        model.eval()
        longest = max(map(len, rows(6))) + MORE
        about: dict[str, Any] = {"continues": can_continue(model, longest)}
        found[name] = about
        for common in (0, 6):
            for penalty in (1.0, PENALTY):
                answerer = TorchAnswerer(model, 0, END, 3, penalty)
                about[f"{common}, {penalty}"] = compared(answerer, model, common, penalty)
    return found


def in_onnx(checkpoint: Path, scratch: Path) -> dict[str, Any]:
    """Ask an export in fp32 whose checkpoint has a repetition penalty."""
    source = scratch / "penalized"
    shutil.copytree(checkpoint, source)
    path = source / "generation_config.json"
    settings = {**json.loads(path.read_text()), "repetition_penalty": PENALTY}
    settings["eos_token_id"] = sorted(END)
    path.write_text(json.dumps(settings))
    artifact = scratch / "artifact"
    artifact.mkdir()
    params = ModelBuilderParams(execution_provider="cpu", precision="fp32")
    build(source, artifact, params, Silent())
    config = json.loads((artifact / "genai_config.json").read_text())
    config["model"]["eos_token_id"] = sorted(END)
    (artifact / "genai_config.json").write_text(json.dumps(config))
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    answerer = GenAiAnswerer(Session(artifact, 1))
    return {
        "penalty": config["search"]["repetition_penalty"],
        "asked": compared(answerer, model, 6, PENALTY),
        "nothing in common": compared(answerer, model, 0, PENALTY),
        "run again": compared(Again(answerer.session), model, 6, PENALTY),
    }


def dtypes(scratch: Path) -> dict[str, Any]:
    """Return in which format models are run: one in bf16, and one that no memory has room for."""
    small, huge = scratch / "small", scratch / "huge"
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**_SHAPE))
    model.to_empty(device="cpu").to(torch.bfloat16).save_pretrained(small)
    huge.mkdir()
    numbers = 1 << 41
    entry = {"dtype": "BF16", "shape": [numbers], "data_offsets": [0, 2 * numbers]}
    header = json.dumps({"weight": entry}).encode()
    with (huge / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2 * numbers)  # a hole: it takes no room
    report = Silent()
    answers = {"small": str(fast_dtype(small, report)), "huge": str(fast_dtype(huge, report))}
    shutil.rmtree(huge)  # whoever copied it would fill the disk
    return {**answers, "warnings": report.warnings}


class Again(GenAiAnswerer):
    """Asks an artifact as if its states could not be taken back."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        session.rewinds = False


if __name__ == "__main__":
    torch.set_num_threads(1)
    checkpoint, scratch = map(Path, sys.argv[1:])
    found = {"torch": in_torch(), "onnx": in_onnx(checkpoint, scratch), "dtypes": dtypes(scratch)}
    print(json.dumps(found))  # noqa: T201 - the answer
