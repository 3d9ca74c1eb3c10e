"""A report as a run of MLflow: its parameters, figures, curves and files, written by MLflow's own
library to a server of it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from targets.report.find_reports import FoundReport
from targets.report.headline import headline
from targets.report.loss_curves import loss_curves
from targets.report.main_figures import latency_of, quality_of
from targets.report.report_schema import Report

T = TypeVar("T")

_DIGEST = "quern.report_sha256"
"""The tag by which a report that was exported before is found."""
_SETTINGS = {
    # A server that does not answer is an error soon; by default the library asks for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # It would tell its makers what it is used for.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_MOST_AT_ONCE = 100
"""Parameters, figures or tags in one request: what a server takes at least."""
_LONGEST = 500
"""Longest value of a parameter, in characters: what a server takes at least."""
_OTHERS = re.compile(r"[^\w\-. /:]")
"""What MLflow allows in no name."""


@dataclass(frozen=True)
class Point:
    """One figure; those of a curve have the optimizer step."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class RunRecord:
    """What a run of MLflow holds of a build."""

    name: str
    params: dict[str, str]
    points: tuple[Point, ...]
    tags: dict[str, str]


@dataclass(frozen=True)
class Sent:
    """A run on the server."""

    run: str
    """Its identifier."""
    earlier: bool
    """Whether it was there before: this very report was exported already."""


def configure() -> None:
    """Set how MLflow's library behaves, where the user has not; before it is imported."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def record_of(report: Report) -> RunRecord:
    """Return the run that stands for ``report``."""
    return RunRecord(
        name=f"{report.build} for {report.target}",
        params=dict(_params(report)),
        points=tuple(_points(report)),
        tags={
            "quern.build": report.build,
            "quern.target": report.target,
            "quern.status": report.status,
            "quern.version": report.quern,
            "quern.model": report.inputs.model,
            "quern.toolchain": report.toolchain.digest,
            **{_name(f"quern.data.{name}"): sha for name, sha in report.inputs.data.items()},
            "mlflow.note.content": f"{report.status}: {headline(report)}",
        },
    )


def send(found: FoundReport, server: str, experiment: str, files: Sequence[Path]) -> Sent:
    """Write a run for the report to the MLflow at ``server``, with ``files`` and folders as its
    artifacts. A report that is there already is left as it is.

    Raises MLflow's ``MlflowException``, and ``OSError``.
    """
    configure()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=server)
    known = client.get_experiment_by_name(experiment)
    place = known.experiment_id if known else client.create_experiment(experiment)
    digest = hashlib.sha256(found.report.model_dump_json().encode()).hexdigest()
    there = client.search_runs([place], f"tags.`{_DIGEST}` = '{digest}'", max_results=1)
    if there:
        return Sent(str(there[0].info.run_id), earlier=True)
    record, at = record_of(found.report), round(found.written.timestamp() * 1000)
    run = client.create_run(place, start_time=at, run_name=record.name)
    _write(client, str(run.info.run_id), record, at)
    for file in files:
        if file.is_dir():
            client.log_artifacts(run.info.run_id, str(file), file.name)
        else:
            client.log_artifact(run.info.run_id, str(file))
    # Last: one that was broken off is not taken for a whole one.
    client.set_tag(run.info.run_id, _DIGEST, digest)
    client.set_terminated(run.info.run_id, "FINISHED", at)
    return Sent(str(run.info.run_id), earlier=False)


def _write(client: Any, run: str, record: RunRecord, at: int) -> None:
    from mlflow.entities import Metric, Param, RunTag

    tags = [RunTag(name, value) for name, value in record.tags.items()]
    params = [Param(name, value) for name, value in record.params.items()]
    points = [Metric(point.name, point.value, at, point.step) for point in record.points]
    client.log_batch(run, tags=tags)
    for some in _batches(params):
        client.log_batch(run, params=some)
    for some in _batches(points):
        client.log_batch(run, metrics=some)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _MOST_AT_ONCE):
        yield items[start : start + _MOST_AT_ONCE]


def _params(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the parameters of the passes, and those of the checks that the config sets."""
    yield "seed", str(report.inputs.seed)
    for step in report.passes:
        for name, value in step.params.items():
            if value is not None and (step.kind == "pass" or name in step.given):
                yield _name(f"{step.name}/{name}"), str(value)[:_LONGEST]


def _points(report: Report) -> Iterator[Point]:
    for who in ("base", "tuned", "artifact"):
        share = quality_of(report, who)
        if share is not None:
            yield Point(_name(f"{report.quality.get('metric')}/{who}"), share)
    for figure in ("first_token_ms", "token_ms"):
        for prompt, median in latency_of(report, figure).items():
            yield Point(_name(f"{figure}/{prompt}"), median)
    yield Point("size_bytes", report.size_bytes)
    for name, check in zip(report.distinct_names, report.checks, strict=True):
        if check.value is not None and check.unit != "problems":
            yield Point(_name(f"checks/{name}"), check.value)
    for step in report.passes:
        if step.kind == "pass":
            yield Point(_name(f"{step.name}/seconds"), step.seconds)
            yield Point(_name(f"{step.name}/peak_rss_bytes"), step.peak_rss_bytes)
    for curves in loss_curves(report):
        for kind, points in (("loss", curves.train), ("validation_loss", curves.validation)):
            for at, loss in points:
                yield Point(_name(f"{curves.step}/{kind}"), loss, int(at))


def _name(text: str) -> str:
    return _OTHERS.sub("_", text)
