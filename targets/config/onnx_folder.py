"""Checks that a local folder is an ONNX model that may be run, before any container starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.builder.session_code import session_code
from pipeline.contract.adapter_name import SUFFIX
from pipeline.reading.json_text import read_json
from targets.config.model_folder import links_out_of
from targets.config.paths import is_folder

_CONFIG = "genai_config.json"


def onnx_folder_problems(folder: Path, trusted: bool) -> Iterator[tuple[str, str]]:
    """Yield (problem, remedy) if ``folder`` cannot be an ONNX Runtime GenAI model, or if it is not
    ``trusted`` and would run code of its own."""
    advice = f"name the folder that holds {_CONFIG}"
    if not is_folder(folder):
        yield f"there is no folder '{folder}'", advice
        return
    try:
        config = read_json(folder / _CONFIG, strict=True)  # the runtime heeds both of two keys
        graph = config["model"]["decoder"]["filename"]
    except FileNotFoundError:
        yield f"'{folder}' holds no {_CONFIG}", advice
        return
    except (OSError, ValueError) as error:
        yield f"its {_CONFIG} cannot be used: {error}", "build the folder again"
        return
    except (KeyError, TypeError) as error:
        yield f"its {_CONFIG} names no decoder: {error!r}"[:200], "build the folder again"
        return
    yield from _file_problems(folder, graph)
    if not trusted:
        for problem in session_code(config):
            yield (
                f"its {_CONFIG}: {problem}",
                "remove it, or set trust_remote_code = true in [model] if you trust it",
            )


def _file_problems(folder: Path, graph: Any) -> Iterator[tuple[str, str]]:
    place = PurePosixPath(str(graph))
    if place.is_absolute() or ".." in place.parts:
        yield f"its {_CONFIG} names a graph outside the folder: {graph}", "copy it into the folder"
    elif not (folder / place).is_file():
        yield f"'{folder}' lacks its graph {graph}", "copy the whole folder"
    adapters = sorted(path.name for path in folder.glob(f"*{SUFFIX}"))
    if len(adapters) > 1:
        yield (
            f"it holds several adapters: {', '.join(adapters)}",
            "leave the one that is to be used",
        )
    if outside := links_out_of(folder):
        yield (
            f"its links lead out of it, where no container sees: {', '.join(outside)}",
            "copy the folder with what it links to, e.g. `cp -rL`",
        )
