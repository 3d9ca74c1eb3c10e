"""What may keep another machine from training the same bytes, as far as a plan shows it.

Training multiplies by kernels that are chosen by name (:mod:`pipeline.training.named_kernels`).
What is named here has no such kernel, or no test has held it on two kinds of CPU. A model of the
hub is known once it has been fetched; else the step that trains it warns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.contract.errors import StepError
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.training.params import FinetuneParams, TrainingLoopParams
from targets.config.load import LoadedConfig
from targets.devices.device import CPU
from targets.place import Place
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.release.inputs import downloads, trains

_TESTED = "linux/amd64"
_NARROW = ("bf16", "fp16")
_BITSANDBYTES = ("ademamix", "bnb", "lion", "8bit")
"""Parts of the names of optimizers that are bitsandbytes'; ``paged_adamw_32bit`` is not one of them
where there is no GPU."""
_NOT_PRODUCTS = {"conv": "convolutions", "mamba": "state spaces", "recurrent": "recurrent layers"}
"""Parts of the names by which configs of models speak of such layers."""


def doubts(plans: Iterable[BuildPlan], loaded: LoadedConfig, place: Place) -> tuple[str, ...]:
    """Return what is not promised of training the ``plans`` in ``place``; empty if all is, or if
    nothing is trained."""
    steps = {it.step.key: it for plan in plans for it in plan.steps}
    own = [it.step.name for it in steps.values() if it.call is not None and it.step.code]
    trained = [it for it in steps.values() if trains(it.step)]
    found = [f"{name} is code of your own, and what it computes is not known" for name in own]
    if trained:
        found += _of_place(place)
        if loaded.config.model.trust_remote_code:
            found.append("the model brings code of its own, and what it computes is not known")
        found += (
            doubt for folder in _models(steps.values(), loaded) for doubt in _of_model(folder)
        )
        found += (doubt for step in trained for doubt in _of_step(step))
    return tuple(dict.fromkeys(found))


def _of_place(place: Place) -> Iterator[str]:
    platform = place.toolchain.platform
    if place.device.kind != CPU and place.device.here:
        yield (
            f"a device of the target {place.toolchain.target} trains it, and other kinds of them "
            "have other kernels"
        )
    elif platform != _TESTED:
        yield f"no test has compared two kinds of CPU on {platform}"


def _models(steps: Iterable[PlannedStep], loaded: LoadedConfig) -> Iterator[Path]:
    """Yield the folder of the base model: the user's, or what the cache has from the hub."""
    if loaded.model_folder is not None and loaded.gguf is None:
        yield loaded.model_folder
    for planned in steps:
        if downloads(planned.step) and planned.cached is not None:
            yield planned.cached.output


def _of_model(folder: Path) -> Iterator[str]:
    with suppress(StepError):  # there is none, or the step that reads it refuses it
        words = sorted(set(_words_of(Checkpoint(folder).config)))
        if words:
            yield f"the model has {' and '.join(words)}, which have no kernels chosen by name"


def _words_of(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the kinds of layers that are no products, by the names of keys and of layers."""
    layers = config.get("layer_types")
    names = [*config, *(layers if isinstance(layers, list) else ())]
    for name in names:
        yield from (word for part, word in _NOT_PRODUCTS.items() if part in str(name))
        if isinstance(config.get(name), dict):
            yield from _words_of(config[name])


def _of_step(planned: PlannedStep) -> Iterator[str]:
    params = None if planned.call is None else planned.call.params
    if not isinstance(params, TrainingLoopParams):
        return
    name = planned.step.name
    formats: set[str] = {params.precision}
    if isinstance(params, FinetuneParams):
        formats.add(params.multiplied_in(params.precision))
    for narrow in sorted(formats & {*_NARROW}):
        yield f"{name} computes in {narrow}, which no test has compared on two kinds of CPU"
    if any(part in params.optimizer for part in _BITSANDBYTES):
        yield f"{name}: the optimizer {params.optimizer} is bitsandbytes' own"
