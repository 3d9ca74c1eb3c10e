"""What was tried, kept as it is found: a killed search goes on from there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, ValidationError

from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict

_FILE = "trials.jsonl"

Stage = Literal["session", "build", "final"]


class Speed(Frozen):
    """How fast one artifact answered: the fastest of its prompts, and the median token of the
    answer that was fastest by that."""

    prompt_ms: float
    """From handing over the prompt to the first token."""
    token_ms: float
    """Of each further token."""
    answer_ms: float
    """Of the whole answer."""
    prompt_tokens_per_second: float
    tokens_per_second: float


class Trial(Frozen):
    """One choice, and what became of it."""

    stage: Stage
    """``session``: settings of the session were varied; ``build``: the build; ``final``: the whole
    model was built, held to the limits and timed."""
    layers: int
    """Of the model that was timed."""
    built: dict[str, JsonValue]
    """What the builder was asked for, of what is searched over."""
    session: dict[str, JsonValue]
    """Threads and options of the session, of what is searched over."""
    status: Literal["measured", "beyond", "failed"]
    """``beyond``: not within the limits, and so not timed."""
    speed: Speed | None = None
    cost: float | None = None
    """Mean divergence from the float model, in nats, where a final was held to that."""
    verdicts: tuple[Verdict, ...] = ()
    """Limits that it misses."""
    bytes: int | None = None
    note: str = ""
    """Why it failed."""
    seconds: float = 0
    """What the trial took."""


class Trials:
    """The trials of one search; kept in ``folder`` where there is one."""

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / _FILE
        self._found: list[Trial] = list(_read(self._file)) if self._file is not None else []
        self.resumed = len(self._found)
        """How many were there before."""

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._found)

    @property
    def seconds(self) -> float:
        """Return what all trials took, those before a kill too."""
        return sum(trial.seconds for trial in self._found)

    def find(
        self, stage: Stage, built: dict[str, JsonValue], session: dict[str, JsonValue]
    ) -> Trial | None:
        """Return the trial of a choice, if it was made."""
        same = (
            trial
            for trial in self._found
            if (trial.stage, trial.built, trial.session) == (stage, built, session)
        )
        return next(same, None)

    def of(self, stage: Stage) -> list[Trial]:
        """Return the trials of a stage, in the order in which they were made."""
        return [trial for trial in self._found if trial.stage == stage]

    def add(self, trial: Trial) -> Trial:
        """Keep a trial, on the disk before anything else happens."""
        self._found.append(trial)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(trial.model_dump_json() + "\n")
                file.flush()
                os.fsync(file.fileno())
        return trial


def _read(file: Path) -> Iterator[Trial]:
    """Yield the trials of an earlier run. A line that the kill cut short ends them, and is cut off:
    the next one would be written behind it."""
    if not file.is_file():
        return
    whole = 0
    content = file.read_bytes()
    for line in content.splitlines(keepends=True):
        try:
            trial = Trial.model_validate_json(line)
        except ValidationError:
            break
        if not line.endswith(b"\n"):
            break
        whole += len(line)
        yield trial
    if whole < len(content):
        os.truncate(file, whole)
