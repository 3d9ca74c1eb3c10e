"""The page of results: one section per part, each replaced by the next run that measures it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NO_AIM = "–"

_INTRODUCTION = """\
# A model of full size

Made by `./nox -s bench-scale`. Each section is of the run that it names; the next run writes anew
those that it measures. The model is a checkpoint of Phi-3-mini's size with random weights (3.8
billion parameters, bf16, of `tests/benchmarks/scale/checkpoint.py`): weights do not matter for time
and memory. The small model is the base of `configs/tone.toml`.

Times are wall times of whole processes, start and imports included, unless a row says otherwise.
Peak memory is the largest resident set of a process, in GB of 10^9 bytes; pages of mapped files
count where they are in memory. "Plain" is the library call that a pass of Quern's stands in for,
alone in a process of its own, in the same run, with the same wheels and instruction sets.
`--only merge,builder` measures some parts, `--layers 4` a smaller model, and `--no-plain` leaves
out the plain calls that need 22 GB of memory.
"""


@dataclass(frozen=True)
class Row:
    """One figure and what it should be."""

    what: str
    figure: str
    aim: str = NO_AIM
    met: bool | None = None
    """``None`` where there is no aim, or where it could not be judged."""

    def __str__(self) -> str:
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return f"| {self.what} | {self.figure} | {self.aim} | {met} |"


@dataclass(frozen=True)
class Section:
    """What one part found."""

    part: str
    title: str
    rows: Iterable[Row]
    """In the order in which they are measured: each is measured when it is asked for."""
    text: str = ""
    """How it was measured."""


def write(path: Path, section: Section, origin: str) -> None:
    """Put ``section`` into the page at ``path`` in place of the one before.

    ``origin`` says when and on what it was measured.
    """
    page = path.read_text("utf-8") if path.exists() else _INTRODUCTION
    text = _text(section, origin)
    old = re.compile(rf"{re.escape(_mark(section.part))}.*?(?=\n<!-- part |\Z)", re.DOTALL)
    known = old.search(page) is not None
    page = old.sub(lambda _: text, page) if known else f"{page.rstrip()}\n\n{text}"
    path.write_text(f"{page.rstrip()}\n", "utf-8")


def _mark(part: str) -> str:
    return f"<!-- part {part} -->"


def _text(section: Section, origin: str) -> str:
    table = "\n".join(map(str, section.rows))
    how = f"{section.text}\n\n" if section.text else ""
    return (
        f"{_mark(section.part)}\n## {section.title}\n\n{origin}\n\n{how}"
        f"| what | figure | aim | met |\n| --- | --- | --- | --- |\n{table}\n"
    )


def gigabytes(size: float) -> str:
    """Return bytes as GB."""
    return f"{size / 1e9:.2f} GB"
