"""What is wrong with a data set, row by row."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

LISTED_PER_KIND = 20
"""How many problems of one kind are listed; the rest are counted."""


@dataclass(frozen=True)
class DataProblem:
    """One mistake. With ``line`` it is in the data file; with ``key`` in the spec of the data set."""

    message: str
    line: int | None = None
    key: str = ""
    suggestion: str = ""


@dataclass
class ProblemList:
    """Collects problems; lists at most :data:`LISTED_PER_KIND` of each kind and counts the rest."""

    _listed: list[DataProblem] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, kind: str, problem: DataProblem) -> None:
        """Take one problem. ``kind`` names many of them: ``"rows of broken JSON"``."""
        self._counts[kind] += 1
        if self._counts[kind] <= LISTED_PER_KIND:
            self._listed.append(problem)

    def all(self) -> list[DataProblem]:
        """Return the problems in the order of their lines, then what was left off, counted."""
        listed = sorted(self._listed, key=lambda problem: problem.line or 0)
        more = [
            DataProblem(f"{count - LISTED_PER_KIND} more {kind}")
            for kind, count in self._counts.items()
            if count > LISTED_PER_KIND
        ]
        return listed + more


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'joy'?``, or the names there are where none is near."""
    names = sorted(known)
    by_folded = {other.casefold(): other for other in names}
    near = difflib.get_close_matches(name.strip().casefold(), by_folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean {by_folded[near[0]]!r}?"
    if not names:
        return ""
    shown = ", ".join(repr(other) for other in names[:12])
    return f"there are {shown}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")
