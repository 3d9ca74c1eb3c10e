"""The CI service that a process runs in, and what it reads from output."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from targets.errors import Problem

CiService = Literal["github", "gitlab", "azure"]

_LOG_COLUMNS = 200
"""How wide tables may become in a log: its page scrolls, and no terminal says a width."""


def ci_service(environment: Mapping[str, str]) -> CiService | None:
    """Return the CI service that ``environment`` belongs to; ``None`` for none that is known."""
    if environment.get("GITHUB_ACTIONS") == "true":
        return "github"
    if environment.get("GITLAB_CI") == "true":
        return "gitlab"
    if environment.get("TF_BUILD") == "True":
        return "azure"
    return None


def log_columns(environment: Mapping[str, str]) -> int | None:
    """Return the width for output in the log of a CI service; ``None`` where there is another."""
    if "COLUMNS" in environment or ci_service(environment) is None:
        return None
    return _LOG_COLUMNS


def annotation(problem: Problem, environment: Mapping[str, str]) -> str:
    """Return the line by which the CI service shows ``problem`` at its place in the sources; empty
    where none would."""
    service = ci_service(environment)
    message = ": ".join(part for part in (problem.key, problem.message) if part)
    if problem.suggestion:
        message += f" ({problem.suggestion})"
    if service == "github":
        # https://docs.github.com/actions/reference/workflow-commands-for-github-actions
        place = _place(problem, environment.get("GITHUB_WORKSPACE", ""), "file", "line")
        words = ",".join(f"{name}={_quoted(value, ':,')}" for name, value in place.items())
        return f"::error {words}::{_quoted(message)}".replace("error ::", "error::")
    if service == "azure":
        # https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands
        root = environment.get("BUILD_SOURCESDIRECTORY", "")
        place = {"type": "error", **_place(problem, root, "sourcepath", "linenumber")}
        words = "".join(f"{name}={_quoted(value, ';]')};" for name, value in place.items())
        return f"##vso[task.logissue {words}]{_quoted(message)}"
    return ""


def _place(problem: Problem, root: str, file: str, line: str) -> dict[str, str]:
    """Return where the problem is, under the names that a service has for ``file`` and ``line``;
    the file relative to ``root``, the folder of the sources."""
    if problem.file is None:
        return {}
    path = Path(os.path.abspath(problem.file))  # noqa: PTH100 - links stay as they are
    shown = path.relative_to(root) if root and path.is_relative_to(root) else problem.file
    place = {file: shown.as_posix()}
    return place if problem.line is None else {**place, line: str(problem.line)}


def _quoted(text: str, more: str = "") -> str:
    """Return ``text`` with the characters escaped that would end a command or its property."""
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
