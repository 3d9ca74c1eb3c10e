"""``bench.html``: the bench as one self-contained page, without network and scripts."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from pipeline.latency.timing import FIGURES
from targets.bench import formatting
from targets.bench.bench_schema import Bench
from targets.bench.template_filters import TEMPLATES, template_variables, with_bench_filters
from targets.report.confusion import Confusion, confusions
from targets.report.templates import html_environment


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
        for matrix in confusions(target.quality, target.target):
            matrices.setdefault(matrix.whose, matrix)
    return tuple(matrices.values())


def versions_of(bench: Bench) -> Mapping[str, Mapping[str, str]]:
    """Return the version of every library, per library and target."""
    names = sorted({name for target in bench.targets for name in target.toolchain.versions})
    return {
        name: {target.target: target.toolchain.versions.get(name, "–") for target in bench.targets}
        for name in names
    }
