"""Adapters of small models that are merged in a way of their own, beside PEFT's own answer.

``python -m tests.support.merges FOLDER``, run by a toolchain's Python, prints one JSON object: for
each case, how far the logits of the merged checkpoint are from those of base and adapter as PEFT
runs them unmerged, and how far the base is, as multiples of the spread of the logits.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from pipeline.checks.merging import judge_parts
from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.training.adapter import add_adapter
from pipeline.training.lora_params import LoraShape
from pipeline.training.merge_params import MergeParams
from pipeline.training.merging import merge
from pipeline.training.quantization import BaseQuantization
from tests.support.silent import Silent

IDS = torch.arange(24)[None] * 7 % 128


@dataclass(frozen=True)
class Case:
    """An adapter of ``targets`` on a model with input and output embedding in one tensor."""

    name: str
    targets: Sequence[str]
    gpt2: bool = False
    ties: bool = True
    """Whether PEFT is asked to change both embeddings alike."""
    in_4_bits: bool = False


CASES = (
    Case("tied embedding", ["embed_tokens", "q_proj"]),
    Case("tied head", ["lm_head"]),
    Case("head alone", ["lm_head"], ties=False),
    Case("embedding alone", ["embed_tokens"], ties=False),
    Case("Conv1D", ["c_attn", "c_proj"], gpt2=True),
    Case("Conv1D in 4 bits", ["c_attn", "c_proj"], gpt2=True, in_4_bits=True),
    Case("embedding of GPT-2", ["wte"], gpt2=True),
    Case("head of GPT-2", ["lm_head"], gpt2=True),
)


def base(gpt2: bool) -> Any:
    """Return a small model with random weights."""
    torch.manual_seed(0)
    if gpt2:
        sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 128}
        return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=1))
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, tie_word_embeddings=True))


def logits(model: Any) -> torch.Tensor:
    """Return what ``model`` says to :data:`IDS`."""
    with torch.no_grad():
        said: torch.Tensor = model.eval()(IDS).logits
    return said


def far(case: Case, folder: Path) -> dict[str, Any]:
    """Train nothing: give the adapter random numbers, merge it, and compare."""
    stored, adapter, out = (folder / name for name in ("base", "adapter", "merged"))
    base(case.gpt2).save_pretrained(stored)
    out.mkdir()
    options: dict[str, Any] = {}
    if case.in_4_bits:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
            llm_int8_skip_modules=["lm_head"],
        )
    model = AutoModelForCausalLM.from_pretrained(stored, dtype=torch.float32, **options)
    if case.in_4_bits:
        quantization = BaseQuantization(quant_type="nf4", double_quant=True).recorded(model)
        quantization.keep_trainable(model)
    before = logits(model)
    shape = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        target_modules=list(case.targets),
        ensure_weight_tying=case.ties,
    )
    adapted: PeftModel = get_peft_model(model, shape)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    expected = logits(adapted)
    adapted.save_pretrained(adapter, save_embedding_layers=False)
    if case.in_4_bits:
        quantization.save(adapter)
    inputs = Inputs({"model": stored, "adapter": adapter}, None, 0, 1, Silent())
    try:
        merge(inputs, MergeParams(), out)
    except StepError as error:
        return {"refused": str(error)}
    paths = {"merged": out, "unmerged": stored, "merged_adapter": adapter}
    verdicts = judge_parts(Inputs(paths, None, 0, 1, Silent()))
    merged = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    spread = expected.std()
    return {
        "merged": float((logits(merged) - expected).abs().max() / spread),
        "base": float((before - expected).abs().max() / spread),
        "tied": bool(merged.config.tie_word_embeddings),
        "parts": {one.name: f"{one.status}: {one.detail}" for one in verdicts},
    }


def refusal_to_train() -> str:
    """Return why the head of GPT-2 gets no adapter."""
    try:
        add_adapter(base(gpt2=True), LoraShape(target_modules=("lm_head",), modules_to_save=()))
    except StepError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    found: dict[str, Any] = {"trained": refusal_to_train()}
    for number, case in enumerate(CASES):
        place = Path(sys.argv[1]) / str(number)
        place.mkdir(parents=True)
        found[case.name] = far(case, place)
    print(json.dumps(found))  # noqa: T201 - the output of a script
