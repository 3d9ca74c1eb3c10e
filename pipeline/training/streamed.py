"""Runs a model that memory has no room for: each layer has its weights only while it runs.

The model is transformers' own, with deferred tensors for weights
(:mod:`pipeline.weights.deferred`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.contract.space import FORMATS, count
from pipeline.contract.step import Reporter
from pipeline.process.memory import available_memory
from pipeline.training.loading import ModelLoading, load_model, require_all_weights
from pipeline.weights.deferred import Deferred, NotDeferrable
from pipeline.weights.files import tensors_of, weight_files
from pipeline.weights.mode import WeightsMode

if TYPE_CHECKING:
    import torch


_WORKING = 1.2
"""Memory needed to run a model, as a multiple of its weights."""


def load_fp32(folder: Path, loading: ModelLoading, report: Reporter) -> Any:
    """Return the model of a checkpoint folder in fp32, ready to be run: on the GPU if it has room,
    else with all weights in memory if that has room, else streamed.

    A CPU computes bf16 several times slower, most of all with its instruction sets capped; and its
    errors are larger than those of a correct conversion.
    """
    import torch

    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > _fp32(folder) * _WORKING:
        return load_model(folder, loading, dtype=torch.float32, device="cuda").eval()
    shortage = shortage_of_memory(folder)
    if shortage:
        reason = why_not_streamed(folder, loading)
        try:
            if not reason:
                report.warn(f"the model's weights are read each time it is run: {shortage}")
                return load_streamed(folder)
        except NotDeferrable as error:
            reason = str(error)
        report.warn(f"{WeightsMode(reason).warning}; {shortage}")
    return load_model(folder, loading, dtype=torch.float32, device="cpu").eval()


def shortage_of_memory(folder: Path) -> str:
    """Return why the model of ``folder`` cannot be run in fp32 with all weights in memory; empty
    if it can."""
    needed, room = _fp32(folder), available_memory()
    if room is None or needed * _WORKING <= room:
        return ""
    return f"in fp32 they take {needed / 1e9:.1f} GB, and {room / 1e9:.1f} GB are free"


def _fp32(folder: Path) -> int:
    """Return the size of the weights of ``folder`` in fp32, in bytes."""
    return FORMATS["fp32"] * count(tensor.shape for tensor in tensors_of(folder).values())


def why_not_streamed(folder: Path, loading: ModelLoading) -> str:
    """Return why the weights of ``folder`` cannot be read one by one; empty if they can."""
    if loading.trust_remote_code:
        return "trust_remote_code: the model's own code loads them"
    return "" if weight_files(folder) else "they are pickled"


def load_streamed(folder: Path) -> Any:
    """Return the model of a checkpoint folder in fp32, whose layers read their weights as they run.

    Raises :class:`pipeline.weights.deferred.NotDeferrable` where transformers needs the numbers of
    the weights to make the model.
    """
    import torch
    from transformers import AutoConfig

    from pipeline.weights.stored import stored_tensors

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    weights = {name: tensor.to(torch.float32) for name, tensor in stored_tensors(folder).items()}
    return streamed(deferred_model(config, weights)).eval()


def empty_model(config: Any) -> Any:
    """Return a model of ``config`` without numbers, on the meta device."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def deferred_model(config: Any, weights: Mapping[str, Deferred]) -> Any:
    """Return the model of ``config`` with ``weights``, by their names in its files, in fp32.

    Raises :class:`StepError` where some are missing.
    """
    import torch

    model, info = type(empty_model(config)).from_pretrained(
        None,
        config=config,
        state_dict=dict(weights),
        dtype=torch.float32,
        output_loading_info=True,
    )
    require_all_weights(info["missing_keys"])
    return model


def streamed(model: Any) -> Any:
    """Have the parts of ``model`` compute their deferred weights when they run, and forget them
    afterwards; return it."""
    for part in parts_of_model(model):
        unit = Unit(part)
        part.register_forward_pre_hook(unit.load)
        part.register_forward_hook(unit.forget, always_call=True)
    return model


def is_streamed(model: Any) -> bool:
    """Return whether parts of ``model`` compute their weights when they run."""
    return any(isinstance(weight, Deferred) for weight in model.parameters())


class Unit:
    """A part of a model, with all parts within it. It has its weights while it is loaded."""

    def __init__(self, part: torch.nn.Module) -> None:
        self._deferred = [
            (table, name, weight, weight.detach())
            for owner in part.modules()
            for table in (owner._parameters, owner._buffers)
            for name, weight in table.items()
            if isinstance(weight, Deferred)
        ]

    def load(self, *_: Any) -> None:
        """Compute its weights."""
        from torch import nn

        made: dict[int, torch.Tensor] = {}
        for table, name, weight, detached in self._deferred:
            if id(weight) not in made:
                made[id(weight)] = nn.Parameter(detached.computed(), requires_grad=False)
            table[name] = made[id(weight)]

    def forget(self, *_: Any) -> None:
        """Drop the weights that it has."""
        for table, name, weight, _detached in self._deferred:
            table[name] = weight


def layers_of(model: Any) -> list[Any]:
    """Return the layers of ``model``, in the order in which it has them."""
    whole = _layer_classes(model)
    return [part for part in model.modules() if type(part).__name__ in whole]


def parts_of_model(model: Any) -> Iterator[torch.nn.Module]:
    """Yield the layers of ``model``, and what else holds weights itself."""
    return _parts(model, _layer_classes(model))


def _layer_classes(model: Any) -> set[str]:
    return set(getattr(model, "_no_split_modules", None) or ())


def _parts(module: torch.nn.Module, whole: set[str]) -> Iterator[torch.nn.Module]:
    own = (*module._parameters.values(), *module._buffers.values())
    if type(module).__name__ in whole or any(isinstance(weight, Deferred) for weight in own):
        yield module
        return
    for child in module.children():
        yield from _parts(child, whole)
