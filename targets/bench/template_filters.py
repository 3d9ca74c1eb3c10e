"""Filters and variables that the Markdown and HTML templates of a bench share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment

from targets.bench import formatting
from targets.bench.bench_schema import Bench

TEMPLATES = Path(__file__).parent


def with_bench_filters(environment: Environment) -> Environment:
    """Return ``environment`` with the filters for a bench added."""
    environment.filters.update(
        quality=formatting.quality_range,
        as_written=formatting.as_written,
        paired=formatting.paired,
        metric=formatting.metric,
        range=formatting.time_range,
        busy=formatting.busy,
        change=formatting.change_of,
        when=formatting.when,
        sentence=formatting.target_summary,
    )
    return environment


def template_variables(bench: Bench) -> dict[str, Any]:
    """Return the variables that every template of a bench uses."""
    return {
        "bench": bench,
        "headline": formatting.headline(bench),
        "against": formatting.against(bench),
        "statistics": formatting.statistics,
        "where": formatting.where,
        "value_of": formatting.value_of,
    }
