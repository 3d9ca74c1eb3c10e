"""Measures several artifacts in rounds, in fresh processes that answer alternately (A B A B).

If something slows the machine down for a while, it slows all artifacts of a round equally, so that
it does not decide which of them is faster. For a single artifact, it affects a few of many rounds,
and so widens the interval.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.step import Reporter
from pipeline.latency.measured_process import MeasuredProcess, start_together
from pipeline.latency.prompts import SHORT, PromptSet
from pipeline.latency.protocol import WorkerSettings
from pipeline.latency.rounds import LatencyRounds, Round
from pipeline.latency.timing import Timings
from pipeline.process.cpus import usable_cpus

_FEWEST = 3
"""A length with fewer answers is left out: fewer rounds give no useful interval."""
_MOST_AT_ONCE = 4
"""Processes that are started at the same time; before it loads a model, each takes 60 MB."""
_SHARE_OF_LENGTHS = 0.4
"""Share of the time for all made-up prompts together."""


@dataclass(frozen=True)
class Candidate:
    """One artifact to be measured."""

    name: str
    folder: Path
    cpu: bool = False
    """Run it on the CPU, whatever it was built for."""
    threads: int | None = None
    """Number of threads in its own settings, for the report."""


@dataclass(frozen=True)
class MeasurementConditions:
    """How the artifacts are measured."""

    max_new_tokens: int
    warmup: int
    """Short prompts each process answers before the clock starts."""
    rounds: int
    """Smallest number of rounds over which the wanted samples are spread; later rounds have the
    same size."""
    per_round: int
    """Answers of one process to each kind of prompt from which on rather more processes are started
    than more answers taken of each, as far as half of the time allows: processes differ more than
    the answers of one."""
    seconds: float
    """Time after which measuring stops with the samples taken so far."""
    cpus: tuple[int, ...] = ()


class InterleavedMeasurement:
    """The measurement of all candidates, of which the first is the artifact of the build."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        kinds: Sequence[PromptSet],
        conditions: MeasurementConditions,
        report: Reporter,
    ) -> None:
        self._candidates = tuple(candidates)
        self._kinds = tuple(kinds)
        self._conditions = conditions
        self._report = report
        self._began = time.monotonic()
        self._rounds: dict[str, list[Round]] = defaultdict(list)
        self._ready: deque[Mapping[str, MeasuredProcess]] = deque()
        self._planned: dict[str, int] = {}
        self._planned_rounds = conditions.rounds
        self.left_out: dict[str, str] = {}
        """Lengths that were not measured, and why."""

    @property
    def seconds(self) -> float:
        """Return the seconds since the measurement began."""
        return time.monotonic() - self._began

    @property
    def processes(self) -> int:
        """Return the number of processes of each candidate that have answered so far."""
        return len(self._rounds[self._candidates[0].name])

    @property
    def is_out_of_time(self) -> bool:
        """Return whether the time is up."""
        return self.seconds > self._conditions.seconds

    @property
    def measured(self) -> Mapping[str, LatencyRounds]:
        """Return all rounds so far, by the names of the candidates."""
        return {
            each.name: LatencyRounds(
                rounds=tuple(self._rounds[each.name]),
                threads=each.threads,
                cpus=self._conditions.cpus,
            )
            for each in self._candidates
        }

    def run_planned_rounds(self) -> None:
        """Take the wanted samples, as far as time allows, but at least one round."""
        self._schedule()
        with self._ending():
            for number in range(self._planned_rounds):
                self._run_round(self._planned_rounds)
                self._report.progress(number + 1, self._planned_rounds, "rounds")
                if self.is_out_of_time:
                    return

    def run_rounds(self, until: int, only: Collection[str]) -> None:
        """Measure further rounds, of the kinds of prompts in ``only``, until there are ``until``
        processes or the time is up."""
        with self._ending():
            while self.processes < until and not self.is_out_of_time:
                self._run_round(until, only)
                seconds = math.ceil(self._conditions.seconds)
                self._report.progress(int(self.seconds), seconds, "seconds")

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """End the processes that no round has used after the block."""
        try:
            yield
        finally:
            while self._ready:
                for process in self._ready.popleft().values():
                    process.end()

    def _next_processes(self, until: int) -> Mapping[str, MeasuredProcess]:
        """Return fresh processes for a round, by the names of the candidates; there are ``until``
        rounds. Those of the next rounds are started with them, as many as there are CPUs: imports
        take longer than the answers of a small model."""
        if not self._ready:
            at_once = min(usable_cpus(), _MOST_AT_ONCE)
            count = min(until - self.processes, at_once // len(self._candidates))
            self._ready.extend(self._of_each_candidate() for _ in range(max(1, count)))
            start_together([process for each in self._ready for process in each.values()])
        return self._ready.popleft()

    def _of_each_candidate(self) -> Mapping[str, MeasuredProcess]:
        takes_turns = len(self._candidates) > 1
        return {
            each.name: MeasuredProcess(self._settings(each), takes_turns)
            for each in self._candidates
        }

    def _run_round(self, until: int, only: Collection[str] | None = None) -> None:
        number = self.processes
        turns = {
            kind.name: self._prompts_in_round(kind, number)
            for kind in self._kinds
            if only is None or kind.name in only
        }
        # The order alternates between rounds, so that being second affects each candidate equally.
        order = self._candidates[:: 1 if number % 2 == 0 else -1]
        taken: dict[str, dict[str, list[tuple[int, tuple[float, ...]]]]] = {
            each.name: defaultdict(list) for each in self._candidates
        }
        with ExitStack() as stack:
            started = self._next_processes(until)
            for process in started.values():
                stack.callback(process.end)  # one that fails leaves others that nobody entered
            processes = {each.name: stack.enter_context(started[each.name]) for each in order}
            for process in processes.values():
                self._warm(process, turns)
            for kind in self._selected(turns):
                for turn in range(turns[kind.name]):
                    if self.is_out_of_time and (turn or kind.name != SHORT):
                        break
                    prompt = kind.prompts[(number * turns[kind.name] + turn) % len(kind.prompts)]
                    for name, process in processes.items():
                        times = process.ask(prompt, self._conditions.max_new_tokens)
                        taken[name][kind.name].append((len(prompt), times.spans_ms))
        for name, process in processes.items():
            timings = {kind: _timings(answers) for kind, answers in taken[name].items()}
            self._rounds[name].append(Round(load_ms=process.loaded.load_ms, timings=timings))

    def _settings(self, candidate: Candidate) -> WorkerSettings:
        return WorkerSettings(
            folder=str(candidate.folder), cpu=candidate.cpu, cpus=self._conditions.cpus
        )

    def _prompts_in_round(self, kind: PromptSet, number: int) -> int:
        """Return the number of prompts of ``kind`` in the round ``number``. If there are fewer than
        rounds, the first rounds have one each; a round that was not planned always has."""
        planned, rounds = self._planned[kind.name], self._planned_rounds
        if number < rounds and planned < rounds:
            return 1 if number < planned else 0
        return -(-planned // rounds)

    def _selected(self, turns: Mapping[str, int]) -> list[PromptSet]:
        return [kind for kind in self._kinds if turns.get(kind.name)]

    def _warm(self, process: MeasuredProcess, turns: Mapping[str, int]) -> None:
        for kind in self._selected(turns):
            count = (
                self._conditions.warmup if kind.name == SHORT else min(1, self._conditions.warmup)
            )
            for turn in range(count):
                if self.is_out_of_time:
                    return
                prompt = kind.prompts[turn % len(kind.prompts)]
                process.ask(prompt, self._conditions.max_new_tokens)

    def _schedule(self) -> None:
        """Decide how many answers of each kind fit into the time, from the time of one answer of
        each; there is at least one short prompt in every round."""
        lengths = [kind for kind in self._kinds if kind.name != SHORT]
        (short,) = (kind for kind in self._kinds if kind.name == SHORT)
        for_lengths = self._conditions.seconds * _SHARE_OF_LENGTHS
        started = time.monotonic()
        with MeasuredProcess(self._settings(self._candidates[0])) as process:
            starting = time.monotonic() - started
            process.ask(short.prompts[0], self._conditions.max_new_tokens)
            seconds = self._probe(process, short)
            self._planned_rounds = self._rounds_for(seconds, starting)
            time_left = self._conditions.seconds - (for_lengths if lengths else 0)
            affordable = int(time_left / (seconds * len(self._candidates)))
            least = min(short.samples, self._planned_rounds)
            self._planned = {SHORT: max(least, min(short.samples, affordable))}
            per_token = 0.0
            for kind in lengths:
                share = for_lengths / len(lengths)
                seconds = per_token * kind.longest
                # The previous length tells whether there is time for even a few answers.
                if seconds * _FEWEST <= share:
                    seconds = self._probe(process, kind)
                    per_token = seconds / kind.longest
                # Twice, because each process also warms up with one answer.
                affordable = int(share / (2 * seconds * len(self._candidates)))
                self._planned[kind.name] = min(kind.samples, affordable)
                if affordable < _FEWEST:
                    self._planned[kind.name] = 0
                    self.left_out[kind.name] = (
                        f"one answer takes about {seconds:.0f} s, of {share:.0f} s for this length"
                    )

    def _rounds_for(self, answer: float, starting: float) -> int:
        """Return the number of rounds for the kind of which most samples are wanted, given the
        seconds of one answer and of starting a process."""
        fewest, per_round = self._conditions.rounds, self._conditions.per_round
        samples = max(kind.samples for kind in self._kinds)
        seconds = self._conditions.seconds / (2 * len(self._candidates)) - samples * answer
        return max(fewest, min(-(-samples // per_round), int(seconds / starting)))

    def _probe(self, process: MeasuredProcess, kind: PromptSet) -> float:
        """Return the time of one answer in seconds."""
        times = process.ask(kind.prompts[0], self._conditions.max_new_tokens)
        return sum(times.spans_ms) / 1000


def _timings(answers: Sequence[tuple[int, tuple[float, ...]]]) -> Timings:
    return Timings(
        prompt_tokens=tuple(length for length, _ in answers),
        first_token_ms=tuple(spans[0] for _, spans in answers),
        token_ms=tuple(itertools.chain.from_iterable(spans[1:] for _, spans in answers)),
        total_ms=tuple(sum(spans) for _, spans in answers),
    )
