"""The trials of a search, written to disk one by one, so that a killed search can continue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Literal

from pydantic import JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict
from pipeline.process.record_log import RecordLog

_FILE = "trials.jsonl"

Stage = Literal["session", "build", "final"]


class Speed(Frozen):
    """The speed of one artifact in one process: the fastest first token, and the median time per
    further token of the answer in which that median was smallest. Of several processes, the
    geometric mean of each figure."""

    prompt_ms: float
    """Time from passing the prompt to the first token."""
    token_ms: float
    """Time per further token."""
    answer_ms: float
    """Time of the whole answer."""
    prompt_tokens_per_second: float
    tokens_per_second: float

    @classmethod
    def mean_of(cls, speeds: Sequence[Speed]) -> Speed:
        """Return the geometric mean of each figure of ``speeds``, of which there must be one."""
        return cls.model_validate(
            {
                name: geometric_mean([getattr(speed, name) for speed in speeds])
                for name in cls.model_fields
            }
        )


class Trial(Frozen):
    """One choice, and its result."""

    stage: Stage
    """``session``: a trial of session settings; ``build``: of a build; ``final``: the whole model
    was built, compared with the limits and timed."""
    layers: int
    """Number of layers of the model that was timed."""
    built: dict[str, JsonValue]
    """Values of the parameters of the builder that are searched over."""
    session: dict[str, JsonValue]
    """Values of threads and session options that are searched over."""
    status: Literal["measured", "within", "beyond", "failed"]
    """``within`` and ``beyond``: inside and outside of the limits; the former is timed later, in
    turns with the other finalists."""
    speed: Speed | None = None
    rounds: tuple[Speed, ...] = ()
    """The speed in each of the processes that took turns with those of the other finalists."""
    busy: float | None = None
    """Share of the CPUs that other work took while it was timed."""
    cost: float | None = None
    """Mean KL divergence from the float model in nats, if it was measured."""
    verdicts: tuple[Verdict, ...] = ()
    """Its failed verdicts."""
    bytes: int | None = None
    note: str = ""
    """Why it failed."""
    seconds: float = 0
    """Duration of the trial."""


class Trials:
    """The trials of one search, kept in ``folder`` if there is one."""

    def __init__(self, folder: Path | None) -> None:
        self._log = RecordLog(Trial, None if folder is None else folder / _FILE)
        self._found = list(self._log.read())
        self.resumed = len(self._found)
        """Number of trials from an earlier run."""

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._found)

    @property
    def seconds(self) -> float:
        """Return the duration of all trials, including those of an earlier run."""
        return sum(trial.seconds for trial in self._found)

    def find(
        self, stage: Stage, built: dict[str, JsonValue], session: dict[str, JsonValue]
    ) -> Trial | None:
        """Return the latest trial of a choice; ``None`` if there is none."""
        same = (
            trial
            for trial in reversed(self._found)
            if (trial.stage, trial.built, trial.session) == (stage, built, session)
        )
        return next(same, None)

    def of(self, stage: Stage) -> list[Trial]:
        """Return the trials of a stage, in the order in which they were made."""
        return [trial for trial in self._found if trial.stage == stage]

    def add(self, trial: Trial) -> Trial:
        """Add a trial, write it to disk at once, and return it."""
        self._found.append(trial)
        self._log.add(trial)
        return trial
