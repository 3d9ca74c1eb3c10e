"""Checks that a local folder is an adapter for the model, before any container starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.contract.errors import StepError
from pipeline.contract.schema import AZURE_PREFIX, HUB_PREFIX
from pipeline.training.adapter_fit import adapter_layers, adapter_settings, stored_misfits
from pipeline.training.separate_adapter import why_not_separate
from targets.config.model_folder import links_out_of
from targets.config.paths import is_folder


def adapter_folder_problems(
    source: str, folder: Path, base: Path | None
) -> Iterator[tuple[str, str]]:
    """Yield (problem, remedy) for every reason why ``folder`` is no adapter that can be merged.

    ``source`` is what the config calls it, ``base`` a usable checkpoint; ``None`` if not known yet.
    """
    if source.startswith((HUB_PREFIX, AZURE_PREFIX)):
        repo = source.removeprefix(HUB_PREFIX).partition("@")[0]
        advice = f"fetch it first: `hf download {repo} --local-dir adapter`"
        yield "an adapter is a local folder", advice if source.startswith(HUB_PREFIX) else ""
        return
    if not is_folder(folder):
        yield f"there is no folder '{source}'", f"paths are relative to {folder.parent}"
        return
    if outside := links_out_of(folder):
        yield (
            f"its links lead out of it, where no container sees: {', '.join(outside)}",
            "copy the folder with what it links to, e.g. `cp -rL`",
        )
        return
    usable = True
    for read in (adapter_settings, adapter_layers):
        try:
            read(folder)
        except StepError as error:
            usable = False
            yield str(error), error.hint
    if usable and base is not None:
        yield from _misfits(folder, base)


def merge_only_problems(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (problem, remedy) if the adapter in ``folder``, which is usable, cannot be kept
    separate from the model."""
    if reason := why_not_separate(folder):
        yield f"it can only be merged: {reason}", "put merge before model_builder"


def _misfits(folder: Path, base: Path) -> Iterator[tuple[str, str]]:
    misfits = list(stored_misfits(folder, base))
    if misfits:
        more = f", and {len(misfits) - 1} more differences" if len(misfits) > 1 else ""
        yield (
            f"the adapter was made for another model: {misfits[0]}{more}",
            "name the model that it was trained on",
        )
