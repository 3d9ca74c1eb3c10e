"""One difference, as people read it and as ``--json`` gives it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ConfigDict

AT_MOST = 20
"""How many differences of one file are shown unless told otherwise."""


class Difference(BaseModel):
    """Something that is not the same in the release and in its rebuild."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    """POSIX path below the compared folders."""
    where: str = ""
    """Where in the file: a tensor, a key, a line; empty where it is the file as a whole."""
    what: str
    size: float | None = None
    """The largest relative difference, ``|a - b| / max(|a|, |b|)``: 0 to 2. None for no numbers."""


@dataclass(frozen=True)
class Pair:
    """A file of the release and the one that should equal it."""

    name: str
    released: Path
    rebuilt: Path

    @property
    def sides(self) -> tuple[tuple[Path, str], tuple[Path, str]]:
        """Return each path with the word for its side."""
        return (self.released, "released"), (self.rebuilt, "rebuilt")


class Unreadable(Exception):
    """A file is not what its name says. ``side`` is ``released`` or ``rebuilt``."""

    def __init__(self, side: str, why: str) -> None:
        super().__init__(f"the {side} file cannot be read {why}")


def bounded(file: str, all_differences: Iterable[Difference], at_most: int) -> Iterator[Difference]:
    """Yield the first ``at_most`` differences of ``file``, then one that counts the rest."""
    differences = iter(all_differences)
    yield from islice(differences, at_most)
    more, largest = 0, None
    for one in differences:
        more += 1
        if one.size is not None:
            largest = one.size if largest is None else max(largest, one.size)
    if more:
        yield Difference(file=file, what=f"and {more:,} more", size=largest)
