"""Verdicts on the figures of tasks. Noise fails no build: see :class:`LmEvalParams`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.contract.errors import StepError
from pipeline.contract.result import Verdict
from pipeline.contract.suggest import did_you_mean
from pipeline.harness.params import LmEvalParams
from pipeline.harness.results import TaskFigure, TaskResults
from pipeline.verdicts.verdicts import limit_verdict

_AS_SHARES = 1.0
"""Figures above this are compared by their ratio: perplexities, or scores out of 100."""
_MOST_SLACK = 100.0
"""Beyond it nothing is known, and the exponential would be no number."""


def loss_verdicts(
    ours: TaskResults,
    theirs: TaskResults,
    against: str,
    max_loss: float | None,
    standard_errors: float,
) -> Iterator[Verdict]:
    """Yield a verdict for each figure on what is lost ``against`` another model: ``float``,
    ``base``. Raises :class:`StepError` if the two were not asked the same rows."""
    if max_loss is None:
        return
    others = {figure.name: figure for figure in theirs.figures}
    for figure in ours.figures:
        other = others.get(figure.name)
        if other is None or other.of_rows != figure.of_rows:
            raise StepError(f"{figure.name}: the {against} model was not asked the same rows")
        loss = _loss(figure, other)
        yield limit_verdict(
            f"loss_to_{against}_{figure.name}",
            loss.value,
            "<=",
            loss.limit(max_loss, standard_errors),
            detail=f"{figure.value:.4g}, of the {against} model {other.value:.4g}; "
            + _allowance(max_loss, standard_errors, loss.stderr),
        )


def worst_verdicts(ours: TaskResults, params: LmEvalParams) -> Iterator[Verdict]:
    """Yield a verdict for each figure with a limit of its own. Raises :class:`StepError` for one
    that no task has."""
    for name, worst in params.worst.items():
        figure = _named(name, ours)
        slack = params.standard_errors * (figure.stderr or 0.0)
        yield limit_verdict(
            f"worst_{figure.name}",
            figure.value,
            ">=" if figure.higher_is_better else "<=",
            worst - slack if figure.higher_is_better else worst + slack,
            unit="",
            detail=_allowance(worst, params.standard_errors, figure.stderr),
        )


def _named(name: str, ours: TaskResults) -> TaskFigure:
    found = [figure for figure in ours.figures if name in (figure.name, figure.task)]
    if len(found) == 1:
        return found[0]
    known = [figure.name for figure in ours.figures]
    raise StepError(
        f"worst: {name} has several figures" if found else f"worst: no task has a figure {name}",
        f"name one of {', '.join(figure.name for figure in found)}"
        if found
        else did_you_mean(name, known),
        "bad_input",
    )


@dataclass(frozen=True)
class _Loss:
    """By how much a figure is worse than another model's."""

    value: float
    stderr: float | None
    """Its standard error, or where it is a ratio, that of its logarithm; ``None`` if not known."""
    is_ratio: bool = False

    def limit(self, most: float, standard_errors: float) -> float:
        """Return the limit ``most`` with so many standard errors on top."""
        slack = min(standard_errors * (self.stderr or 0.0), _MOST_SLACK)
        return (1 + most) * math.exp(slack) - 1 if self.is_ratio else most + slack


def _loss(ours: TaskFigure, theirs: TaskFigure) -> _Loss:
    """Return the loss of ``ours``.

    The standard error of a difference is that of the mean difference of a row,
    :math:`s / \\sqrt{n}`, where both are means over the same rows; else lm-eval's of both, as if
    they were independent. For a ratio they are divided by the figures, since the error of a
    perplexity grows with it: one that is ruined would else excuse itself.
    """
    values = (ours.value, theirs.value)
    if min(values) > 0 and not (ours.higher_is_better and max(values) <= _AS_SHARES):
        worse, better = values[::-1] if ours.higher_is_better else values
        return _Loss(worse / better - 1, _joined(ours, theirs, *values), is_ratio=True)
    difference = theirs.value - ours.value if ours.higher_is_better else ours.value - theirs.value
    if ours.rows and len(ours.rows) == len(theirs.rows):
        rows = [a - b for a, b in zip(ours.rows, theirs.rows, strict=True)]
        return _Loss(difference, _mean_error(rows))
    return _Loss(difference, _joined(ours, theirs, 1, 1))


def _joined(
    ours: TaskFigure, theirs: TaskFigure, our_unit: float, their_unit: float
) -> float | None:
    """Return lm-eval's standard errors of two figures, in their units, as that of both."""
    if ours.stderr is None or theirs.stderr is None:
        return None
    return math.hypot(ours.stderr / our_unit, theirs.stderr / their_unit)


def _mean_error(differences: list[float]) -> float | None:
    count = len(differences)
    if count < 2:
        return None
    mean = math.fsum(differences) / count
    variance = math.fsum((one - mean) ** 2 for one in differences) / (count - 1)
    return math.sqrt(variance / count)


def _allowance(limit: float, standard_errors: float, stderr: float | None) -> str:
    if stderr is None:
        return f"limit {limit:g}; nothing is known of its noise"
    return f"limit {limit:g} and {standard_errors:g} standard errors of {stderr:.2g}"
