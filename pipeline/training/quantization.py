"""The 4-bit quantization of a base during training, and the weights that result from it.

The weights of a block share one scale, their largest magnitude (``absmax``). A weight is stored as
the 4-bit index of the nearest of 16 fixed values in [-1, 1], the code; dequantized, it is
``code[index] * absmax``. For the code of NF4 see QLoRA (arXiv 2305.14314), section 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.training.low_rank import quantization_target

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

BASE_QUANTIZATION_FILE = "base_quantization.json"
"""File beside an adapter that was trained over a 4-bit base: a :class:`BaseQuantization`."""

_AT_ONCE = 1 << 19
"""Weights that are quantized at once: a multiple of the block size."""
_SCALES_PER_BLOCK = 256
"""Block size of the second quantization of double quantization, that of the scales."""

WeightsDtype = Literal["float32", "bfloat16", "float16"]


def quantized_from(precision: str) -> WeightsDtype:
    """Return the number format of the weights that are quantized, by the ``precision`` of the
    forward pass: fp16 weights would underflow in training; autocast takes care of fp16 arithmetic.
    """
    return "bfloat16" if precision == "bf16" else "float32"


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
    layers: tuple[str, ...] | None = None
    """Names of the layers that training quantized: transformers decides by rules of its own what
    ``skip_modules`` covers. ``None`` until the base is loaded."""
    weights_dtype: WeightsDtype = "float32"
    """Number format of the weights that were quantized."""
    loftq: Loftq | None = None
    """Set if LoftQ quantized a matrix fitted to the weights instead of the weights."""

    def config(self, compute_dtype: torch.dtype) -> BitsAndBytesConfig:
        """Return the configuration with which transformers loads the base in this format."""
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.quant_type,
            bnb_4bit_use_double_quant=self.double_quant,
            bnb_4bit_compute_dtype=compute_dtype,
            llm_int8_skip_modules=list(self.skip_modules),
        )

    def recorded(self, model: Any) -> BaseQuantization:
        """Return the format with the layers of ``model`` that are quantized now."""
        from bitsandbytes.nn import Linear4bit

        modules = model.named_modules()
        layers = tuple(name for name, module in modules if isinstance(module, Linear4bit))
        return self.model_copy(update={"layers": layers})

    @staticmethod
    def keep_trainable(model: Any) -> None:
        """Keep bitsandbytes from repacking 4-bit weights at the first forward pass in eval mode.

        On CPUs with AVX512-BF16 it would then use its inference kernel for training too. That
        kernel has no gradient, so the layers below a quantized one would silently stop learning,
        and the result would depend on the CPU.
        """
        from bitsandbytes.nn import Linear4bit

        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.support_avx512bf16_for_cpu = False

    def require_readable(self, model: Any) -> None:
        """Raise :class:`StepError` for layers that bitsandbytes dequantizes wrongly on a CPU.

        On CPUs with AVX-512, it takes the scales of the wrong blocks if the width of a layer is not
        a multiple of the block size. The merge would then use other weights than the training.
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
        """Quantize and dequantize, in place, the weights of all quantized layers of ``model``.

        ``model`` is the original base; its weights keep their number format. Returns the number of
        these layers.
        """
        names = self.layers_of(model)
        for name in names:
            module = model.get_submodule(name)
            module.weight.data = self.as_trained_on(name, module.weight.data, is_transposed(module))
        return len(names)

    def layers_of(self, model: Any) -> tuple[str, ...]:
        """Return the layers that training quantized. Raises :class:`StepError` if ``model``, which
        is not quantized, lacks one of them."""
        if self.layers is None:
            raise StepError(
                f"{BASE_QUANTIZATION_FILE} of the adapter does not say which layers were quantized",
                "train it again: an earlier version of Quern did",
                "bad_input",
            )
        there = {name for name, _ in model.named_modules()}
        if lacking := [name for name in self.layers if name not in there]:
            raise StepError(
                f"the adapter was made for another model: there is no layer {lacking[0]}",
                cause="bad_input",
            )
        return self.layers

    def as_trained_on(
        self, name: str, weight: torch.Tensor, transposed: bool = False
    ) -> torch.Tensor:
        """Return the dequantized weights of the layer ``name``: those that training used.

        ``weight`` has the shape [out, in], or [in, out] if it is ``transposed``; the result has its
        shape and number format.
        """
        if transposed:
            return self.as_trained_on(name, weight.T).T.contiguous()
        return self.requantized(self._quantized_of(name, weight)).to(weight.dtype)

    def as_quantized(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``weight`` converted to ``weights_dtype``, contiguous, as it is quantized."""
        import torch

        return weight.to(getattr(torch, self.weights_dtype)).contiguous()

    def requantized(self, weight: torch.Tensor) -> torch.Tensor:
        """Return ``weight`` quantized and dequantized, in ``weights_dtype``.

        The result is that of bitsandbytes' ``quantize_4bit`` for the whole tensor, computed in
        parts of :data:`_AT_ONCE` weights to save memory. Blocks are independent of each other,
        except that double quantization needs the scales of all; so the scales are quantized last.
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
        """Read the file from an adapter's folder; ``None`` if it was trained over a float base.

        Raises :class:`StepError` if the file is not valid.
        """
        path = folder / BASE_QUANTIZATION_FILE
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_text("utf-8"))
        except ValidationError as error:
            raise StepError(f"{path.name} of the adapter is broken: {error}") from error

    def _quantized_of(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Return the matrix that is quantized for the layer ``name``.

        That is ``weight`` itself, or with LoftQ its
        :func:`~pipeline.training.low_rank.quantization_target`.
        """
        if self.loftq is None or name not in self.loftq.ranks:
            return weight
        original = self.as_quantized(weight)
        return quantization_target(
            original, self.loftq.ranks[name], self.loftq.iterations, self.requantized
        )


def is_transposed(module: Any) -> bool:
    """Return whether a layer keeps its matrix as [in, out], as transformers' ``Conv1D`` does, which
    it turns before it quantizes it."""
    return type(module).__name__ == "Conv1D"


def _scales_again(scales: torch.Tensor) -> torch.Tensor:
    """Return the scales of all blocks after double quantization.

    Their mean is subtracted, the rest is quantized to 8 bits in blocks of
    :data:`_SCALES_PER_BLOCK` and dequantized, and the mean is added again, as bitsandbytes'
    ``quantize_4bit`` does it (QLoRA, arXiv 2305.14314, section 3).
    """
    from bitsandbytes.functional import dequantize_blockwise, quantize_blockwise

    offset = scales.mean()
    quantized, state = quantize_blockwise(scales - offset, blocksize=_SCALES_PER_BLOCK)
    return dequantize_blockwise(quantized, state) + offset


def _dequantized(packed: torch.Tensor, state: Any) -> torch.Tensor:
    """Return the weights of ``packed``, flat: ``state.code[index] * state.absmax[block]``.

    A byte of ``packed`` holds two 4-bit indices, the first one in its high bits. bitsandbytes' own
    kernel is not used: on CPUs with AVX-512 its FP4 constants differ in the last bit, and so would
    the merged model.
    """
    import torch

    codes = torch.stack((packed >> 4, packed & 0b1111), dim=-1).flatten().int()
    count = state.shape.numel()
    per_weight = state.absmax.float().repeat_interleave(state.blocksize)[:count]
    return (state.code[codes[:count]] * per_weight).to(state.dtype)
