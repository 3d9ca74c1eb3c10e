"""Collects builds and measurements into a :class:`Bench`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.kinds import ARTIFACT_WORDS
from pipeline.process.load import busy_note
from targets.bench.bench_schema import (
    BenchArtifact,
    Measurement,
    RecordedAnswer,
    TargetBench,
    TrainingBench,
    Unverified,
)
from targets.bench.measure import OLDER_SHAPE, Timed, peak_memory, read_measurement
from targets.build import BuildOutcome
from targets.device_checks.checked_result import FILE, read_checked
from targets.figures import prompt_words
from targets.report.dist import MODEL_DIR
from targets.report.loss_curves import loss_curves
from targets.report.report_schema import Report


def collect_target(outcome: BuildOutcome, timed: Timed) -> TargetBench:
    """Return all data on one target's artifact."""
    report, plan = outcome.report, outcome.plan
    elsewhere, reason = _elsewhere(outcome.folder, report)
    measurements = tuple(one for one in (timed.measurement, elsewhere) if one is not None)
    made = plan[plan.artifact].step
    measured_memory = (one.peak_memory_bytes for one in measurements)
    return TargetBench(
        target=report.target,
        status=report.status,
        artifact=BenchArtifact(
            kind=report.artifact,
            step=made.name,
            key=made.key,
            folder=str(outcome.folder / MODEL_DIR),
            files=report.files,
        ),
        toolchain=report.toolchain,
        inputs=report.inputs,
        checks=report.checks,
        quality=report.quality,
        answers=_answers(outcome),
        figures=report.figures,
        bytes=report.size_bytes,
        memory_bytes=next(
            (size for size in measured_memory if size is not None), peak_memory(report.figures)
        ),
        measurements=measurements,
        unverified=(
            *(item for item in (timed.unverified, reason) if item is not None),
            *(
                Unverified(what=f"latency, {prompt_words(name)}", why=why)
                for one in measurements
                for name, why in one.left_out.items()
            ),
            *(
                Unverified(what=verdict.name, why=verdict.detail)
                for verdict in report.checks
                if verdict.status == "unverified"
            ),
        ),
        notes=(*report.notes, *_busy_notes(measurements)),
    )


def _busy_notes(measurements: Iterable[Measurement]) -> Iterator[str]:
    for one in measurements:
        if busy := busy_note(one.busy):
            where = "here" if one.here else one.system
            yield f"latency, {where}: {busy}, so that times are longer than they need be"


def not_timed(report: Report) -> Timed:
    """Return the reason why an artifact that is no ONNX model is not timed."""
    why = f"the artifact is {ARTIFACT_WORDS[report.artifact]}, not {ARTIFACT_WORDS['onnx']}"
    return Timed(unverified=Unverified(what="latency, here", why=why))


def collect_training(reports: Iterable[Report]) -> tuple[TrainingBench, ...]:
    """Return the loss curves of the training passes; that of a pass shared by targets once."""
    benches: dict[str, TrainingBench] = {}
    for report in reports:
        for curves in loss_curves(report):
            served = benches[curves.key].targets if curves.key in benches else ()
            benches[curves.key] = TrainingBench(
                name=curves.step,
                key=curves.key,
                targets=(*served, report.target),
                train=curves.train,
                validation=curves.validation,
            )
    return tuple(benches.values())


def _elsewhere(folder: Path, report: Report) -> tuple[Measurement | None, Unverified | None]:
    """Return the measurement that was made on another machine, or why it cannot be read."""
    if report.checked is None:
        return None, None
    checked = read_checked(folder / FILE)
    if not checked.latency:
        return None, None
    machine = checked.where
    measurement = read_measurement(
        {**_memory(checked.figures), **checked.latency},
        here=False,
        device=machine.device,
        system=machine.system,
        runtime=machine.runtime,
        at=_time(machine.at),
    )
    if measurement is None:
        return None, Unverified(what=f"latency, {machine.system}", why=OLDER_SHAPE)
    return measurement, None


def _time(text: str) -> datetime | None:
    """Parse the time in a ``checked.json``; ``None`` if it is invalid."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)


def _memory(figures: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    size = peak_memory(figures)
    return {} if size is None else {"peak_memory_bytes": size}


def _answers(outcome: BuildOutcome) -> tuple[RecordedAnswer, ...]:
    """Return the answers behind the quality figures, right or wrong by their metric.

    Empty if the quality was measured on another machine, whose answers are not in its result.
    """
    quality = outcome.report.quality
    results = (result for result in outcome.results.values() if result.type == "quality")
    raw_answers = next((result.evidence.get("answers") for result in results), None)
    rows = raw_answers if isinstance(raw_answers, list) else []
    answers = tuple(_judged(rows, by_label=quality.get("metric") == "accuracy"))
    shown = quality.get("artifact")
    if not answers or not isinstance(shown, (int, float)):
        return answers
    share = sum(row.right for row in answers) / len(answers)
    return answers if math.isclose(share, shown, abs_tol=1e-9) else ()


def _judged(rows: Iterable[JsonValue], by_label: bool) -> Iterator[RecordedAnswer]:
    ours, truth = ("choice", "label") if by_label else ("greedy", "expected")
    for row in rows:
        if not isinstance(row, dict):
            continue
        given, expected = str(row.get(ours)).strip(), str(row.get(truth)).strip()
        file, line = row.get("file"), row.get("line")
        if isinstance(file, int) and isinstance(line, int):
            yield RecordedAnswer(
                file=file, line=line, expected=expected, given=given, right=given == expected
            )
