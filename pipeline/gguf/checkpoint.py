"""Turns a GGUF file into a checkpoint: weights in plain numbers, config and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.gguf.header import GgufHeader, read_header
from pipeline.gguf.support import refusals
from pipeline.gguf.tokenizer import end_ids, tokenizer_of


def write_checkpoint(file: Path, out_dir: Path) -> dict[str, JsonValue]:
    """Write the checkpoint of ``file``; return its architecture, format and number of weights.

    The numbers are those that the file stands for, in fp32: its blocks are products and sums of
    halves and small integers, which fewer bits would round once more. What is bf16 stays bf16.

    Raises :class:`StepError` of the cause ``bad_input`` where it cannot become one.
    """
    header = read_header(file)
    for refusal in refusals(header):
        raise StepError(f"{file.name}: {refusal.message}", refusal.hint, "bad_input")
    model = _model(file, header)
    weights = sum(weight.numel() for weight in model.parameters())
    held = sum(tensor.elements for tensor in header.tensors.values())
    if weights != held:
        raise StepError(
            f"{file.name} holds {held:,} numbers, but transformers makes a model of {weights:,}",
            "bring the model as a Hugging Face checkpoint instead",
            "bad_input",
        )
    tokenizer = tokenizer_of(file, header)
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    form = header.main_format
    return {
        "architecture": header.architecture,
        "format": form.name if form is not None else None,
        "parameters": weights,
    }


def _model(file: Path, header: GgufHeader) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    form = header.main_format
    where = {"gguf_file": file.name, "local_files_only": True}
    special = _special_tokens(header)
    try:
        config = AutoConfig.from_pretrained(file.parent, **where)
        for name, token in special.items():
            setattr(config, name, token)
        model, info = AutoModelForCausalLM.from_pretrained(
            file.parent,
            config=config,
            dtype=torch.bfloat16 if form is not None and form.name == "BF16" else torch.float32,
            output_loading_info=True,
            **where,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise StepError(f"{file.name} cannot be loaded: {error}", cause="bad_input") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise StepError(f"{file.name} lacks weights: {', '.join(missing[:5])}", cause="bad_input")
    # The weights are plain numbers by now; transformers saves no model that it calls quantized.
    model.hf_quantizer.remove_quantization_config(model)
    model.generation_config = GenerationConfig(**special)
    return model


def _special_tokens(header: GgufHeader) -> dict[str, int | list[int] | None]:
    """Return the entries of both configs for special tokens, from the tokenizer's metadata.

    What the reader does not take from there would be the default of the architecture.
    """
    ends = end_ids(header)
    begin, pad = (header.number(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "padding"))
    return {
        "bos_token_id": int(begin) if begin is not None else None,
        "eos_token_id": (ends if len(ends) > 1 else ends[0]) if ends else None,
        "pad_token_id": int(pad) if pad is not None else None,
    }
