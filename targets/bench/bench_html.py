"""``bench.html``: the bench as one self-contained page, without network and scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup
from pydantic import JsonValue

from pipeline.latency.timing import FIGURES
from targets.bench import formatting
from targets.bench.bench_schema import Bench
from targets.bench.template_filters import TEMPLATES, template_variables, with_bench_filters
from targets.report.templates import html_environment


class Confusion(NamedTuple):
    """The confusion matrix of a model: its answers per label."""

    whose: str
    labels: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]

    def share(self, truth: str, chosen: str) -> float:
        """Return the share of a label's prompts that got this answer."""
        total = sum(self.counts[truth].values())
        return self.counts[truth].get(chosen, 0) / total if total else 0.0


def to_html(bench: Bench) -> str:
    """Return ``bench`` as a page."""
    from targets.bench.plots import plots_of  # which imports Matplotlib

    template = with_bench_filters(html_environment(TEMPLATES)).get_template("bench.html.j2")
    plots = plots_of(bench)
    return template.render(
        **template_variables(bench),
        plots=[(plot, Markup(plot.svg)) for plot in plots.values() if plot.name != "changes"],  # noqa: S704 - drawn by svg.py, which escapes
        changes=next(
            ((plot, Markup(plot.svg)) for plot in plots.values() if plot.name == "changes"),  # noqa: S704
            None,
        ),
        prompts=formatting.prompts_of(bench),
        figures=FIGURES,
        confusions=confusions_of(bench),
        versions=versions_of(bench),
    )


def confusions_of(bench: Bench) -> tuple[Confusion, ...]:
    """Return the confusion matrix of the fine-tuned model, and of each target's artifact."""
    matrices: dict[str, Confusion] = {}
    for target in bench.targets:
        details = target.quality.get("details")
        if not isinstance(details, dict):
            continue
        for name, whose in (
            ("tuned", "fine-tuned model"),
            ("artifact", f"{target.target} artifact"),
        ):
            matrix = _confusion(whose, details.get(name))
            if matrix is not None:
                matrices.setdefault(whose, matrix)
    return tuple(matrices.values())


def _confusion(whose: str, scores: JsonValue) -> Confusion | None:
    table = scores.get("confusion") if isinstance(scores, dict) else None
    if not isinstance(table, dict) or not table:
        return None
    counts = {
        truth: {choice: int(n) for choice, n in row.items() if isinstance(n, (int, float))}
        for truth, row in table.items()
        if isinstance(row, dict)
    }
    labels = tuple(dict.fromkeys([*counts, *(name for row in counts.values() for name in row)]))
    return Confusion(whose, labels, {name: counts.get(name, {}) for name in labels})


def versions_of(bench: Bench) -> Mapping[str, Mapping[str, str]]:
    """Return the version of every library, per library and target."""
    names = sorted({name for target in bench.targets for name in target.toolchain.versions})
    return {
        name: {target.target: target.toolchain.versions.get(name, "–") for target in bench.targets}
        for name in names
    }
