"""Reads an Olive file: JSON with comments, or YAML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipeline.reading.json_text import JsonError
from targets.config.olive.jsonc import parse, plain
from targets.config.olive.olive_positions import JsonPositions, YamlPositions
from targets.config.source_map import Positions
from targets.errors import ConfigError, Problem

_STRING = re.compile(r'"(?:\\.|[^"\\])*"?')
_HOLE = re.compile(r"<[A-Za-z_][\w. -]*>")


def read_olive(file: Path, text: str) -> tuple[Any, Positions]:
    """Return the value of an Olive file and where its keys stand.

    Raises ``ConfigError`` with line and column where it cannot be parsed; placeholders that were
    left unfilled, which often are the cause, are named too.
    """
    if file.suffix.lower() in (".yaml", ".yml"):
        return _yaml(file, text), YamlPositions(text)
    try:
        return parse(text), JsonPositions(text)
    except JsonError as error:
        message = f"not valid JSON: {error} (column {error.column})"
        raise ConfigError([Problem(message, file, error.line), *_holes(file, text)]) from None


def _yaml(file: Path, text: str) -> Any:
    # Imported here, so that only YAML files wait for it.
    import yaml

    from targets.config.olive.yaml_values import JsonLoader, UnlikeJsonError

    try:
        return yaml.load(text, Loader=JsonLoader)  # noqa: S506 - a SafeLoader, and stricter
    except (yaml.MarkedYAMLError, UnlikeJsonError) as error:
        mark = error.problem_mark
        place = f" (column {mark.column + 1})" if mark else ""
        line = mark.line + 1 if mark else None
        raise ConfigError(
            [Problem(f"not valid YAML: {error.problem}{place}", file, line)]
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not valid YAML: {error.reason} (U+{error.character:04X})"
        raise ConfigError([Problem(message, file, line)]) from None
    except RecursionError:
        raise ConfigError([Problem("not valid YAML: nested too deeply", file)]) from None


def _holes(file: Path, text: str) -> list[Problem]:
    """Return a problem for each value ``<...>`` that stands where JSON needs a value or key."""
    problems = []
    for number, line in enumerate(plain(text).split("\n"), start=1):
        bare = _STRING.sub('""', line)
        problems += [
            Problem(f"the placeholder {hole} was left unfilled", file, number)
            for hole in _HOLE.findall(bare)
        ]
    return problems
