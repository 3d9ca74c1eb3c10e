"""Whether a checkpoint is one that the passes of a config can work with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.builder.params import ModelBuilderParams
from pipeline.training.shapes import AdapterShape
from targets.config.chain import Chain
from targets.config.model_folder import (
    adapter_problems,
    builder_option_problems,
    builder_problems,
)
from targets.config.source_map import KeyPath
from targets.target import Target


def model_for_chain_problems(
    folder: Path, chains: Mapping[str, Chain], targets: Sequence[Target]
) -> Iterator[tuple[KeyPath, str, str]]:
    """Yield (key, what is wrong, what to do) where a pass cannot work with the model in ``folder``,
    which is usable: an adapter of layers that it does not have, a model builder that does not know
    it, or one of its parameters that does not fit it."""
    shapes = {
        call.name: call.params
        for chain in chains.values()
        for call in chain.passes
        if isinstance(call.params, AdapterShape)
    }
    for name, shape in shapes.items():
        for key, message, suggestion in adapter_problems(folder, shape):
            yield ("passes", name, key), message, suggestion
    for target in targets:
        builds = {
            call.name: call.params
            for call in chains[target.name].passes
            if isinstance(call.params, ModelBuilderParams)
        }
        if builds:
            for message, suggestion in builder_problems(folder, target.supported_models()):
                yield ("model", "source"), f"{target.name}: {message}", suggestion
        for name, params in builds.items():
            for key, message, suggestion in builder_option_problems(folder, params):
                yield ("passes", name, key), f"{target.name}: {message}", suggestion
