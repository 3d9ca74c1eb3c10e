"""Asks all peers in turns, each time in a fresh process, and says what came out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval
from targets.machine import usable_cores
from tests.benchmarks.peers.making import last_line, run_measured
from tests.benchmarks.peers.peers import OURS, Peer
from tests.benchmarks.peers.programs.answering import Answered, Asked
from tests.benchmarks.peers.subjects import FEW, LONG, MANY, SHORT, Subject
from tests.benchmarks.scale.world import World

NONE = "–"


@dataclass(frozen=True)
class Process:
    """One fresh process, and what it found."""

    peer: str
    threads: int
    answered: Answered
    peak_bytes: int


class Measure(NamedTuple):
    """One figure of a process."""

    what: str
    form: str
    of: Callable[[Process], float | None]
    """``None`` where the process was not asked for it."""


def prompt_rate(question: int, tokens: int) -> Callable[[Process], float | None]:
    """Return what says how many tokens of a prompt a second takes, the first answer included."""

    def rate(process: Process) -> float | None:
        times = _times(process, question)
        return tokens / times[0] if times else None

    return rate


def decode_rate(question: int, tokens: int) -> Callable[[Process], float | None]:
    """Return what says how many tokens come a second, after the first up to the last of so many."""

    def rate(process: Process) -> float | None:
        times = _times(process, question)[:tokens]
        return (tokens - 1) / (times[-1] - times[0]) if len(times) == tokens else None

    return rate


MEASURES = (
    Measure(f"prompt of {SHORT}, tokens/s", ",.0f", prompt_rate(0, SHORT)),
    Measure(f"prompt of {LONG:,}, tokens/s", ",.0f", prompt_rate(1, LONG)),
    Measure(f"{FEW} tokens after {SHORT}, tokens/s", ".1f", decode_rate(0, FEW)),
    Measure(f"{MANY} tokens after {SHORT}, tokens/s", ".1f", decode_rate(0, MANY)),
    Measure(f"{FEW} tokens after {LONG:,}, tokens/s", ".1f", decode_rate(1, FEW)),
    Measure("load, s", ".2f", lambda process: process.answered.load),
    Measure("peak memory, MB", ",.0f", lambda process: process.peak_bytes / 1e6),
)


def ask(world: World, peer: Peer, asked: Asked) -> tuple[Answered, int]:
    """Return what a fresh process of ``peer`` answers, and its peak memory in bytes.

    Raises ``QuernError``.
    """
    file = world.scratch / "asked.json"
    file.write_text(asked.to_json(), "utf-8")
    module = f"tests.benchmarks.peers.programs.{peer.program}"
    command: list[str | Path] = [peer.python, "-m", module, peer.model, file]
    output, cost = run_measured(world, command, peer.variables)
    return Answered(**json.loads(last_line(output))), cost.peak_bytes


def rounds(
    world: World, subject: Subject, peers: Mapping[str, Peer], count: int, threads: Sequence[int]
) -> Iterator[Process]:
    """Ask all of them so many times, in an order that moves on by one with every round."""
    names = list(peers)
    for number in range(count):
        world.say(f"{subject.name}: round {number + 1} of {count}")
        first = number % len(names)
        for name in names[first:] + names[:first]:
            for several in threads:
                asked = Asked(several, subject.warm, subject.questions(several))
                yield Process(name, several, *ask(world, peers[name], asked))


def speed_rows(processes: Sequence[Process], names: Sequence[str]) -> Iterator[str]:
    """Yield a row for each measure and number of threads, with a cell for each name."""
    by_threads = sorted(processes, key=lambda process: -process.threads)
    for threads, some in groupby(by_threads, lambda process: process.threads):
        found = list(some)
        for measure in MEASURES:
            by_peer = {name: _values(found, name, measure) for name in names}
            if any(by_peer.values()):
                ours = {name: [] if name == OURS else by_peer.get(OURS, []) for name in names}
                cells = [_cell(measure, by_peer[name], ours[name]) for name in names]
                yield f"| {measure.what} | {threads} | {' | '.join(cells)} |"


def quality_rows(
    world: World, subject: Subject, peers: Mapping[str, Peer], reference: Peer
) -> Iterator[str]:
    """Yield a row for each peer: perplexity, and that by the one of ``reference``."""
    asked = Asked(usable_cores(), subject.warm, texts=subject.texts)
    truth, _ = ask(world, reference, asked)
    yield f"| transformers, fp32 | {_perplexity(truth):.2f} |  | {NONE} |"
    for name, peer in peers.items():
        read, _ = ask(world, peer, asked)
        ratio = _interval(_perplexity_ratio(read, truth), 3)
        yield f"| {name} | {_perplexity(read):.2f} | {ratio} | {peer.bytes / 1e6:,.0f} MB |"


def _times(process: Process, question: int) -> Sequence[float]:
    answers = process.answered.answers
    return answers[question] if question < len(answers) else ()


def _values(processes: Sequence[Process], name: str, measure: Measure) -> list[float]:
    """Return the figures of a peer in the order of the rounds."""
    found = (measure.of(process) for process in processes if process.peer == name)
    return [value for value in found if value is not None]


def _cell(measure: Measure, values: Sequence[float], ours: Sequence[float]) -> str:
    """Return the figure, and its ratio to ``ours``, which Quern's own cell has none of."""
    if not values:
        return NONE
    middle = math.exp(sum(map(math.log, values)) / len(values))
    shown = f"{middle:{measure.form}}"
    if len(ours) != len(values):
        return shown
    return f"{shown}: {_interval(ratio_interval(values, ours), 2)}"


def _interval(interval: Interval, digits: int) -> str:
    if not math.isfinite(interval.high) or interval.high > 1e6:
        return f"{interval.value:.{digits}f}"
    return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*interval, d=digits)


def _perplexity(read: Answered) -> float:
    values = [value for text in read.logprobs for value in text]
    return math.exp(-sum(values) / len(values))


def _perplexity_ratio(read: Answered, truth: Answered) -> Interval:
    """Return the ratio of two perplexities, with its interval over the windows of the text."""
    pairs = zip(read.logprobs, truth.logprobs, strict=True)
    losses = [(sum(theirs) - sum(ours)) / len(ours) for ours, theirs in pairs]
    return Interval(*map(math.exp, mean_interval(losses)))
