"""``bench.md``: the bench as text, for a pull request or a terminal."""

from __future__ import annotations

from targets.bench.bench_schema import Bench
from targets.bench.template_filters import TEMPLATES, template_variables, with_bench_filters
from targets.report.templates import markdown_environment


def to_markdown(bench: Bench) -> str:
    """Return ``bench`` as Markdown."""
    template = with_bench_filters(markdown_environment(TEMPLATES)).get_template("bench.md.j2")
    return template.render(**template_variables(bench))
