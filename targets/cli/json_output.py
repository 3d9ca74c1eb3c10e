"""The output of a command for programs: one JSON document on standard output, also on failure."""

from __future__ import annotations

from collections.abc import Mapping

import click
from pydantic_core import to_json

from targets.errors import ConfigError, QuernError
from targets.foreign_text import json_escaped


def print_json_result(result: Mapping[str, object], failure: QuernError | None = None) -> None:
    """Print the result as one JSON document, with ``failure`` if there is one.

    Then raises click's ``Exit`` with the exit code of ``failure``, without a further message.
    """
    print_json(
        {"exit_code": 0, **result} if failure is None else {**as_json_error(failure), **result}
    )
    if failure is not None:
        raise click.exceptions.Exit(failure.exit_code)


def print_json(document: Mapping[str, object]) -> None:
    """Print a document as JSON."""
    click.echo(json_text(document))


def json_text(document: Mapping[str, object]) -> str:
    """Return a document as JSON; NaN, which JSON does not have, becomes ``null``."""
    return json_escaped(to_json(document, indent=2, inf_nan_mode="null").decode())


def as_json_error(failure: QuernError) -> dict[str, object]:
    """Return an error as data."""
    if isinstance(failure, ConfigError):
        return {
            "exit_code": failure.exit_code,
            "problems": [
                {
                    "message": problem.message,
                    "file": problem.file,
                    "line": problem.line,
                    "key": problem.key,
                    "suggestion": problem.suggestion,
                }
                for problem in failure.problems
            ],
        }
    return {
        "exit_code": failure.exit_code,
        "error": str(failure),
        "hint": failure.hint,
        "log": failure.log,
    }
