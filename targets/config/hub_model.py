"""Whether a model on the hub can be used, found out before it is fetched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipeline.contract.errors import StepError
from pipeline.training.base_params import FetchParams
from targets.atomic import sibling_folder
from targets.config.load import LoadedConfig
from targets.config.model_folder import model_folder_problems
from targets.config.model_for_chain import model_for_chain_problems
from targets.config.source_map import KeyPath
from targets.errors import ConfigError
from targets.target import load_target
from targets.toolchain.credentials import scrub

_SOURCE: KeyPath = ("model", "source")


def look_at_hub_model(loaded: LoadedConfig, fetching: FetchParams, outlines: Path) -> str:
    """Check the model that ``fetching`` would download by its outline: a few small requests, whose
    answers are kept in the folder ``outlines``.

    Return why it could not be looked at; empty if it could. Raises :class:`ConfigError` with every
    problem that would otherwise show after the download.
    """
    asked = hashlib.sha256(fetching.model_dump_json().encode()).hexdigest()
    folder = outlines / asked[:32]
    try:
        if folder.is_dir():
            with suppress(OSError):  # a read-only cache of another user
                os.utime(folder)
        else:
            from targets.config.hub_outline import write_outline

            with sibling_folder(folder) as fresh:
                write_outline(fetching, fresh)
                # Another build may have been quicker.
                with suppress(FileExistsError):
                    fresh.rename(folder)
    except StepError as error:
        raise ConfigError([loaded.problem(str(error), _SOURCE, error.hint)]) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{fetching.repo} could not be looked at before it is fetched: {scrub(str(error))}"
    problems = [loaded.problem(*problem) for problem in _problems(loaded, fetching, folder)]
    if problems:
        raise ConfigError(problems)
    return ""


def _problems(
    loaded: LoadedConfig, fetching: FetchParams, folder: Path
) -> Iterator[tuple[str, KeyPath, str]]:
    """Yield (what is wrong, key, what to do) of the model whose outline is in ``folder``."""
    if fetching.file is not None:
        from pipeline.gguf.header import read_header
        from pipeline.gguf.support import refusals

        place: KeyPath = ("model", "file")
        try:
            header = read_header(folder / Path(fetching.file).name)
        except StepError as error:
            yield f"{fetching.file} is not a model: {error}", place, error.hint
            return
        for refusal in refusals(header):
            yield f"{fetching.file} cannot be used: {refusal.message}", place, refusal.hint
        return
    unusable = False
    for message, advice in model_folder_problems(folder, fetching.weights):
        unusable = True
        yield f"{fetching.repo} cannot be used: {message}", _SOURCE, advice
    if not unusable:
        targets = [load_target(name) for name in loaded.targets]
        for key, message, advice in model_for_chain_problems(folder, loaded.chains, targets):
            yield message, key, advice
