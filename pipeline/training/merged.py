"""The weights of a merged model as deferred tensors, each computed when it is needed.

PEFT merges layer by layer, in a model whose weights are deferred tensors too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.contract.errors import StepError
from pipeline.training.adapter_fit import adapter_mismatch, require_fit
from pipeline.training.quantization import BaseQuantization, is_transposed
from pipeline.training.streamed import deferred_model, empty_model
from pipeline.weights.deferred import Deferred, computed

if TYPE_CHECKING:
    import torch

_ROWS = 128
"""Rows of a matrix whose sum of squares is computed at once."""


class NotMergeableByLayer(Exception):
    """This adapter cannot be merged layer by layer: all weights must be in memory."""


@dataclass
class MergedWeights:
    """The weights of base and adapter, merged."""

    config: Any
    """The transformers config of the merged model."""
    dtype: torch.dtype
    tensors: dict[str, Deferred] = field(default_factory=dict)
    """Tensors by their names in the base's files, in ``dtype``. Computing one raises
    :class:`StepError` if it is not finite."""
    dequantized: int = 0
    """Number of layers of the base that are quantized and dequantized before the merge."""
    _norms: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def relative_change(self) -> float:
        """Return ``|merged - base| / |base|`` (Frobenius norms) over all computed tensors."""
        moved = sum(moved for moved, _ in self._norms.values())
        total = sum(total for _, total in self._norms.values())
        return float((moved / total) ** 0.5) if total else 0.0

    @property
    def parameters(self) -> int:
        """Return the number of weights of all tensors."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def merged_tensor(
        self, name: str, stored: Deferred, merge: Merge | None
    ) -> Callable[[], torch.Tensor]:
        """Return a function that computes the merged tensor ``name`` and records its change.

        ``stored`` is the tensor of the base; ``merge`` is ``None`` if the adapter does not change
        it.
        """

        def compute() -> torch.Tensor:
            before = stored.computed()
            after = before if merge is None else merge()
            self._norms[name] = _squares(after, before), _squares(before)
            merged = after.to(self.dtype)
            require_finite(merged)
            return merged

        return compute


Merge = Callable[[], "torch.Tensor"]
"""A function that returns one tensor of the merged model in fp32."""


def merged_weights(
    folder: Path,
    adapter: Path,
    quantization: BaseQuantization | None,
    dtype: torch.dtype | None = None,
) -> MergedWeights:
    """Return the weights of the base in ``folder`` with ``adapter`` merged into them.

    The base is quantized and dequantized by ``quantization`` first, if there is one. The sum is
    computed in fp32 and converted to ``dtype`` (``None``: the base's).

    Raises :class:`NotMergeableByLayer`, and :class:`StepError` if the adapter was made for another
    model.
    """
    adapted = adapted_model(folder, adapter, quantization)
    config, stored = adapted.config, adapted.stored
    merged = MergedWeights(config, dtype or config.dtype or _stored_dtype(stored))
    merged.dequantized = len(adapted.as_trained)
    for name, tensor in stored.items():
        merge = _merge(adapted.model, name, stored=name not in adapted.as_trained)
        compute = merged.merged_tensor(name, tensor, merge)
        merged.tensors[name] = Deferred.of(tensor.like.to(merged.dtype), compute)
    config.dtype = merged.dtype
    return merged


@dataclass(frozen=True)
class AdaptedModel:
    """A base with an adapter beside it, whose weights are deferred."""

    model: Any
    """The ``PeftModel``, in fp32."""
    config: Any
    """The transformers config of the base."""
    stored: Mapping[str, Deferred]
    """The tensors of the base by their names in its files, as they are stored."""
    as_trained: Collection[str]
    """Those that are quantized and dequantized."""


def adapted_model(
    folder: Path, adapter: Path, quantization: BaseQuantization | None
) -> AdaptedModel:
    """Return the base in ``folder``, quantized and dequantized by ``quantization`` if there is one,
    with ``adapter``. Raises as :func:`merged_weights` does.
    """
    import torch
    from transformers import AutoConfig

    from pipeline.weights.stored import stored_tensors

    stored = stored_tensors(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    empty = empty_model(config)
    if not stored or not stored.keys() <= empty.state_dict().keys():
        raise NotMergeableByLayer("transformers has other names for its tensors")
    require_fit(empty, adapter)
    config.architectures = [type(empty).__name__]
    base = {name: tensor.to(torch.float32) for name, tensor in stored.items()}
    layers = () if quantization is None else quantization.layers_of(empty)
    as_trained = {
        f"{layer}.weight": _weights_in_training(
            quantization, layer, base, is_transposed(empty.get_submodule(layer))
        )
        for layer in layers
    }
    base |= {name: Deferred.of(base[name].like, weight) for name, weight in as_trained.items()}
    model = deferred_model(config, base)
    return AdaptedModel(_adapted(model, adapter), config, stored, as_trained.keys())


def _stored_dtype(stored: Mapping[str, Deferred]) -> torch.dtype:
    """Return the format of the first float tensor, as transformers does for a config that names
    none (``get_state_dict_dtype`` of ``modeling_utils.py``)."""
    import torch

    dtypes = (tensor.like.dtype for tensor in stored.values())
    return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.float32)


def require_finite(weight: torch.Tensor) -> None:
    """Raise :class:`StepError` if the merged ``weight`` is not finite in its number format."""
    import torch

    if not bool(torch.isfinite(weight).all()):
        raise StepError(
            f"merged weights are not finite in {weight.dtype}", 'set dtype = "bf16" or "fp32"'
        )


def _weights_in_training(
    quantization: BaseQuantization | None,
    layer: str,
    base: Mapping[str, Deferred],
    transposed: bool,
) -> Callable[[], torch.Tensor]:
    """Return a function that computes the weights of ``layer`` as training used them."""
    assert quantization is not None  # noqa: S101 - else there is no such layer
    weight = base[f"{layer}.weight"]
    return lambda: quantization.as_trained_on(layer, weight.computed(), transposed)


def _adapted(model: Any, adapter: Path) -> Any:
    """Return the ``PeftModel`` of ``model``, whose tensors are deferred."""
    from peft import PeftModel

    try:
        # Made empty, and then what the file holds: new ones that begin with numbers of the base
        # would be changed in place.
        adapted = PeftModel.from_pretrained(
            model, adapter, is_trainable=False, low_cpu_mem_usage=True
        )
    except (NotImplementedError, TypeError) as error:
        raise NotMergeableByLayer("the adapter begins with numbers of its base") from error
    except (RuntimeError, ValueError, KeyError) as error:
        raise adapter_mismatch(error) from error
    if model.config.tie_word_embeddings and any(
        _is_changed(embedding)
        for embedding in (model.get_input_embeddings(), model.get_output_embeddings())
    ):
        raise NotMergeableByLayer(
            "input and output embedding share a tensor that the adapter changes"
        )
    return adapted


def _is_changed(module: Any) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)


def _merge(adapted: Any, name: str, stored: bool) -> Merge | None:
    """Return a function that computes the tensor ``name`` of the merged model.

    ``None`` if the adapter does not change it and it is ``stored`` in the base.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper

    path, _, parameter = name.rpartition(".")
    module = adapted.base_model.model.get_submodule(path)
    if isinstance(module, BaseTunerLayer):
        return _Layer(module, parameter)
    if isinstance(module, ModulesToSaveWrapper):
        module = module.modules_to_save[module.active_adapters[0]]
    elif isinstance(module, AuxiliaryTrainingWrapper):
        raise NotMergeableByLayer(f"{type(module).__name__} changes part of a tensor")
    weight = getattr(module, parameter)
    if isinstance(weight, Deferred) and stored:
        return None
    return lambda: computed(weight.detach())


@dataclass
class _Layer:
    """A layer with an adapter; calling it merges them."""

    layer: Any
    parameter: str
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> torch.Tensor:
        """Return the merged parameter in fp32."""
        from torch import nn

        from pipeline.weights.arithmetic import SameBits

        base = self.layer.get_base_layer()
        with self.lock, SameBits():
            # Another thread may be merging this layer, for another part of its weights.
            deferred = dict(base.named_parameters(recurse=False))
            try:
                for name, weight in deferred.items():
                    # A computed tensor is a new one, so it can be changed in place.
                    parameter = weight.detach()
                    parameter = (
                        parameter.computed()
                        if isinstance(parameter, Deferred)
                        else parameter.clone()
                    )
                    setattr(base, name, nn.Parameter(parameter, requires_grad=False))
                self.layer.merge()
                merged: torch.Tensor = getattr(base, self.parameter).data
            finally:
                for name, weight in deferred.items():
                    setattr(base, name, weight)
                self.layer.merged_adapters.clear()
            return merged


def _squares(left: torch.Tensor, right: torch.Tensor | None = None) -> float:
    """Return the sum of squares of ``left``, or of ``left - right``."""
    if left is right:
        return 0.0
    import torch

    total = 0.0
    for at in range(0, len(left), _ROWS):
        rows = left[at : at + _ROWS]
        if right is not None:
            rows = rows - right[at : at + _ROWS]
        total += float(torch.linalg.vector_norm(rows, dtype=torch.float64)) ** 2
    return total
