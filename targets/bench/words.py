"""Filters and variables that the Markdown and HTML templates of a bench share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment

from targets.bench import shown
from targets.bench.model import Bench

TEMPLATES = Path(__file__).parent


def taught(environment: Environment) -> Environment:
    """Return ``environment`` with the filters for a bench added."""
    environment.filters.update(
        quality=shown.quality_range,
        paired=shown.paired,
        metric=shown.metric,
        range=shown.time_range,
        busy=shown.busy,
        change=shown.change_of,
        when=shown.when,
        sentence=shown.sentence,
    )
    return environment


def shown_of(bench: Bench) -> dict[str, Any]:
    """Return the variables that every template of a bench uses."""
    return {
        "bench": bench,
        "headline": shown.headline(bench),
        "against": shown.against(bench),
        "statistics": shown.statistics,
        "where": shown.where,
        "value_of": shown.value_of,
    }
