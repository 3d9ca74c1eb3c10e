"""Translates the evaluator of the artifact into checks, and finds its data set."""

from __future__ import annotations

from typing import Any

from pipeline.contract.suggest import did_you_mean
from targets.config.olive.context import Context
from targets.config.olive.draft import Draft
from targets.config.olive.lm_evaluator import LM_EVALUATOR, translate_lm_evaluator
from targets.config.olive.metrics import CLASSES, translate_metric
from targets.config.olive.node import Node
from targets.config.olive.sets import OliveDataSet, dummy_prompt, used_set


def evaluator_of(node: Node | None, evaluators: Node | None) -> Node | None:
    """Return the table that ``evaluator`` names or is."""
    if node is None or isinstance(node.raw, dict):
        return node
    raw = evaluators.raw if evaluators is not None and isinstance(evaluators.raw, dict) else {}
    name = str(node.raw)
    if name not in raw:
        node.refuse(f"there is no evaluator '{name}'", did_you_mean(name, raw))
        return None
    node.honoured()
    assert evaluators is not None  # noqa: S101
    return Node(raw[name], (*evaluators.path, name), evaluators.ledger)


def measured_data(
    evaluator: Node, sets: dict[str, OliveDataSet]
) -> tuple[OliveDataSet | None, bool]:
    """Return the data set that the metrics are measured on, and whether one compares classes."""
    measured: OliveDataSet | None = None
    classes = False
    raw = evaluator.raw if isinstance(evaluator.raw, dict) else {}
    for at, metric in enumerate(_listed(raw.get("metrics"))):
        if not isinstance(metric, dict):
            continue
        figures = _listed(metric.get("sub_types"))
        names = [str(item.get("name")) for item in figures if isinstance(item, dict)]
        compared = CLASSES & {*names, str(metric.get("sub_type"))}
        classes |= str(metric.get("type")).lower() == "accuracy" and bool(compared)
        inner = metric.get("user_config")
        user = inner if isinstance(inner, dict) else {}
        location: tuple[str | int, ...] = ("metrics", at, "data_config")
        named = metric.get("data_config")
        if named is None and user.get("data_config") is not None:
            named, location = user["data_config"], ("metrics", at, "user_config", "data_config")
        if named is None:
            continue
        node = Node(named, (*evaluator.path, *location), evaluator.ledger)
        data = used_set(node, sets)
        if data is None or dummy_prompt(data) is not None:
            continue
        if measured is not None and measured.name != data.name:
            node.refuse(
                f"another metric is measured on '{measured.name}'",
                "all metrics of a build are measured on one data set",
            )
        else:
            measured = data
            node.translated(f"data.{data.name}")
    return measured, classes


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def translate_evaluator(
    evaluator: Node, sets: dict[str, OliveDataSet], draft: Draft, context: Context
) -> None:
    """Write ``[checks]`` from an evaluator's metrics."""
    fields = evaluator.fields("an evaluator")
    kind = fields.take("type")
    if kind is not None and str(kind.raw).lower() == LM_EVALUATOR:
        translate_lm_evaluator(kind, fields, draft)
        return
    if kind is not None and str(kind.raw).lower() == "mtebevaluator":
        kind.refuse(
            f"{kind.raw} measures models that embed texts, and Quern builds models that write them",
            "measure on a data set of your own: accuracy, perplexity, or a check of your own",
        )
        for part in fields.rest():
            part.no_effect(f"nothing is read of an evaluator {kind.raw}")
        return
    if kind is not None and str(kind.raw).lower() in ("oliveevaluator", "onnxevaluator"):
        kind.no_effect("metrics are measured on the artifact")
    elif kind is not None:
        kind.refuse(f"there is no evaluator of type {kind.raw}", "remove type")
    fields.ignore(
        dict.fromkeys(("name", "user_script", "script_dir"), "metrics name their own scripts")
    )
    entries = fields.take("metrics")
    if entries is not None and not isinstance(entries.raw, list):
        entries.refuse("metrics must be a list")
        entries = None
    for entry in entries.items() if entries is not None else ():
        translate_metric(entry, sets, draft, context)
    fields.refuse_rest("an evaluator")
