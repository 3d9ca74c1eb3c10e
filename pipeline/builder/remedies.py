"""What to try if a quantized model has lost too much, cheapest first. Free of any ML library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pydantic import JsonValue

from pipeline.builder.options import CHOSEN
from pipeline.contract.result import Verdict

_EXACT_BLOCKS = 32
_GPTQ = "[passes.gptq] before [passes.model_builder] (no more bytes, minutes of time)"
_LOSSES = ("accuracy_loss", "paired_test", "perplexity_increase")
"""The verdicts on what quantization has cost."""


def with_remedies(
    verdicts: Iterable[Verdict], built: Mapping[str, JsonValue]
) -> tuple[Verdict, ...]:
    """Return ``verdicts``, a failed one on what quantization has cost with what to try.

    ``built`` are the parameters of the build.
    """
    tries = ", ".join(remedies(built))
    first = "cheapest first, try"
    if built.get(CHOSEN):
        advice = f"; in [passes.model_builder], {first} {tries}"
    else:
        advice = f"; {first} {_GPTQ}, then in it {tries}"
    return tuple(
        verdict.model_copy(update={"detail": f"{verdict.detail}{advice}"})
        if tries and verdict.status == "failed" and verdict.name in _LOSSES
        else verdict
        for verdict in verdicts
    )


def remedies(built: Mapping[str, JsonValue]) -> Iterator[str]:
    """Yield keys of ``[passes.model_builder]`` that make a build more exact, each with its cost.

    ``built`` are the parameters of the build. A key that costs fewer bytes comes first; none is
    yielded that the build has, or that would be less exact than what it has.
    """
    algorithm, size = str(built.get("algorithm") or "default"), built.get("block_size")
    if built.get("precision") != "int4":
        return
    if not algorithm.startswith("k_quant"):
        yield 'algorithm = "k_quant" (2 % more bytes)'
    if isinstance(size, int) and size > _EXACT_BLOCKS:
        yield f"block_size = {_EXACT_BLOCKS} (up to 10 % more bytes)"
    last = algorithm.endswith(("_last", "_mixed")) or "last_matmul" in _table(built)
    if not last:
        yield 'algorithm = "k_quant_last" (the output layer in 8 bits)'
    if algorithm != "k_quant_mixed":
        yield 'algorithm = "k_quant_mixed" (about a quarter more bytes)'
    yield 'precision = "int8" (twice the bytes)'


def _table(built: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    mixed = built.get("mixed_precision")
    return mixed if isinstance(mixed, dict) else {}
