"""Problems of a data set, with the row of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

LISTED_PER_KIND = 20
"""How many problems of one kind are listed; the rest are counted."""


NAMED = 8
"""How many places a sentence names."""


def named(places: Sequence[str], count: int | None = None) -> str:
    """Return the first of ``places`` in words, and how many more there are: ``line 1, line 5``.

    There are ``count`` of them, where not all are given.
    """
    rest = (len(places) if count is None else count) - NAMED
    return ", ".join(places[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


@dataclass(frozen=True)
class DataProblem:
    """One mistake: in ``line`` of the data file, or in ``key`` of the settings of the data set."""

    message: str
    line: int | None = None
    key: str = ""
    suggestion: str = ""
    file: int = 0
    """Number of the file with that line, counted from 0."""


@dataclass
class ProblemList:
    """Collects problems; lists at most :data:`LISTED_PER_KIND` of each kind and counts the rest."""

    _listed: list[DataProblem] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __bool__(self) -> bool:
        return bool(self._listed)

    def add(self, kind: str, problem: DataProblem) -> None:
        """Add one problem. ``kind`` describes several of them: ``"rows of broken JSON"``."""
        self._counts[kind] += 1
        if self._counts[kind] <= LISTED_PER_KIND:
            self._listed.append(problem)

    def all(self) -> list[DataProblem]:
        """Return the problems in the order of their lines, then the counts of omitted ones."""
        listed = sorted(self._listed, key=lambda problem: (problem.file, problem.line or 0))
        more = [
            DataProblem(f"{count - LISTED_PER_KIND} more {kind}")
            for kind, count in self._counts.items()
            if count > LISTED_PER_KIND
        ]
        return listed + more
