"""Logits and rotary tables of a PyTorch model, computed in fp32 whatever its stored format.

Computing in bf16 would cause larger errors than those of a correct conversion.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.contract.step import Reporter
from pipeline.onnx.reference import LONG, ReferenceRow
from pipeline.onnx.rotary import RotaryTable, every_position, sampled_positions

_AT_ONCE = 1 << 12
"""Tokens that are run at once."""
_LOGITS = 1 << 27
"""Logits that are kept of them."""


def logits_of(
    model: Any, texts: Sequence[Sequence[int]], positions: int, report: Reporter
) -> tuple[ReferenceRow, ...]:
    """Return, for every text, the logits after each of its last ``positions`` tokens, in fp32.

    Texts of similar length are run together, since a streamed model reads all its weights each
    time. Padding follows a text, where no token can see it.
    """
    rows: dict[int, ReferenceRow] = {}
    report.progress(0, len(texts), "rows")
    for batch in _batches(texts, positions, int(getattr(model.config, "vocab_size", 0) or 1)):
        rows |= zip(
            batch, _rows(model, [texts[number] for number in batch], positions), strict=True
        )
        report.progress(len(rows), len(texts), "rows")
    return tuple(rows[number] for number in range(len(texts)))


def _batches(
    texts: Sequence[Sequence[int]], positions: int, vocabulary: int
) -> Iterator[list[int]]:
    """Yield numbers of texts of similar length, as many as can be run at once."""
    batch: list[int] = []
    kept: set[int] = set()
    for number in sorted(range(len(texts)), key=lambda number: len(texts[number])):
        more = kept | set(_last(texts[number], positions))
        tokens = (len(batch) + 1) * len(texts[number])
        if batch and (tokens > _AT_ONCE or (len(batch) + 1) * len(more) * vocabulary > _LOGITS):
            yield batch
            batch, more = [], set(_last(texts[number], positions))
        batch.append(number)
        kept = more
    if batch:
        yield batch


def _last(ids: Sequence[int], positions: int) -> range:
    return range(max(len(ids) - positions, 0), len(ids))


def _rows(model: Any, texts: Sequence[Sequence[int]], positions: int) -> Iterator[ReferenceRow]:
    """Yield what :func:`logits_of` returns for ``texts``, which are run together."""
    ids = torch.zeros((len(texts), max(map(len, texts))), dtype=torch.long)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor(list(text))
    # Only these logits: all those of a long text would need more memory than the model.
    wanted = sorted({place for text in texts for place in _last(text, positions)})
    cuts = "logits_to_keep" in inspect.signature(_of_transformers(model).forward).parameters
    options = {"logits_to_keep": torch.tensor(wanted, device=model.device)} if cuts else {}
    with torch.inference_mode():
        every = model(input_ids=ids.to(model.device), use_cache=False, **options).logits
    places = {place: number for number, place in enumerate(wanted)} if cuts else None
    for text, logits in zip(texts, every, strict=True):
        chosen = [place if places is None else places[place] for place in _last(text, positions)]
        yield ReferenceRow(tuple(text), logits[chosen].float().cpu().numpy())


def _of_transformers(model: Any) -> Any:
    """Return the model of transformers' within one of PEFT's."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def context_length(model: Any) -> int:
    """Return the length of the model's context; 0 if its config does not say."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 0)


def long_text(texts: Sequence[Sequence[int]], tokens: int, context: int) -> list[int]:
    """Return a text of ``tokens`` tokens that repeats ``texts``.

    Empty if that is more than the context, or not more than :data:`pipeline.onnx.reference.LONG`.
    """
    joined = [token for ids in texts for token in ids]
    if not joined or not LONG < tokens < context:
        return []
    return (joined * (tokens // len(joined) + 1))[:tokens]


def rotary_tables_of_config(folder: Path) -> tuple[RotaryTable, ...]:
    """Return every row of what :func:`rotary_tables` returns some rows of, for the checkpoint in
    ``folder``. Raises what :func:`model_of_config` does.
    """
    model = model_of_config(folder)
    for name, part in model.named_modules():
        if name.split(".")[-1] == "rotary_emb":
            owner = model.get_submodule(name.rpartition(".")[0])
            owner.rotary_emb = type(part)(config=model.config)
            break
    return rotary_tables(model, every_position)


def model_of_config(folder: Path) -> Any:
    """Return the model of the checkpoint in ``folder`` from its config alone, on the meta device:
    no weight is read, and no code of the model's own runs.

    Raises ``ValueError`` if transformers has no such model, and what its code raises otherwise.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def rotary_tables(
    model: Any, positions_of: Callable[[int], Any] = sampled_positions
) -> tuple[RotaryTable, ...]:
    """Return the model's tables of rotary positions; none if it has no rotary embedding of the
    usual form, ``rotary_emb(x, position_ids)``, which returns cosines and sines. ``positions_of``
    says which rows of a table of some length."""
    module = next(
        (part for name, part in model.named_modules() if name.split(".")[-1] == "rotary_emb"), None
    )
    context = context_length(model)
    if module is None or not context:
        return ()
    lengths = [context]
    rope = getattr(model.config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        original_length = getattr(model.config, "original_max_position_embeddings", None)
        original = int(rope.get("original_max_position_embeddings") or original_length or context)
        if original < context:
            lengths = [original, context]
    buffer = next(module.buffers(), None)
    device = model.device if buffer is None else buffer.device
    # Gemma 3 has a table for each kind of layer.
    named = [kind for kind in getattr(module, "layer_types", ()) if kind in rope]
    kinds = [{"layer_type": kind} for kind in named] or [{}]
    try:
        return tuple(
            _table(module, length, positions_of(length), device, **kind)
            for length in lengths
            for kind in kinds
        )
    except TypeError:
        return ()


def _table(module: Any, length: int, positions: Any, device: Any, **kind: str) -> RotaryTable:
    with torch.inference_mode():
        ids = torch.as_tensor(positions, device=device)[None]
        cos, sin = module(torch.ones(1, 1, 1, device=device), ids, **kind)
    # Both halves of a row are equal: each frequency rotates two elements of a head.
    half = cos.shape[-1] // 2
    cosines, sines = (part[0, :, :half].float().cpu().numpy() for part in (cos, sin))
    return RotaryTable(length, positions, cosines, sines)
