"""Searches for the fastest artifact in three stages: session settings, builds, finalists.

1. Session settings (threads and session options) are timed on a single build.
2. Builds are timed with the best of these settings. A large model is cut to a few layers for both.
3. The fastest builds are made of the whole model, compared with the limits of the config, and timed
   in turns: what slows the machine down for a while slows all of them down.

Settings and builds are searched one after the other because they hardly depend on each other: the
number of threads that is best for one build is best for all.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from pipeline.builder.build import build_at
from pipeline.builder.session_options import SessionOption, SessionValue
from pipeline.contract.errors import BeyondCpuError, StepError
from pipeline.contract.step import Inputs, Reporter
from pipeline.contract.ways import Way, of_way
from pipeline.data.tokenizer import load_artifact_tokenizer
from pipeline.latency.timing import synthetic_prompt
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.process.load import LoadWatch
from pipeline.statistics.intervals import ratio_interval
from pipeline.tuning.cut import Cuts, can_cut
from pipeline.tuning.front import cheapest_of
from pipeline.tuning.limits import judge
from pipeline.tuning.params import Point, TuneParams, grid
from pipeline.tuning.sampler import next_point
from pipeline.tuning.speed import SpeedWorkload, TimedArtifact
from pipeline.tuning.summary import Margin, describe_choice, rejection_reason
from pipeline.tuning.ties import best_of
from pipeline.tuning.trials import Speed, Stage, Trial, Trials

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
    margin: Margin | None
    """How much slower the next best choice is; ``None`` if there was only one."""


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
        self._cuts: Cuts | None = None
        self._prompt: list[int] = []
        self._done = len(list(trials))
        self._builds = 0
        seed = params.sampler_seed
        self._seed = inputs.seed if seed is None else seed
        self.out_of_time = False
        """Whether :attr:`TuneParams.max_seconds` ended the search early."""
        self.busiest = max((trial.busy for trial in trials if trial.busy is not None), default=None)
        """Largest share of the CPUs that other work took while something was timed."""

    def run(self) -> Chosen:
        """Return the best choice. Raises :class:`StepError` if none is within the limits."""
        self._cut()
        session = self._best_session()
        ranked = self._ranked_builds(session)
        if self._cuts is not None:
            self._cuts.remove()
        return self._best_final(ranked, session)

    # The first round: on a few layers of a large model, with few tokens.

    def _cut(self) -> None:
        large = self._model.weights * _BYTES_PER_WEIGHT >= self._params.large
        few = self._params.layers
        if large and can_cut(self._model, few):
            self._cuts = Cuts(few, self._work / "cut")
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
                made.append(self._build(start, self._cuts)[0])
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
        if len(self._first_of_each_way(points)) == len(points):
            return list(points)

        def attempt(point: Point) -> Trial:
            artifact, _ = self._build(point, self._cuts)
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
        """Return the best of the finalists: the first builds in ``ranked`` within the limits.

        The first of each way are tried, however fast those of others are: ways of one graph are
        equally fast, and differ in the loss of quality.
        """
        finalists: list[_Finalist] = []
        first = self._first_of_each_way(ranked)
        for at, point in enumerate([*first, *(point for point in ranked if point not in first)]):
            enough = at >= len(first) and len(finalists) >= self._params.finalists
            if enough or (finalists and self._is_late):
                break
            finalist = self._finalist(point, session, max(len(first) - at - 1, 0))
            if finalist is not None:
                finalists.append(finalist)
        if not finalists:
            raise StepError(
                f"no build that was tried keeps the limits of the config:\n{self._excluded()}",
                hint="raise the limits in [checks.quantization] or [checks.quality], or let "
                "[passes.tune.space] hold something more exact: smaller blocks, algorithm k_quant, "
                'mixed_precision = [{ last_matmul = "int8" }]',
            )
        measured = self._finals(finalists, session)
        best = self._best_of(measured)
        chosen = next(one for one in finalists if one.point == best.built)
        for finalist in finalists:
            if finalist is not chosen:
                finalist.remove()
        artifact, metrics = self._made(chosen)
        others = [trial for trial in measured if trial is not best]
        margin = self._margin(best, min(others, key=self._score)) if others else None
        best, margin = self._best_session_of(best, margin, chosen)
        threads, options = self._params.settings(best.session)
        artifact.configure(threads, options)
        way = self._params.told(best.built)
        metrics = {**metrics, "threads": threads, "session": _plain(options), **way}
        return Chosen(artifact.folder, metrics, best, margin)

    def _first_of_each_way(self, ranked: Sequence[Point]) -> list[Point]:
        """Return as many of each way as there are to be finalists, in their order."""
        seen: Counter[Way] = Counter()
        first = []
        for point in ranked:
            way = self._params.way_at(point)
            seen[way] += 1
            if seen[way] <= self._params.finalists:
                first.append(point)
        return first

    def _best_of(self, measured: Sequence[Trial]) -> Trial:
        """Return the fastest, or for the goal ``size`` the fastest of the smallest; of equally fast
        ones the closest to the float model."""
        if self._params.goal == "size":
            measured = cheapest_of(measured, self._params.tie)
        return best_of(measured, self._time, self._params.tie)

    def _finalist(self, point: Point, session: Point, left: int) -> _Finalist | None:
        """Build the whole model and compare it with the limits; ``None`` if it is not within them.
        ``left`` are to be tried after it.

        What an earlier run has found out is not done again.
        """
        trial = self._trials.find("final", point, session)
        finalist = _Finalist(point)
        if trial is None:
            started = time.monotonic()
            try:
                self._made(finalist)
                trial = self._judged(finalist, session)
            except _NO_CHOICE as error:
                trial = self._failed("final", point, session, error)
            trial = self._add(trial, started, left)
        if trial.status not in ("within", "measured"):
            finalist.remove()
            return None
        finalist.cost = trial.cost
        return finalist

    def _judged(self, finalist: _Finalist, session: Point) -> Trial:
        """Compare a build of the whole model with the limits."""
        artifact, metrics = self._made(finalist)
        artifact.configure(*self._params.settings(session))
        inputs = self._inputs_at(finalist.point)
        judgement = judge(inputs, self._params.held_to, artifact.folder, metrics)
        return Trial(
            stage="final",
            layers=self._whole,
            built=finalist.point,
            session=session,
            status="beyond" if judgement.missed else "within",
            cost=judgement.cost,
            verdicts=judgement.missed,
            bytes=artifact.bytes,
        )

    def _finals(self, finalists: list[_Finalist], session: Point) -> list[Trial]:
        """Return the trials of the finalists that could be timed, from an earlier run or now.

        Raises :class:`StepError` if there are none.
        """
        earlier = [self._trials.find("final", one.point, session) for one in finalists]
        measured = [trial for trial in earlier if trial is not None and trial.rounds]
        if len(measured) < len(finalists):
            trials = self._in_turns([(finalist, session) for finalist in finalists])
            measured = [trial for trial in trials if trial.status == "measured"]
        if not measured:
            raise StepError(f"no build of the whole model works:\n{self._excluded()}")
        return measured

    def _in_turns(self, choices: Sequence[tuple[_Finalist, Point]], known: int = 0) -> list[Trial]:
        """Time ``choices`` in fresh processes that take turns; return and add their trials, without
        adding the first ``known``."""
        started, watch = time.monotonic(), LoadWatch()
        rounds: list[list[Speed]] = [[] for _ in choices]
        errors: dict[int, Exception] = {}
        for number in range(self._params.rounds):
            # The order alternates, so that being second affects each choice equally.
            for at in range(len(choices))[:: 1 if number % 2 == 0 else -1]:
                if at in errors:
                    continue
                finalist, session = choices[at]
                try:
                    artifact, _ = self._made(finalist)
                    artifact.configure(*self._params.settings(session))
                    rounds[at].append(artifact.time(self._workload(artifact, whole=True)))
                except _NO_CHOICE as error:
                    errors[at] = error
        busy = self._noticed(watch)
        seconds = (time.monotonic() - started) / len(choices)
        trials = []
        for at, (finalist, session) in enumerate(choices):
            if at in errors:
                trial = self._failed("final", finalist.point, session, errors[at])
            else:
                artifact, _ = self._made(finalist)
                trial = Trial(
                    stage="final",
                    layers=self._whole,
                    built=finalist.point,
                    session=session,
                    status="measured",
                    speed=Speed.mean_of(rounds[at]),
                    rounds=tuple(rounds[at]),
                    busy=busy,
                    cost=finalist.cost,
                    bytes=artifact.bytes,
                )
            trials.append(trial if at < known else self._add(trial, time.monotonic() - seconds, 0))
        return trials

    def _best_session_of(
        self, best: Trial, margin: Margin | None, chosen: _Finalist
    ) -> tuple[Trial, Margin | None]:
        """Return the trial of the chosen build with the best settings of the session, and how sure
        they are: those that are fastest with a few layers are not always fastest with all.

        Others are taken only if they are surely faster.
        """
        ranked = sorted(filter(_was_timed, self._trials.of("session")), key=self._score)
        others = [trial.session for trial in ranked[:_SESSIONS_AGAIN]]
        others = [session for session in others if session != best.session]
        if not others or self._is_late:
            return best, margin
        now, *rivals = self._in_turns(
            [(chosen, best.session), *((chosen, session) for session in others)], known=1
        )
        measured = [trial for trial in rivals if trial.status == "measured"]
        if now.status != "measured" or not measured:
            return best, margin
        rival = min(measured, key=self._score)
        gained = self._margin(rival, now)
        if gained.low is not None and gained.low > 1:
            return rival, gained
        return best, margin or self._margin(now, rival)

    def _margin(self, best: Trial, other: Trial) -> Margin:
        """Return how much slower ``other`` is, from the turns of both."""
        theirs, ours = ([self._time_of(speed) for speed in trial.rounds] for trial in (other, best))
        ratio = ratio_interval(theirs, ours)
        known = len(best.rounds) > 1
        values = {**other.built, **other.session}
        chosen = {**best.built, **best.session}
        return Margin(
            other={name: value for name, value in values.items() if chosen.get(name) != value},
            ratio=ratio.value,
            low=ratio.low if known else None,
            high=ratio.high if known else None,
        )

    # Shared by both rounds.

    def _build(
        self, point: Point, cuts: Cuts | None = None
    ) -> tuple[TimedArtifact, dict[str, JsonValue]]:
        """Build a choice into a folder of its own, with ``cuts`` of a model that has few layers."""
        folder = self._work / f"made-{self._builds}"
        self._builds += 1
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        inputs = self._inputs_at(point)
        try:
            paths = inputs.paths if cuts is None else cuts.of(inputs.paths)
            metrics = build_at(paths, self._params.builder(point), folder, inputs.report)
            return TimedArtifact(folder), metrics
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _made(self, finalist: _Finalist) -> tuple[TimedArtifact, dict[str, JsonValue]]:
        """Return a build of the whole model, which is made at the first call."""
        if finalist.made is None:
            finalist.made = self._build(finalist.point)
        return finalist.made

    def _timed(self, stage: Stage, built: Point, session: Point, artifact: TimedArtifact) -> Trial:
        artifact.configure(*self._params.settings(session))
        watch = LoadWatch()
        speed = artifact.time(self._workload(artifact, whole=False))
        return Trial(
            stage=stage,
            layers=self._layers,
            built=built,
            session=session,
            status="measured",
            speed=speed,
            busy=self._noticed(watch),
            bytes=artifact.bytes,
        )

    def _workload(self, artifact: TimedArtifact, whole: bool) -> SpeedWorkload:
        new_tokens = self._params.new_tokens
        return SpeedWorkload(
            prompt=self._synthetic_prompt(artifact.folder),
            new_tokens=new_tokens if whole else min(new_tokens, _FEW_TOKENS),
        )

    def _noticed(self, watch: LoadWatch) -> float | None:
        """Return the share of the CPUs that other work took, and remember the largest."""
        share = watch.share_of_others()
        if share is not None:
            share = round(share, 3)
            self.busiest = max(share, self.busiest or 0.0)
        return share

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
        assert trial.speed is not None  # noqa: S101 - only what was timed is compared
        if self._params.goal == "size" and trial.stage != "session" and trial.bytes is not None:
            return float(trial.bytes)
        return self._time_of(trial.speed)

    def _time(self, trial: Trial) -> float:
        assert trial.speed is not None  # noqa: S101 - only what was timed is compared
        return self._time_of(trial.speed)

    def _time_of(self, speed: Speed) -> float:
        match self._params.goal:
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
            if trial.status in ("beyond", "failed")
        )

    def _inputs_at(self, point: Point) -> Inputs:
        """Return the inputs of the way of ``point``, with a reporter that only warns."""
        way, inputs = self._params.way_at(point), self._inputs
        return replace(
            inputs,
            paths=of_way(inputs.paths, way),
            metrics=of_way(inputs.metrics, way),
            report=_Quiet(inputs.report),
        )

    def _synthetic_prompt(self, folder: Path) -> list[int]:
        if not self._prompt:
            self._prompt = synthetic_prompt(
                load_artifact_tokenizer(folder), self._params.prompt_tokens
            )
        return self._prompt


@dataclass
class _Finalist:
    """A choice within the limits, and its build of the whole model once there is one on disk."""

    point: Point
    made: tuple[TimedArtifact, dict[str, JsonValue]] | None = None
    cost: float | None = None

    def remove(self) -> None:
        """Remove the build."""
        if self.made is not None:
            shutil.rmtree(self.made[0].folder)
            self.made = None


@dataclass(frozen=True)
class _Quiet:
    """Forwards warnings only: the progress of one build is not that of the search."""

    report: Reporter

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        """Say nothing."""

    def warn(self, message: str) -> None:
        """Forward the warning."""
        self.report.warn(message)

    def note(self, message: str) -> None:
        """Say nothing."""

    def text(self, text: str) -> None:
        """Say nothing."""


def _was_timed(trial: Trial) -> bool:
    return trial.speed is not None


def _plain(options: Mapping[SessionOption, SessionValue]) -> dict[str, JsonValue]:
    return {str(name): value for name, value in options.items()}


def _notes(trials: list[Trial]) -> str:
    return "; ".join(dict.fromkeys(trial.note for trial in trials if trial.note))
