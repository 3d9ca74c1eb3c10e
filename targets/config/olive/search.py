"""Translates ``search_strategy``: a search over ModelBuilder's parameters becomes a ``tune`` pass.

The defaults of a strategy, and the values over which Olive 0.13 searches by default, are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from targets.config.olive.draft import Draft
from targets.config.olive.node import Fields, Node
from targets.config.source_map import KeyPath

SEARCHED: Mapping[str, tuple[JsonValue, ...]] = {
    "block_size": (32, 64, 128),
    "symmetric": (True, False),
    "algorithm": ("default", "rtn", "k_quant_mixed", "k_quant_last"),
}
"""The values over which Olive searches ModelBuilder's parameters by default."""

DEFAULTS: Mapping[str, JsonValue] = {"block_size": 32, "symmetric": True, "algorithm": "default"}
"""The value that ``DEFAULT_VALUE`` stands for, per parameter."""

_SAMPLERS = {"random": "random", "sequential": "grid", "exhaustive": "grid", "tpe": "tpe"}
_ORDERS = ("joint", "pass-by-pass")
_ALL = 10_000
"""Trials where the number is not limited: more than there are choices."""
_TIMED = {"latency": "prompt", "throughput": "prompt"}
"""The goal behind each type of metric: Olive times one forward pass over the prompt."""


@dataclass(frozen=True)
class Strategy:
    """A search that is on."""

    node: Node
    fields: Fields


def read_strategy(node: Node | None) -> Strategy | None:
    """Return the search of ``search_strategy``; ``None`` if there is none."""
    if node is None:
        return None
    if node.raw in (False, {}):
        node.honoured()
        return None
    if node.raw is True:
        return Strategy(node, Fields({}, node))
    fields = node.fields("search_strategy")
    for name in ("sampler_config", "search_algorithm_config"):
        nested = fields.take(name)
        if nested is not None:
            fields.merge(nested.fields(name))
    include = fields.take("include_pass_params")
    if include is not None and include.flag() is False:
        include.no_effect("so nothing is searched: each pass is there once")
        for other in fields.rest():
            other.no_effect("nothing is searched: include_pass_params is false")
        return None
    if include is not None:
        include.honoured()
    return Strategy(node, fields)


def refuse_strategy(strategy: Strategy) -> None:
    """Refuse a search in a chain that no builder ends."""
    strategy.node.refuse(
        "Quern searches over the parameters of ModelBuilder alone, and this chain does not end "
        "with it",
        'write "search_strategy": false and one value for each parameter',
    )


def idle_strategy(strategy: Strategy, why: str) -> None:
    """Record why a search has nothing to search over."""
    strategy.node.no_effect(why)


def translate_strategy(
    strategy: Strategy, place: KeyPath, evaluator: Node | None, draft: Draft
) -> None:
    """Write how the pass at ``place`` searches."""
    fields, node = strategy.fields, strategy.node
    sampler = fields.take("sampler", "search_algorithm")
    if sampler is None:
        draft.set((*place, "search_by"), "grid", node if node.raw is True else None)
    elif str(sampler.raw).lower() in _SAMPLERS:
        draft.set((*place, "search_by"), _SAMPLERS[str(sampler.raw).lower()], sampler)
    else:
        sampler.refuse(f"there is no sampler {sampler.raw}", ", ".join(_SAMPLERS))
    _order(fields.take("execution_order"))
    _trials(fields, place, draft)
    seconds = fields.take("max_time")
    if seconds is not None:
        draft.set((*place, "max_seconds"), seconds.number(), seconds)
    seed = fields.take("seed")
    if seed is not None:
        draft.set((*place, "sampler_seed"), seed.number(), seed)
    several = fields.take("output_model_num")
    if several is not None:
        several.no_effect("the best one is the artifact; the report shows all that were tried")
    early = fields.take("stop_when_goals_met")
    if early is not None:
        early.no_effect("the fastest that meets the goals is looked for, not the first")
    fields.ignore(
        {
            "multivariate": "parameters are sampled together",
            "group": "all parameters are in every sample",
            "with_replacement": "nothing is tried twice",
        }
    )
    fields.refuse_rest("search_strategy")
    _goal(evaluator, node, place, draft)


def _order(node: Node | None) -> None:
    if node is None:
        return
    if str(node.raw).lower() in _ORDERS:
        node.no_effect("the parameters of one pass are searched over")
    else:
        node.refuse(f"there is no execution_order {node.raw}", ", ".join(_ORDERS))


def _trials(fields: Fields, place: KeyPath, draft: Draft) -> None:
    """Write the number of trials: the smaller of two limits that mean the same for one pass."""
    given_limits = [
        (number, node)
        for names in (("max_samples", "num_samples"), ("max_iter",))
        if (node := fields.take(*names)) is not None and (number := node.number()) is not None
    ]
    limits = [(number, node) for number, node in given_limits if number > 0]
    for number, node in given_limits:
        if number <= 0:
            node.no_effect("0: all are tried")
    if not limits:
        draft.set((*place, "max_trials"), _ALL, None, "all are tried")
        return
    least, source = min(limits, key=lambda pair: pair[0])
    draft.set((*place, "max_trials"), least, source)
    for number, node in limits:
        if node is not source:
            node.no_effect(f"{source.name} allows fewer: {least}, not {number}")


def _goal(evaluator: Node | None, strategy: Node, place: KeyPath, draft: Draft) -> None:
    """Write the goal of the search: the figure of the metric with the highest priority."""
    first = _first_metric(evaluator)
    if first is None or evaluator is None:
        draft.set((*place, "goal"), "answer", None, "no metric says what is looked for")
        return
    kind = str(first.get("type", "")).lower()
    if kind in _TIMED:
        draft.set((*place, "goal"), _TIMED[kind], None, f"{kind} has the first priority")
        return
    strategy.refuse(
        f"the metric that the search goes by is {kind or 'unknown'}: Quern looks for the fastest "
        "artifact that meets the goals of all others",
        "give latency the first priority, and the others a goal",
    )


def _first_metric(evaluator: Node | None) -> dict[str, Any] | None:
    """Return the metric with the lowest priority number; the first one if none has a number."""
    raw = evaluator.raw if evaluator is not None and isinstance(evaluator.raw, dict) else {}
    listed = raw.get("metrics")
    metrics = [metric for metric in listed if isinstance(metric, dict)] if listed else []
    return min(metrics, key=_priority, default=None)


def _priority(metric: dict[str, Any]) -> float:
    """Return the lowest number among a metric's figures: 1 goes first."""
    figures = metric.get("sub_types")
    priorities = [
        figure.get("priority", figure.get("priority_rank"))
        for figure in (figures if isinstance(figures, list) else [])
        if isinstance(figure, dict)
    ]
    integers = [number for number in priorities if isinstance(number, int)]
    return min(integers, default=float("inf"))
