"""How a base is quantized while an adapter is trained over it, and the weights that leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.training.low_rank import fitted

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

BASE_QUANTIZATION_FILE = "base_quantization.json"
"""Beside an adapter that was trained over a 4-bit base: a :class:`BaseQuantization`."""

_AT_ONCE = 1 << 19
"""Weights that are quantized at once: whole blocks."""
_SCALES_PER_BLOCK = 256
"""Scales that share one of their own under double quantization."""

WeightsDtype = Literal["float32", "bfloat16", "float16"]


class Loftq(Frozen):
    """How base and adapter were fitted to the weights before training."""

    iterations: int = Field(ge=1)
    ranks: dict[str, int] = Field(default_factory=dict)
    """Rank of the adapter per fitted layer."""


class BaseQuantization(Frozen):
    """The 4-bit format of the base that an adapter was trained over."""

    quant_type: Literal["nf4", "fp4"]
    double_quant: bool
    skip_modules: tuple[str, ...] = ()
    weights_dtype: WeightsDtype = "float32"
    """Number format of the weights that were quantized."""
    loftq: Loftq | None = None
    """Where what was quantized is not the weights alone."""

    def config(self, compute_dtype: torch.dtype) -> BitsAndBytesConfig:
        """Return what transformers loads a model with."""
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.quant_type,
            bnb_4bit_use_double_quant=self.double_quant,
            bnb_4bit_compute_dtype=compute_dtype,
            llm_int8_skip_modules=list(self.skip_modules),
        )

    @staticmethod
    def keep_trainable(model: Any) -> None:
        """Keep bitsandbytes from repacking 4-bit weights at the first forward pass in eval mode.

        On CPUs with AVX512-BF16 its inference kernel, once used, also serves training, where it
        has no gradient: the layers below a quantized one would silently stop learning. And the
        bytes would depend on the CPU.
        """
        from bitsandbytes.nn import Linear4bit

        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.support_avx512bf16_for_cpu = False

    def require_readable(self, model: Any) -> None:
        """Raise :class:`StepError` for layers that training would read other than a merge does.

        Where a CPU has AVX-512, bitsandbytes takes the scales of other blocks for a layer whose
        width is no multiple of the block; elsewhere it does not.
        """
        from bitsandbytes.nn import Linear4bit

        odd = [
            name
            for name, module in model.named_modules()
            if isinstance(module, Linear4bit)
            and module.weight.device.type == "cpu"
            and module.in_features % module.weight.blocksize
        ]
        if odd:
            raise StepError(
                f"bitsandbytes misreads 4-bit weights on CPUs where the width of a layer is no "
                f"multiple of 64: {', '.join(odd[:4])}{', ...' if len(odd) > 4 else ''}",
                f"put {sorted({name.rpartition('.')[2] for name in odd})} into skip_modules, or "
                "train on a GPU",
                "bad_input",
            )

    def round_trip(self, model: Any) -> int:
        """Quantize and dequantize, in place, the weights that training saw quantized.

        Returns how many were. ``model`` is the original base; its weights keep their format.
        """
        names = self.layers_of(model)
        for name in names:
            module = model.get_submodule(name)
            module.weight.data = self.as_trained_on(name, module.weight.data)
        return len(names)

    def layers_of(self, model: Any) -> tuple[str, ...]:
        """Return the names of the layers of ``model`` whose weights training saw quantized."""
        from torch import nn

        return tuple(
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and not self._skips(name)
        )

    def as_trained_on(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Return the weights of the layer ``name`` as training saw them, in their own format."""
        return self.requantized(self._quantized_of(name, weight)).to(weight.dtype)

    def as_quantized(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``weight`` in the number format that is quantized."""
        import torch

        return weight.to(getattr(torch, self.weights_dtype)).contiguous()

    def requantized(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``weight`` after quantizing and dequantizing, in ``weights_dtype``.

        As ``quantize_4bit`` does it for the whole tensor, but with room for a part of it: what a
        block of weights becomes depends on others by the scales alone, which are quantized after.
        """
        import torch
        from bitsandbytes.functional import quantize_4bit

        flat = self.as_quantized(weight).view(-1)
        parts = [
            quantize_4bit(flat[at : at + _AT_ONCE], quant_type=self.quant_type)
            for at in range(0, len(flat), _AT_ONCE)
        ]
        scales = torch.cat([state.absmax for _, state in parts])
        if self.double_quant:
            scales = _scales_again(scales)
        result = torch.empty_like(flat)
        for at, (packed, state) in zip(range(0, len(flat), _AT_ONCE), parts, strict=True):
            first = at // state.blocksize
            state.absmax = scales[first : first + len(state.absmax)]
            result[at : at + _AT_ONCE] = _dequantized(packed, state)
        return result.view_as(weight)

    def save(self, folder: Path) -> None:
        """Write :data:`BASE_QUANTIZATION_FILE` into ``folder``."""
        (folder / BASE_QUANTIZATION_FILE).write_text(self.model_dump_json(indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> BaseQuantization | None:
        """Read the file from an adapter's folder; ``None`` if it was trained over a float base."""
        path = folder / BASE_QUANTIZATION_FILE
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_text("utf-8"))
        except ValidationError as error:
            raise StepError(f"{path.name} of the adapter is broken: {error}") from error

    def _quantized_of(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Return what of the layer ``name`` was quantized: ``weight``, or what LoftQ made of it."""
        if self.loftq is None or name not in self.loftq.ranks:
            return weight
        original = self.as_quantized(weight)
        return fitted(original, self.loftq.ranks[name], self.loftq.iterations, self.requantized)

    def _skips(self, name: str) -> bool:
        return any(name == skip or name.endswith("." + skip) for skip in self.skip_modules)


def _scales_again(scales: torch.Tensor) -> torch.Tensor:
    """Return the scales of blocks after quantizing and dequantizing them too: QLoRA's double
    quantization (Dettmers et al., arXiv 2305.14314), as ``quantize_4bit`` has it."""
    from bitsandbytes.functional import dequantize_blockwise, quantize_blockwise

    offset = scales.mean()
    quantized, state = quantize_blockwise(scales - offset, blocksize=_SCALES_PER_BLOCK)
    return dequantize_blockwise(quantized, state) + offset


def _dequantized(packed: torch.Tensor, state: Any) -> torch.Tensor:
    """Return the weights that bitsandbytes has ``packed``, two to a byte, as its ``state`` says.

    Its own kernel reads fp4 by other constants where the CPU has AVX-512: they differ in the last
    bit, and so would a merged model.
    """
    import torch

    codes = torch.stack((packed >> 4, packed & 0b1111), dim=-1).flatten().int()
    count = state.shape.numel()
    per_weight = state.absmax.float().repeat_interleave(state.blocksize)[:count]
    return (state.code[codes[:count]] * per_weight).to(state.dtype)
