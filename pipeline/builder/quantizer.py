"""What passes before the model builder work for, and whether the builder follows them. Free of any
ML library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.frozen import Frozen


class Quantizer(Frozen):
    """What a pass works for that scales weights, rounds them, or chooses their widths."""

    makes: Literal["checkpoint", "integers", "widths"]
    precision: Literal["int4", "int8"] = "int4"
    block_size: int | None = None
    """``None`` where the blocks do not matter."""
    symmetric: bool = True


class Misfit(NamedTuple):
    """Why the builder cannot follow a pass."""

    message: str
    key: str
    """The builder's parameter that is wrong."""
    advice: str


def misfits(name: str, quantizer: Quantizer, built: ModelBuilderParams) -> Iterator[Misfit]:
    """Yield why the builder, with the parameters ``built``, cannot follow the pass ``name``."""
    if quantizer.makes == "widths":
        yield from _of_widths(name, built)
        return
    yield from _of_grid(name, quantizer, built)
    if quantizer.makes == "integers":
        yield from _of_integers(name, built)


def _of_grid(name: str, wanted: Quantizer, built: ModelBuilderParams) -> Iterator[Misfit]:
    """Yield where the builder rounds to something else."""
    if built.precision != wanted.precision:
        yield Misfit(
            f"'{name}' is for {wanted.precision}, and this is {built.precision}",
            "precision",
            f'set precision = "{built.precision}" there, or "{wanted.precision}" here',
        )
    elif wanted.block_size not in (None, built.block_size):
        yield Misfit(
            f"'{name}' has blocks of {wanted.block_size}, and this of {built.block_size}",
            "block_size",
            "give both the same block_size",
        )
    if not wanted.symmetric and not built.has_zero_points:
        yield Misfit(
            f"'{name}' is for zero points, and this stores none",
            "symmetric",
            "set symmetric = true there, or symmetric = false here",
        )


def _of_integers(name: str, built: ModelBuilderParams) -> Iterator[Misfit]:
    """Yield why integers cannot be written."""
    if built.mixes_layers:
        yield Misfit(
            f"it keeps some layers in another width than '{name}' rounds them to",
            "mixed_precision" if built.mixed_precision else "algorithm",
            "use algorithm k_quant or k_quant_last",
        )
    if built.bf16_io:
        yield Misfit(
            f"bf16 cannot hold the scales of '{name}', which are fp16",
            "bf16_io",
            "remove one of the two",
        )


def _of_widths(name: str, built: ModelBuilderParams) -> Iterator[Misfit]:
    """Yield why matrices cannot be kept in int8."""
    if built.precision != "int4":
        yield Misfit(
            f"'{name}' chooses what is kept in int8, and this is {built.precision}",
            "precision",
            'set precision = "int4"',
        )
    elif built.mixes_layers or (built.algorithm or "").endswith("_last") or built.mixed_precision:
        yield Misfit(
            f"it chooses widths by itself, and '{name}' has chosen them",
            "mixed_precision" if built.mixed_precision else "algorithm",
            "use algorithm k_quant, rtn or default without mixed_precision",
        )
