"""The errors with which a command can end, and their exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from targets.foreign_text import one_line

_SHOWN = 100
"""Problems that a message lists."""
_LONGEST = 2000
"""Longest that one of them is shown, in characters."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a file of the user: its place, a message, and a remedy."""

    message: str
    file: Path | None = None
    line: int | None = None
    key: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        place = str(self.file) if self.file else ""
        if place and self.line:
            place += f":{self.line}"
        head = ": ".join(part for part in (place, self.key, self.message) if part)
        text = f"{head} ({self.suggestion})" if self.suggestion else head
        return one_line(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ...")


class QuernError(Exception):
    """An error with an exit code and, if there is one, a remedy."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.log = log


class ConfigError(QuernError):
    """The config is wrong. Carries every problem of the file at once."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(_in_order(problems))
        super().__init__("\n".join(self.shown))

    @property
    def shown(self) -> list[str]:
        """Return a line for each problem, and one for those that are too many to read."""
        lines = [str(problem) for problem in self.problems[:_SHOWN]]
        more = len(self.problems) - len(lines)
        return [*lines, f"and {more:,} more problems"] if more else lines


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Return problems as one reads the files: line by line, what has no line first."""
    files = list(dict.fromkeys(problem.file for problem in problems))
    return sorted(problems, key=lambda problem: (files.index(problem.file), problem.line or 0))


class CheckFailed(QuernError):
    """An artifact missed a limit, or a file does not match its digest or description."""

    exit_code = 3


class EnvironmentUnable(QuernError):
    """This machine cannot do it: no engine, no GPU, disk full, wheel missing, no network."""

    exit_code = 4


class EngineElsewhere(EnvironmentUnable):
    """The engine cannot mount a folder of this machine: it is another one's."""


class PassFailed(QuernError):
    """A step failed, or its process was killed."""

    exit_code = 5


class ProcessCrashed(PassFailed):
    """The process of a step ended by a signal of its own making, such as an illegal access."""

    def __init__(self, step: str, how: str, hint: str = "", log: Path | None = None) -> None:
        super().__init__(f"{step} broke: {how}", hint, log)
        self.step = step
        self.how = how


class InputRefused(PassFailed):
    """A step found that model, data or parameters are wrong, which the host could not see."""

    exit_code = 2


class Interrupted(QuernError):
    """The user stopped it."""

    exit_code = 130
