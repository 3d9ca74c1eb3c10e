"""Goals of a figure: an absolute limit, or one relative to the base model or to a baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Literal, TypeVar

from pydantic import Field, model_validator
from typing_extensions import Self

from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict
from pipeline.contract.suggest import did_you_mean
from pipeline.statistics.percentiles import Statistic
from pipeline.verdicts.verdicts import limit_verdict, unverified

_KINDS = (
    "at_most",
    "at_least",
    "min_improvement",
    "min_improvement_percent",
    "max_degradation",
    "max_degradation_percent",
)


class Goal(Frozen):
    """One figure and exactly one limit. If a goal is missed, the build fails."""

    metric: str
    """Name of the figure."""
    statistic: Statistic | None = None
    """Statistic of the figure, if it is measured many times."""
    at_most: float | None = None
    at_least: float | None = None
    against: Literal["base_model", "baseline"] = "base_model"
    """The other side of the relative limits below: the base model in PyTorch, or the check's
    ``baseline``, another artifact, if the check has one."""
    min_improvement: float | None = Field(default=None, ge=0)
    """Better than the base model's figure by at least this much, in the figure's own unit."""
    min_improvement_percent: float | None = Field(default=None, ge=0)
    """The same in percent of the base model's figure."""
    max_degradation: float | None = Field(default=None, ge=0)
    """Worse than the base model's figure by at most this much, in the figure's own unit."""
    max_degradation_percent: float | None = Field(default=None, ge=0)
    """The same in percent of the base model's figure."""

    @property
    def of_base(self) -> bool:
        """Return whether the base model's figure is needed."""
        return self.is_relative and self.against == "base_model"

    @property
    def of_baseline(self) -> bool:
        """Return whether the baseline's figure is needed."""
        return self.is_relative and self.against == "baseline"

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        set_keys = [name for name in _KINDS if getattr(self, name) is not None]
        if len(set_keys) != 1:
            listed = " and ".join(set_keys) if set_keys else "none of them"
            raise ValueError(f"give exactly one of {', '.join(_KINDS)} (found {listed})")
        return self

    @property
    def name(self) -> str:
        """Return the name of its verdict."""
        return "_".join(filter(None, (self.metric, self.statistic, self._versus)))

    @property
    def _versus(self) -> str:
        if not self.is_relative:
            return ""
        return "vs_base" if self.against == "base_model" else "vs_baseline"

    @property
    def is_relative(self) -> bool:
        """Return whether another model's figure is needed."""
        return self.at_most is None and self.at_least is None

    def limit(
        self, higher_is_better: bool, base: float | None
    ) -> tuple[Literal["<=", ">="], float]:
        """Return the required relation and the limit: ``("<=", 0.2)``.

        ``base`` is the figure that a relative limit is computed from. Raises ``ValueError`` for a
        relative goal without it.
        """
        if self.at_most is not None:
            return "<=", self.at_most
        if self.at_least is not None:
            return ">=", self.at_least
        if base is None:
            raise ValueError("a relative goal needs the base model's figure")
        better = 1 if higher_is_better else -1
        relation: Literal["<=", ">="] = ">=" if higher_is_better else "<="
        if self.min_improvement is not None:
            return relation, base + better * self.min_improvement
        if self.min_improvement_percent is not None:
            return relation, base + better * abs(base) * self.min_improvement_percent / 100
        if self.max_degradation is not None:
            return relation, base - better * self.max_degradation
        assert self.max_degradation_percent is not None  # noqa: S101 - the validator saw to it
        return relation, base - better * abs(base) * self.max_degradation_percent / 100


G = TypeVar("G", bound=Goal)


def validated_goals(
    goals: tuple[G, ...],
    metrics: Collection[str],
    statistics: bool = False,
    baseline: bool = False,
) -> tuple[G, ...]:
    """Return ``goals``; raise ``ValueError`` for unknown figures and duplicates.

    ``metrics`` are the known figures, ``statistics`` says whether they are measured many times, and
    ``baseline`` whether the check can compare with another artifact. For use in validators of a
    check's parameters.
    """
    for goal in goals:
        if goal.metric not in metrics:
            nearest = did_you_mean(goal.metric, metrics)
            raise ValueError(f"this check measures no '{goal.metric}'; {nearest}")
        if goal.statistic is not None and not statistics:
            raise ValueError(f"{goal.metric} is one figure; remove statistic")
        if goal.against == "baseline" and not baseline:
            raise ValueError("this check has no baseline; compare with the base model")
    return distinct_goals(goals)


def require_baseline(goals: Iterable[Goal], baseline: str | None) -> None:
    """Raise ``ValueError`` if a goal compares with a baseline and there is none."""
    named = [goal.metric for goal in goals if goal.of_baseline]
    if named and baseline is None:
        raise ValueError(f"the goal of {named[0]} compares with a baseline; give baseline")


def distinct_goals(goals: tuple[G, ...]) -> tuple[G, ...]:
    """Return ``goals``; raise ``ValueError`` if two of them are about the same figure."""
    names = Counter(goal.name for goal in goals)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(
            f"two goals of {' and of '.join(twice)}; put the second into a check of another name"
        )
    return goals


def goal_verdict(
    goal: Goal,
    value: float,
    higher_is_better: bool,
    base: float | None = None,
    unit: str = "share",
    detail: str = "",
) -> Verdict:
    """Return the verdict on the figure ``value``.

    ``base`` is the figure of the base model or of the baseline, for relative goals.
    """
    other_model = "the base model" if goal.against == "base_model" else "the baseline"
    if goal.is_relative and base is None:
        return unverified(goal.name, f"{other_model}'s figure is not here")
    relation, limit = goal.limit(higher_is_better, base)
    if goal.is_relative:
        detail = "; ".join(filter(None, (f"{other_model}: {base:.6g}", detail)))
    return limit_verdict(goal.name, value, relation, limit, unit, detail)
