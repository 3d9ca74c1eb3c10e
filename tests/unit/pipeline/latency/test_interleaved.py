"""How many processes are started, and how often each is asked, for answers of a given time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import pytest
from typing_extensions import Self

from pipeline.latency import interleaved
from pipeline.latency.interleaved import Candidate, InterleavedMeasurement, MeasurementConditions
from pipeline.latency.prompts import PromptSet
from pipeline.latency.protocol import AnswerTimes, Loaded, WorkerSettings
from tests.support.silent import Silent

SHORT = PromptSet("short", ((1, 2, 3),), 96)


class Answering:
    """Stands in for a process whose answers take a tenth of a second, and ``LONG`` for a prompt of
    many tokens: how long a real one takes would decide the test."""

    LONG = 4.0
    running: ClassVar[list[Answering]] = []
    most: ClassVar[int] = 0

    def __init__(self, _settings: WorkerSettings, _takes_turns: bool = False) -> None:
        self.loaded = Loaded(load_ms=1, bytes_before=0)

    def start(self) -> None:
        self.running.append(self)
        Answering.most = max(self.most, len(self.running))

    def wait_until_ready(self) -> None:
        pass

    def end(self) -> None:
        if self in self.running:
            self.running.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def ask(self, prompt: Sequence[int], _tokens: int) -> AnswerTimes:
        seconds = self.LONG if len(prompt) > 3 else 0.1
        return AnswerTimes(spans_ms=(1000 * seconds / 2,) * 2, peak_bytes=0)


@pytest.fixture(autouse=True)
def _answering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "MeasuredProcess", Answering)
    monkeypatch.setattr(Answering, "running", [])
    monkeypatch.setattr(Answering, "most", 0)


def measurement(*kinds: PromptSet, seconds: float = 100) -> InterleavedMeasurement:
    conditions = MeasurementConditions(
        max_new_tokens=2, warmup=0, rounds=12, per_round=8, seconds=seconds
    )
    made = InterleavedMeasurement([Candidate("a", Path())], kinds, conditions, Silent())
    made.run_planned_rounds()
    return made


def counts(made: InterleavedMeasurement, kind: str) -> list[int]:
    """Return the number of answers to prompts of a kind, per process."""
    rounds = made.measured["a"].rounds
    return [len(each.timings[kind].total_ms) if kind in each.timings else 0 for each in rounds]


def long(samples: int) -> PromptSet:
    return PromptSet("1024", ((0,) * 1024,), samples)


def test_answers_are_spread_over_processes() -> None:
    made = measurement(SHORT)
    assert counts(made, "short") == [8] * 12


def test_of_a_few_affordable_answers_each_further_process_gives_one() -> None:
    made = measurement(SHORT, long(96))
    # Of 40 seconds for made-up prompts, each process also warms up with one.
    assert counts(made, "1024") == [1] * 5 + [0] * 7
    made.run_rounds(15, {"1024"})
    assert counts(made, "1024")[12:] == [1, 1, 1]
    assert counts(made, "short")[12:] == [0, 0, 0]


def test_a_length_that_is_too_slow_is_left_out_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answering, "LONG", 15.0)
    made = measurement(SHORT, long(96))
    made.run_rounds(14, {"1024"})
    assert counts(made, "1024") == [0] * 14
    assert made.left_out == {"1024": "one answer takes about 15 s, of 40 s for this length"}


def test_more_samples_are_rather_those_of_more_processes() -> None:
    many = PromptSet("short", ((1, 2, 3),), 662)
    assert counts(measurement(many, seconds=1000), "short") == [8] * 83


def test_where_time_allows_few_processes_each_answers_more() -> None:
    """The answers alone take 66 s."""
    many = PromptSet("short", ((1, 2, 3),), 662)
    assert counts(measurement(many, seconds=130), "short") == [56] * 12


@pytest.mark.parametrize(("cpus", "most"), [(1, 1), (2, 2), (64, 4)])
def test_as_many_processes_start_together_as_there_are_cpus(
    cpus: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interleaved, "usable_cpus", lambda: cpus)
    made = measurement(SHORT)
    assert Answering.most == most
    made.run_rounds(15, {"short"})
    assert made.processes == 15
    assert not Answering.running


def test_processes_that_no_round_needed_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "usable_cpus", lambda: 4)
    made = measurement(SHORT, seconds=0)
    assert made.processes == 1
    assert Answering.most == 4
    assert not Answering.running


def test_one_that_cannot_be_entered_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Answering) -> Answering:
        raise MemoryError

    made = measurement(SHORT)
    monkeypatch.setattr(interleaved, "usable_cpus", lambda: 4)
    monkeypatch.setattr(Answering, "__enter__", fail)
    with pytest.raises(MemoryError):
        made.run_rounds(16, {"short"})
    assert not Answering.running
