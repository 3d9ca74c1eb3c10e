"""Searches for the fastest artifact in three stages: session settings, builds, finalists.

1. Session settings (threads and session options) are timed on a single build.
2. Builds are timed with the best of these settings. A large model is cut to a few layers for both.
3. The fastest builds are made of the whole model, compared with the limits of the config and timed.

Settings and builds are searched one after the other because they hardly depend on each other: the
number of threads that is best for one build is best for all.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from pipeline.builder.build import build
from pipeline.builder.session_options import SessionOption, SessionValue
from pipeline.contract.errors import BeyondCpuError, StepError
from pipeline.contract.step import Inputs, Reporter
from pipeline.data.tokenizer import load_artifact_tokenizer
from pipeline.latency.timing import synthetic_prompt
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.tuning.cut import can_cut, cut
from pipeline.tuning.limits import judge
from pipeline.tuning.params import Point, TuneParams, grid
from pipeline.tuning.sampler import next_point
from pipeline.tuning.speed import SpeedWorkload, TimedArtifact
from pipeline.tuning.summary import describe_choice, rejection_reason
from pipeline.tuning.ties import best_of
from pipeline.tuning.trials import Stage, Trial, Trials

_FEW_TOKENS = 16
"""Tokens of an answer in the first two stages."""
_SESSIONS_AGAIN = 2
"""How many of the best session settings are timed again on the whole model."""
_BYTES_PER_WEIGHT = 2
_NO_CHOICE = (StepError, BeyondCpuError, ValidationError, MemoryError)
"""Errors that rule out one choice and do not end the search."""


@dataclass(frozen=True)
class Chosen:
    """The artifact that was chosen, and the trial that decided it."""

    folder: Path
    metrics: dict[str, JsonValue]
    """Metrics of its build: the options that the model builder was given."""
    trial: Trial


class Search:
    """One search. ``work`` is the folder in which artifacts are built."""

    def __init__(self, inputs: Inputs, params: TuneParams, trials: Trials, work: Path) -> None:
        self._inputs = inputs
        self._params = params
        self._trials = trials
        self._work = work
        self._model = Checkpoint(inputs["model"])
        self._whole = int(self._model.config.get("num_hidden_layers", 0))
        self._layers = self._whole
        self._source = inputs["model"]
        self._prompt: list[int] = []
        self._done = len(list(trials))
        seed = params.sampler_seed
        self._seed = inputs.seed if seed is None else seed
        self.out_of_time = False
        """Whether :attr:`TuneParams.max_seconds` ended the search early."""

    def run(self) -> Chosen:
        """Return the best choice. Raises :class:`StepError` if none is within the limits."""
        self._cut()
        session = self._best_session()
        ranked = self._ranked_builds(session)
        if self._source != self._inputs["model"]:
            shutil.rmtree(self._source)
            self._source = self._inputs["model"]
        return self._best_final(ranked, session)

    # The first round: on a few layers of a large model, with few tokens.

    def _cut(self) -> None:
        large = self._model.weights * _BYTES_PER_WEIGHT >= self._params.large
        few = self._params.layers
        if large and can_cut(self._model, few):
            self._source = self._work / "cut"
            self._source.mkdir()
            cut(self._model, few, self._source)
            self._layers = few

    def _best_session(self) -> Point:
        """Return the fastest session settings, timed on the first build of the search space."""
        points = tuple(grid(self._params.session_axes(self._inputs.threads)))
        start = self._params.built_points[0]
        if len(points) == 1:
            return points[0]
        made: list[TimedArtifact] = []

        def attempt(point: Point) -> Trial:
            if not made:
                made.append(self._build(self._source, start)[0])
            return self._timed("session", start, point, made[0])

        try:
            trials = self._explore("session", points, start, attempt)
        finally:
            for artifact in made:
                shutil.rmtree(artifact.folder)
        best = self._fastest(trials)
        if best is None:
            raise StepError(f"no setting of the session works: {_notes(trials)}")
        return best.session

    def _ranked_builds(self, session: Point) -> list[Point]:
        """Return the builds that work, fastest first, and then those that were not tried."""
        points = self._params.built_points
        if len(points) <= self._params.finalists:
            return list(points)

        def attempt(point: Point) -> Trial:
            artifact, _ = self._build(self._source, point)
            try:
                return self._timed("build", point, session, artifact)
            finally:
                shutil.rmtree(artifact.folder)

        trials = self._explore("build", points, session, attempt)
        ranked = [trial.built for trial in sorted(filter(_was_timed, trials), key=self._score)]
        if not ranked:
            raise StepError(f"nothing can be built: {_notes(trials)}")
        tried = [trial.built for trial in trials]
        # If none of these is within the limits, a build that was not tried for lack of time may be.
        return [*ranked, *(point for point in points if point not in tried)]

    def _explore(
        self,
        stage: Stage,
        points: Sequence[Point],
        other: Point,
        attempt: Callable[[Point], Trial],
    ) -> list[Trial]:
        """Try ``points`` until the time is up, but until at least one was timed; return all trials.

        ``other`` is the part of the choice that stays the same: the build while sessions are
        tried, the session while builds are.
        """
        most = min(len(points), self._params.max_trials)
        while True:
            trials = self._trials.of(stage)
            tried = [
                (t.session if stage == "session" else t.built, self._score(t) if t.speed else None)
                for t in trials
            ]
            if len(tried) >= most:
                return trials
            if self._is_late and any(took is not None for _, took in tried):
                return trials
            point = next_point(points, tried, self._sampling(len(points), trials), self._seed)
            started = time.monotonic()
            try:
                trial = attempt(point)
            except _NO_CHOICE as error:
                both = (other, point) if stage == "session" else (point, other)
                trial = self._failed(stage, *both, error)
            self._add(trial, started, most - len(tried) - 1)

    def _sampling(self, points: int, trials: list[Trial]) -> Any:
        """Return how the next point is chosen; ``auto`` is ``grid`` if all points fit into the
        limits of trials and time, else ``tpe``."""
        if self._params.search_by != "auto":
            return self._params.search_by
        if points > self._params.max_trials:
            return "tpe"
        if not trials:
            return "grid"
        usual = sum(trial.seconds for trial in trials) / len(trials)
        left = self._params.max_seconds - self._trials.seconds
        # Half of the time is for the finalists.
        return "grid" if usual * (points - len(trials)) <= left / 2 else "tpe"

    # The last round: the whole model.

    def _best_final(self, ranked: list[Point], session: Point) -> Chosen:
        """Return the best of the finalists: the first builds in ``ranked`` within the limits."""
        measured: list[Trial] = []
        kept: _Kept | None = None
        best: Trial | None = None
        for point in ranked:
            if len(measured) >= self._params.finalists or (measured and self._is_late):
                break
            trial = self._trials.find("final", point, session)
            made: _Kept | None = None
            if trial is None:
                started = time.monotonic()
                try:
                    made = _Kept(point, *self._build(self._inputs["model"], point))
                    trial = self._final(made, session)
                except _NO_CHOICE as error:
                    trial = self._failed("final", point, session, error)
                trial = self._add(trial, started, self._params.finalists - len(measured) - 1)
            if trial.status == "measured":
                measured.append(trial)
                best = best_of(measured, self._score, self._params.tie)
            if best is trial:
                _remove(kept)
                kept = made
            else:
                _remove(made)
        if best is None:
            raise StepError(
                f"no build that was tried keeps the limits of the config:\n{self._excluded()}",
                hint="raise the limits in [checks.quantization] or [checks.quality], or let "
                "[passes.tune.space] hold something more exact: smaller blocks, algorithm k_quant, "
                'mixed_precision = [{ last_matmul = "int8" }]',
            )
        if kept is None or kept.point != best.built:
            _remove(kept)
            kept = _Kept(best.built, *self._build(self._inputs["model"], best.built))
        best = self._retime_sessions(best, kept.artifact)
        threads, options = self._params.settings(best.session)
        kept.artifact.configure(threads, options)
        metrics = {**kept.metrics, "threads": threads, "session": _plain(options)}
        return Chosen(kept.artifact.folder, metrics, best)

    def _final(self, made: _Kept, session: Point) -> Trial:
        """Compare a build of the whole model with the limits, and time it if it is within them."""
        threads, options = self._params.settings(session)
        made.artifact.configure(threads, options)
        folder, size_now = made.artifact.folder, made.artifact.bytes
        judgement = judge(self._quiet_inputs, self._params.held_to, folder, made.metrics)
        if judgement.missed:
            return Trial(
                stage="final",
                layers=self._whole,
                built=made.point,
                session=session,
                status="beyond",
                cost=judgement.cost,
                verdicts=judgement.missed,
                bytes=size_now,
            )
        trial = self._timed("final", made.point, session, made.artifact)
        return trial.model_copy(update={"cost": judgement.cost})

    def _retime_sessions(self, best: Trial, artifact: TimedArtifact) -> Trial:
        """Return the best trial of the chosen build with other session settings: those that are
        fastest with a few layers are not always fastest with all."""
        trials = sorted(filter(_was_timed, self._trials.of("session")), key=self._score)
        for trial in trials[:_SESSIONS_AGAIN]:
            if trial.session == best.session:
                continue
            if self._is_late:
                break
            retimed = self._trials.find("final", best.built, trial.session)
            if retimed is None:
                started = time.monotonic()
                retimed = self._timed("final", best.built, trial.session, artifact)
                retimed = self._add(retimed.model_copy(update={"cost": best.cost}), started, 0)
            if self._score(retimed) < self._score(best):
                best = retimed
        return best

    # Shared by both rounds.

    def _build(self, model: Path, point: Point) -> tuple[TimedArtifact, dict[str, JsonValue]]:
        """Build a choice into a folder of its own."""
        folder = self._work / f"made-{self._done}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            metrics = build(model, folder, self._params.builder(point), _Quiet(self._inputs.report))
            return TimedArtifact(folder), metrics
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _timed(self, stage: Stage, built: Point, session: Point, artifact: TimedArtifact) -> Trial:
        threads, options = self._params.settings(session)
        artifact.configure(threads, options)
        is_final = stage == "final"
        new_tokens = self._params.new_tokens
        work = SpeedWorkload(
            prompt=self._synthetic_prompt(artifact.folder),
            new_tokens=new_tokens if is_final else min(new_tokens, _FEW_TOKENS),
            processes=self._params.rounds if is_final else 1,
        )
        return Trial(
            stage=stage,
            layers=self._whole if is_final else self._layers,
            built=built,
            session=session,
            status="measured",
            speed=artifact.time(work),
            bytes=artifact.bytes,
        )

    def _failed(self, stage: Stage, built: Point, session: Point, error: Exception) -> Trial:
        hint = getattr(error, "hint", "")
        message = str(error).strip() or type(error).__name__
        note = f"{message}; {hint}" if hint else message
        layers = self._whole if stage == "final" else self._layers
        return Trial(
            stage=stage, layers=layers, built=built, session=session, status="failed", note=note
        )

    def _add(self, trial: Trial, started: float, left: int) -> Trial:
        took = round(time.monotonic() - started, 3)
        trial = self._trials.add(trial.model_copy(update={"seconds": took}))
        self._done += 1
        speed = trial.speed
        figures = {} if speed is None else {"tokens_per_second": speed.tokens_per_second}
        self._inputs.report.progress(self._done, self._done + max(left, 0), "trials", **figures)
        return trial

    @property
    def _is_late(self) -> bool:
        late = self._trials.seconds >= self._params.max_seconds
        self.out_of_time |= late
        return late

    def _score(self, trial: Trial) -> float:
        """Return what to minimize, as :attr:`TuneParams.goal` says: milliseconds, or of builds the
        bytes."""
        speed = trial.speed
        assert speed is not None  # noqa: S101 - only what was timed is compared
        match self._params.goal:
            case "size" if trial.stage != "session" and trial.bytes is not None:
                return float(trial.bytes)
            case "decode":
                return speed.token_ms
            case "prompt":
                return speed.prompt_ms
            case _:
                # Trials of the first round answer with fewer tokens.
                return speed.prompt_ms + (self._params.new_tokens - 1) * speed.token_ms

    def _fastest(self, trials: list[Trial]) -> Trial | None:
        return min(filter(_was_timed, trials), key=self._score, default=None)

    def _excluded(self) -> str:
        return "\n".join(
            f"- {describe_choice(trial.built) or 'as given'}: {rejection_reason(trial)}"
            for trial in self._trials.of("final")
        )

    @property
    def _quiet_inputs(self) -> Inputs:
        return replace(self._inputs, report=_Quiet(self._inputs.report))

    def _synthetic_prompt(self, folder: Path) -> list[int]:
        if not self._prompt:
            self._prompt = synthetic_prompt(
                load_artifact_tokenizer(folder), self._params.prompt_tokens
            )
        return self._prompt


@dataclass(frozen=True)
class _Kept:
    """A build of the whole model that is still on disk."""

    point: Point
    artifact: TimedArtifact
    metrics: dict[str, JsonValue]


@dataclass(frozen=True)
class _Quiet:
    """Forwards warnings only: the progress of one build is not that of the search."""

    report: Reporter

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        """Say nothing."""

    def warn(self, message: str) -> None:
        """Forward the warning."""
        self.report.warn(message)

    def text(self, text: str) -> None:
        """Say nothing."""


def _remove(kept: _Kept | None) -> None:
    if kept is not None:
        shutil.rmtree(kept.artifact.folder)


def _was_timed(trial: Trial) -> bool:
    return trial.speed is not None


def _plain(options: Mapping[SessionOption, SessionValue]) -> dict[str, JsonValue]:
    return {str(name): value for name, value in options.items()}


def _notes(trials: list[Trial]) -> str:
    return "; ".join(dict.fromkeys(trial.note for trial in trials if trial.note))
