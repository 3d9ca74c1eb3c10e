"""Compares a bench with an earlier one: the changes, and whether they are real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from pipeline.contract.file_digest import FileDigest
from pipeline.latency.rounds import LatencyRounds
from pipeline.latency.timing import FIGURES
from pipeline.process.load import busy_note
from pipeline.statistics.intervals import Interval, ratio_interval, welch_interval
from targets.bench import significance
from targets.bench.baseline import EarlierArtifact
from targets.bench.bench_schema import (
    Bench,
    ChangeVerdict,
    Comparison,
    EarlierArtifactRecord,
    FigureChange,
    Measurement,
    Range,
    TargetBench,
    TargetComparison,
)
from targets.bench.significance import Judgement
from targets.bench.summaries import as_range
from targets.device_checks.checked_result import other_bytes
from targets.figures import prompt_words

COMPARED = {"first_token_ms": "first token", "token_ms": "each token"}
"""The figures that are compared, in words. All others are computed from these, and would be counted
twice."""

LOAD_MAY_DIFFER = (
    "compared from what both benches recorded: the machine's load then and now may differ"
)


@dataclass(frozen=True)
class _Draft:
    """A change whose verdict still depends on the number of all comparisons."""

    movement: FigureChange
    judge: Callable[[FigureChange], Judgement]


def compare(
    new: Bench, old: Bench, old_name: str, earlier: Mapping[str, EarlierArtifact], smallest: float
) -> Comparison:
    """Return the changes from ``old`` to ``new``.

    ``earlier`` holds, per target, the old artifact that ``new`` measured in the same rounds.
    """
    before = {one.target: one for one in old.targets}
    pairs = [(before[one.target], one) for one in new.targets if one.target in before]
    drafts = [
        draft
        for then, now in pairs
        for draft in (
            *_latency(then, now, old, new, smallest),
            *_quality(then, now),
            _size(now.target, then.bytes, now.bytes),
            *_memory(then, now),
        )
    ]
    movements = _judged(drafts)
    return Comparison(
        old=old_name,
        old_at=old.at,
        old_machine=old.machine,
        smallest_ratio=smallest,
        targets=tuple(
            _overall(now, movements, then.artifact.files, _where(earlier.get(now.target)))
            for then, now in pairs
        ),
        movements=movements,
        notes=tuple(_notes(old, new, movements)),
    )


def compare_with_baseline(new: Bench, name: str, smallest: float) -> Comparison | None:
    """Return how each artifact differs in speed and size from the baseline that was measured in the
    same rounds; ``None`` if there was no baseline."""
    drafts: list[_Draft] = []
    baselines: dict[str, EarlierArtifactRecord] = {}
    for target in new.targets:
        here = target.here
        if here is None or here.baseline is None or here.baseline_of is None:
            continue
        baselines[target.target] = here.baseline_of
        drafts += _paired_changes(target.target, here.artifact, here.baseline, smallest)
        size = sum(file.bytes for file in here.baseline_of.files)
        if size:
            drafts.append(_size(target.target, size, target.bytes))
    if not baselines:
        return None
    movements = _judged(drafts)
    return Comparison(
        old=name,
        old_at=new.at,
        old_machine=None,
        smallest_ratio=smallest,
        targets=tuple(
            _overall(new[target], movements, baseline.files, baseline.where)
            for target, baseline in baselines.items()
        ),
        movements=movements,
    )


def _judged(drafts: Sequence[_Draft]) -> tuple[FigureChange, ...]:
    """Return the changes with their verdicts. Holm's correction covers all that have a p value."""
    tested = [draft.movement.p_value for draft in drafts]
    adjusted = iter(significance.holm([value for value in tested if value is not None]))
    judged = []
    for draft in drafts:
        p_value = draft.movement.p_value
        movement = draft.movement.model_copy(
            update={"adjusted": None if p_value is None else next(adjusted)}
        )
        word, why = draft.judge(movement)
        judged.append(movement.model_copy(update={"word": word, "why": why}))
    return tuple(judged)


def _latency(
    then: TargetBench, now: TargetBench, old: Bench, new: Bench, smallest: float
) -> Iterator[_Draft]:
    here = now.here
    if here is not None and here.baseline is not None and _is_of(here.baseline_of, then):
        yield from _paired_changes(now.target, here.artifact, here.baseline, smallest)
        return
    if then.measured is None or now.measured is None:
        return
    same = _machine_of(then.measured, old) == _machine_of(now.measured, new)
    yield from _unpaired_changes(now.target, then.measured, now.measured, smallest, same)


def _is_of(baseline: EarlierArtifactRecord | None, then: TargetBench) -> bool:
    """Return whether a baseline has the same bytes as the artifact of the earlier bench."""
    return baseline is not None and not other_bytes(baseline.files, then.artifact.files)


def _paired_changes(
    target: str, ours: LatencyRounds, theirs: LatencyRounds, smallest: float
) -> Iterator[_Draft]:
    """Compare in pairs of rounds: what slows one of a pair down slows the other down too."""
    for prompt in ours.prompts:
        both = [
            (one, other)
            for one, other in zip(ours.rounds, theirs.rounds, strict=False)
            if prompt in one.timings and prompt in other.timings
        ]
        new = LatencyRounds(rounds=tuple(one for one, _ in both))
        old = LatencyRounds(rounds=tuple(other for _, other in both))
        for name in COMPARED:
            now, then = (each.per_round(prompt, FIGURES[name], "p50") for each in (new, old))
            if not now or len(now) != len(then):
                continue
            change, p_value = ratio_interval(now, then), significance.paired_p_value(now, then)
            yield _time(target, prompt, name, then, now, change, p_value, "in turn", smallest)


def _unpaired_changes(
    target: str, then: Measurement, now: Measurement, smallest: float, same_machine: bool
) -> Iterator[_Draft]:
    for prompt in now.artifact.prompts:
        for name in COMPARED:
            figure = FIGURES[name]
            new = now.artifact.per_round(prompt, figure, "p50")
            old = then.artifact.per_round(prompt, figure, "p50")
            if not (new and old):
                continue
            change, p_value = welch_interval(new, old), significance.unpaired_p_value(new, old)
            draft = _time(target, prompt, name, old, new, change, p_value, "recorded", smallest)
            if why := _incomparable(then, now, same_machine):
                yield _Draft(draft.movement, _constant(Judgement("unsure", why)))
            else:
                yield draft


def _incomparable(then: Measurement, now: Measurement, same_machine: bool) -> str:
    """Return why times that were not measured in turn cannot be compared; empty if they can."""
    if not same_machine:
        return "measured on different machines"
    busy = busy_note(now.busy) or busy_note(then.busy)
    return f"{busy}, in one of the two benches" if busy else ""


def _time(
    target: str,
    prompt: str,
    name: str,
    old: Sequence[float],
    new: Sequence[float],
    change: Interval,
    p_value: float,
    basis: str,
    smallest: float,
) -> _Draft:
    ranged = as_range(change)
    movement = FigureChange.model_validate(
        {
            "target": target,
            "kind": "latency",
            "what": f"{COMPARED[name]}, {prompt_words(prompt)}",
            "unit": FIGURES[name].unit,
            "old": _geometric(old),
            "new": _geometric(new),
            "change": ranged,
            "basis": basis,
            "p_value": p_value,
            "word": "unsure",
            "why": "",
        }
    )

    def judged(change_judged: FigureChange) -> Judgement:
        assert change_judged.adjusted is not None  # noqa: S101 - it has a p value
        return significance.judge_time(ranged, p_value, change_judged.adjusted, smallest)

    return _Draft(movement, judged)


def _geometric(values: Sequence[float]) -> float:
    from scipy import stats

    return float(stats.gmean(values))


def _quality(then: TargetBench, now: TargetBench) -> Iterator[_Draft]:
    old, new = _share(then.quality), _share(now.quality)
    metric = str(now.quality.get("metric"))
    if old is None or new is None or then.quality.get("metric") != metric:
        return
    same_data = then.inputs.data == now.inputs.data
    paired = significance.paired_answers(now.answers, then.answers) if same_data else None
    p_value: float | None
    if paired is not None:
        change, p_value = Interval(paired.difference, paired.low, paired.high), paired.p_value
        basis, note = "same items", f"; {paired.won} won, {paired.lost} lost"
    else:
        change = significance.independent_shares(new, old)
        p_value = None
        basis, note = "intervals", "" if same_data else "; the data changed"
    ranged = as_range(change)

    def judged(movement: FigureChange) -> Judgement:
        # Without pairs there is no exact test: the interval decides.
        excludes = not change.low <= 0 <= change.high
        real = excludes if movement.adjusted is None else movement.adjusted <= significance.ALPHA
        word, why = significance.judge_share(ranged, real)
        return Judgement(word, why + note)

    yield _Draft(
        FigureChange.model_validate(
            {
                "target": now.target,
                "kind": "quality",
                "what": metric,
                "unit": "share",
                "old": old.value,
                "new": new.value,
                "change": ranged,
                "basis": basis,
                "p_value": p_value,
                "word": "unsure",
                "why": "",
            }
        ),
        judged,
    )


def _share(quality: Mapping[str, JsonValue]) -> Interval | None:
    value, ends = quality.get("artifact"), quality.get("interval")
    if not isinstance(value, (int, float)) or not isinstance(ends, list) or len(ends) != 2:
        return None
    low, high = ends
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        return None
    return Interval(value, low, high)


def _size(target: str, old: int, new: int) -> _Draft:
    judgement = significance.judge_size(old, new)
    return _counted(target, "size", "size", old, new, "exact", judgement)


def _memory(then: TargetBench, now: TargetBench) -> Iterator[_Draft]:
    old, new = then.memory_bytes, now.memory_bytes
    if old and new:
        judgement = significance.judge_memory(old, new)
        yield _counted(now.target, "memory", "peak memory", old, new, "recorded", judgement)


def _counted(
    target: str, kind: str, what: str, old: int, new: int, basis: str, judgement: Judgement
) -> _Draft:
    ratio = new / old if old else 1.0
    movement = FigureChange.model_validate(
        {
            "target": target,
            "kind": kind,
            "what": what,
            "unit": "bytes",
            "old": old,
            "new": new,
            "change": Range(value=ratio, low=ratio, high=ratio),
            "basis": basis,
            "word": judgement.word,
            "why": judgement.why,
        }
    )
    return _Draft(movement, _constant(judgement))


def _constant(judgement: Judgement) -> Callable[[FigureChange], Judgement]:
    return lambda _movement: judgement


_WORDS: tuple[ChangeVerdict, ...] = ("slower", "faster", "equal", "unsure")
"""Verdicts on latency, the decisive ones first."""


def _overall(
    now: TargetBench, movements: Iterable[FigureChange], old: Sequence[FileDigest], where: str
) -> TargetComparison:
    """Return the verdict on the latency of a target as a whole, with an explanation.

    One slower figure outweighs all others. Without one, it is unsure where most figures are: what
    the others show is in the explanation.
    """
    times = [one for one in movements if one.target == now.target and one.kind == "latency"]
    count = Counter(one.word for one in times)
    parts = ", ".join(f"{count[word]} {word}" for word in _WORDS if count[word])
    figures = f"of {len(times)} figures of latency: {parts}"
    decisive: ChangeVerdict = next((word for word in _WORDS if count[word]), "unsure")
    mostly_unsure = 2 * count["unsure"] > len(times)
    return TargetComparison(
        target=now.target,
        word="unsure" if mostly_unsure and decisive != "slower" else decisive,
        summary=figures if times else "its latency was not measured both then and now",
        old_artifact=where,
        same_bytes=not other_bytes(old, now.artifact.files),
    )


def _where(earlier: EarlierArtifact | None) -> str:
    return "not looked for: nothing is timed here" if earlier is None else earlier.where


def _agreement(then: TargetBench, now: TargetBench) -> Iterator[str]:
    """Describe how well two benches of the same artifact agree if compared without pairs."""
    before, after = then.here, now.here
    same = not other_bytes(then.artifact.files, now.artifact.files)
    if before is None or after is None or not same:
        return
    pairs = [
        (before.statistics[prompt][name].p50, figures[name].p50)
        for prompt, figures in after.statistics.items()
        for name in COMPARED
        if name in figures and name in before.statistics.get(prompt, {})
    ]
    agree = sum(_overlap(one, other) for one, other in pairs)
    yield (
        f"{now.target}: the same artifact as then; apart from each other, the two benches agree "
        f"within their intervals on {agree} of {len(pairs)} figures"
    )


def _overlap(one: Range, other: Range) -> bool:
    """Return whether two intervals have a value in common; an unbounded one has any."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return True
    return one.low <= other.high and other.low <= one.high


def _machine_of(measurement: Measurement, bench: Bench) -> tuple[str, ...]:
    """Return the known properties by which machines are distinguished."""
    if measurement.here:
        machine = bench.machine
        return (machine.cpu, str(machine.usable_cores), machine.system, measurement.device)
    return (measurement.system, measurement.device)


def _notes(old: Bench, new: Bench, movements: Iterable[FigureChange]) -> Iterator[str]:
    if old.build != new.build:
        yield f"the earlier bench is of the build {old.build}, this one of {new.build}"
    before, now = ({one.target for one in bench.targets} for bench in (old, new))
    for name in sorted(now - before):
        yield f"{name} is not in the earlier bench"
    for name in sorted(before - now):
        yield f"{name} is in the earlier bench alone"
    for name in sorted(before & now):
        yield from _agreement(old[name], new[name])
    if any(one.basis == "recorded" and one.kind == "latency" for one in movements):
        then_load, now_load = old.machine.load_before, new.machine.load_before
        loads = "" if None in (then_load, now_load) else f" (load {then_load} then, {now_load} now)"
        yield f"latency is {LOAD_MAY_DIFFER}{loads}"
