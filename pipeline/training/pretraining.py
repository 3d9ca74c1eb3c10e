"""Trains the small base model of the ``pretrain`` pass."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from pipeline.contract.step import Inputs
from pipeline.process.heap import kept_heap
from pipeline.training.corpus import (
    END_OF_TEXT,
    END_OF_TURN,
    SequenceSource,
    read_paragraphs,
    train_tokenizer,
)
from pipeline.training.determinism import prepare
from pipeline.training.named_kernels import named_kernels
from pipeline.training.snapshots import Snapshots, step_of

if TYPE_CHECKING:
    from transformers import Phi3ForCausalLM, PreTrainedTokenizerFast

    from pipeline.training.base_params import PretrainParams

_REPORT_EVERY = 10
_STATES, _FIGURES = "states.pt", "figures.json"
"""Files of a snapshot."""


def pretrain(inputs: Inputs, params: PretrainParams, out_dir: Path) -> dict[str, JsonValue]:
    """Write a checkpoint trained on ``inputs["text"]``; return its size, speed and loss curve."""
    prepare(inputs.seed, inputs.threads)
    with named_kernels(inputs.threads), kept_heap():
        return _pretrain(inputs, params, out_dir)


def _pretrain(inputs: Inputs, params: PretrainParams, out_dir: Path) -> dict[str, JsonValue]:
    import torch

    paragraphs = read_paragraphs(inputs["text"])
    tokenizer = train_tokenizer(paragraphs, params.vocab_size, params.context_length)
    source = SequenceSource(
        paragraphs, tokenizer, params.sequence_length, params.chat_share, inputs.seed
    )
    snapshots = Snapshots(inputs.unfinished, params.save_steps, inputs.report)
    model = _new_model(params, tokenizer)
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    vectors = [weight for weight in model.parameters() if weight.dim() < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": params.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=params.learning_rate,
        betas=(0.9, 0.95),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, params.warmup_steps, params.steps)
    )
    curve: list[JsonValue] = []
    step_tokens = params.batch_size * params.sequence_length
    first, running, earlier = 1, 0.0, 0.0
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if (snapshot := snapshots.latest()) is not None:
        first = step_of(snapshot) + 1
        curve, running, earlier = _restore(snapshot, parts, source)
    began = time.perf_counter()
    model.train()
    for step in range(first, params.steps + 1):
        ids = torch.tensor([source.draw() for _ in range(params.batch_size)])
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), params.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        newest = loss.item()
        running += newest
        if step % _REPORT_EVERY == 0 or step == params.steps:
            mean = running / ((step - 1) % _REPORT_EVERY + 1)
            running = 0.0
            curve.append([step, round(mean, 4)])
        seconds = earlier + time.perf_counter() - began
        speed = step * step_tokens / seconds
        inputs.report.progress(step, params.steps, loss=newest, tokens_per_second=speed)
        if snapshots.due(step) and step < params.steps and snapshots.has_room(4 * _bytes_of(model)):
            with snapshots.new(step) as folder:
                _keep(folder, parts, source, [curve, running, seconds])
    seconds = earlier + time.perf_counter() - began
    _save(model.eval(), tokenizer, out_dir)
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "loss": curve[-1][1] if isinstance(curve[-1], list) else None,
        "loss_curve": curve,
        "tokens_per_second": round(params.steps * step_tokens / seconds, 1),
        "text_characters": sum(map(len, paragraphs)),
    }


def _keep(
    folder: Path, parts: Mapping[str, Any], source: SequenceSource, figures: list[JsonValue]
) -> None:
    """Write all that the rest of the training depends on."""
    import torch

    torch.save({name: part.state_dict() for name, part in parts.items()}, folder / _STATES)
    content = {"figures": figures, "source": source.state()}
    (folder / _FIGURES).write_text(json.dumps(content), "utf-8")


def _restore(
    folder: Path, parts: Mapping[str, Any], source: SequenceSource
) -> tuple[list[JsonValue], float, float]:
    """Read what :func:`_keep` wrote; return the curve, the loss since its last point, seconds."""
    import torch

    states = torch.load(folder / _STATES, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(states[name])
    content = json.loads((folder / _FIGURES).read_text("utf-8"))
    source.restore(content["source"])
    curve, running, seconds = content["figures"]
    return curve, running, seconds


def _bytes_of(model: Phi3ForCausalLM) -> int:
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())


def _new_model(params: PretrainParams, tokenizer: PreTrainedTokenizerFast) -> Phi3ForCausalLM:
    from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM

    end_of_text, end_of_turn = tokenizer.convert_tokens_to_ids([END_OF_TEXT, END_OF_TURN])
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=params.hidden_size,
        intermediate_size=params.intermediate_size,
        num_hidden_layers=params.layers,
        num_attention_heads=params.heads,
        num_key_value_heads=params.key_value_heads or params.heads,
        max_position_embeddings=params.context_length,
        original_max_position_embeddings=params.context_length,
        tie_word_embeddings=params.tie_embeddings,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        pad_token_id=end_of_text,
    )
    model = Phi3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=end_of_text,
        eos_token_id=[end_of_turn, end_of_text],
        pad_token_id=end_of_text,
    )
    return model


def _rate(step: int, warmup: int, steps: int) -> float:
    """Return the share of the learning rate at ``step``: linear warm-up, then half a cosine."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def _save(model: Phi3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out_dir: Path) -> None:
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    # transformers 5 writes a class name of its own that onnxruntime-genai up to 0.13 refuses and
    # transformers 4 cannot load; this is the name all of them know.
    path = out_dir / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")
