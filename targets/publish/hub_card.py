"""``README.md`` of a repository on the hub: the model card, by the hub's own classes.

https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from pydantic import JsonValue

from pipeline.contract.schema import Card
from targets.figures import percent
from targets.release.hub import TASK, hub_metadata
from targets.report.report_schema import Report
from targets.report.templates import markdown_environment
from targets.use.program import Program

_METRICS = {"accuracy": "accuracy", "exact_match": "exact_match"}
"""Ours, and the names that they have on the hub: https://huggingface.co/metrics"""


def hub_card(report: Report, card: Card, program: Program) -> str:
    """Return the card of the artifact of ``report``, which ``program`` asks."""
    environment = markdown_environment(Path(__file__).parent)
    text = environment.get_template("HUB_CARD.md.j2").render(
        report=report,
        card=card,
        program=program,
        shares={name: percent(share) for name, share in _shares(report)},
    )
    return f"---\n{card_data(report, card).to_yaml()}\n---\n\n{text}"


def card_data(report: Report, card: Card) -> ModelCardData:
    """Return what the hub reads of the card: licence, task, library, base model, results."""
    entries: dict[str, JsonValue] = hub_metadata(card, report.artifact, report.inputs.model)
    return ModelCardData(
        **entries,  # type: ignore[arg-type]
        tags=["quern", "onnx", report.target],
        model_name=f"{report.build} for {report.target}",
        eval_results=list(_results(report)) or None,
    )


def _results(report: Report) -> Iterator[EvalResult]:
    """Yield what was measured on the held-out part: with ``constrain``, where there is one."""
    metric = _METRICS.get(str(report.quality.get("metric")))
    data = next(iter(report.inputs.data), "")
    if metric is None or not data:
        return
    for name, share in _shares(report):
        if name in ("artifact", "constrained"):
            yield EvalResult(
                task_type=TASK,
                dataset_type=data,
                dataset_name=f"{data}, held-out part",
                metric_type=metric,
                metric_name=f"{metric}, {'held to a form' if name == 'constrained' else 'free'}",
                metric_value=share,
            )


def _shares(report: Report) -> Iterator[tuple[str, float]]:
    """Yield whose answers are right to which share."""
    quality = report.quality
    held = quality.get("constrained")
    found = {
        **{name: quality.get(name) for name in ("base", "tuned", "artifact")},
        "constrained": held.get("value") if isinstance(held, dict) else None,
    }
    yield from ((name, share) for name, share in found.items() if isinstance(share, float))
