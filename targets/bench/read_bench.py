"""Reads and validates a ``bench.json``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pipeline.latency.rounds import LatencyRounds
from pipeline.reading.files import MB, UnreadableError, read_text
from pipeline.reading.json_text import JsonError, parse_json
from targets.bench.bench_schema import SCHEMA_VERSION, Bench
from targets.errors import ConfigError, Problem

FILE = "bench.json"

_LARGEST = 256 * MB
"""Largest file, in bytes."""
_SHOWN = 10
"""Largest number of mistakes listed; a file of another kind has hundreds."""
_SERIES = ("prompt_tokens", "first_token_ms", "token_ms", "total_ms")


def read_bench(path: Path) -> Bench:
    """Return the bench in ``path``, a ``bench.json`` or the folder that holds it.

    Raises ``ConfigError`` with the mistakes and their places if it cannot be used.
    """
    file = path / FILE if path.is_dir() else path
    bench = _parsed(file)
    problems = [Problem(message, file, key=key) for key, message in _unsound(bench)]
    if problems:
        raise ConfigError(problems[:_SHOWN])
    return bench


def _parsed(file: Path) -> Bench:
    advice = "give the bench.json of an earlier bench"
    try:
        text = read_text(file, _LARGEST)
        table = parse_json(text)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(problem, file, suggestion=advice)]) from None
    except JsonError as error:
        problem = f"is not JSON: {error}"
        raise ConfigError([Problem(problem, file, error.line, suggestion=advice)]) from None
    except UnreadableError as error:
        problem = f"cannot be read: {error}"
        raise ConfigError([Problem(problem, file, error.line, suggestion=advice)]) from None
    version = table.get("schema_version") if isinstance(table, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        problem = "is not a bench: it has no schema_version"
        raise ConfigError([Problem(problem, file, suggestion=advice)])
    if version > SCHEMA_VERSION:
        problem = f"was made by a newer Quern: it is {version}, this one reads {SCHEMA_VERSION}"
        raise ConfigError(
            [Problem(problem, file, key="schema_version", suggestion="update Quern, or bench anew")]
        )
    try:
        return Bench.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(
            [
                Problem(mistake["msg"], file, key=".".join(map(str, mistake["loc"])))
                for mistake in error.errors()[:_SHOWN]
            ]
        ) from None


def _unsound(bench: Bench) -> Iterator[tuple[str, str]]:
    """Yield key and message for every series of times that is impossible."""
    for number, target in enumerate(bench.targets):
        for at, measurement in enumerate(target.measurements):
            place = f"targets.{number}.measurements.{at}"
            yield from _unsound_rounds(measurement.artifact, f"{place}.artifact")
            if measurement.baseline is not None:
                yield from _unsound_rounds(measurement.baseline, f"{place}.baseline")


def _unsound_rounds(measured: LatencyRounds, place: str) -> Iterator[tuple[str, str]]:
    for number, one in enumerate(measured.rounds):
        for prompt, timings in one.timings.items():
            for name in _SERIES:
                values = getattr(timings, name)
                if not all(math.isfinite(value) and value > 0 for value in values):
                    key = f"{place}.rounds.{number}.timings.{prompt}.{name}"
                    yield key, "holds a value that is not a positive number"
