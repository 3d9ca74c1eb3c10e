"""What lm-eval found: a figure for each task and metric, with what each row scored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.sha256 import sha256_of_bytes

RESULTS_FILE = "tasks.json"

_NO_FILTER = "none"
_STDERR = "_stderr"


class TaskFigure(Frozen):
    """One figure of one task. The perplexity of a ruined model may be infinite."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    task: str
    metric: str
    """lm-eval's name of it, with that of the filter of answers if there is one:
    ``exact_match.strict-match``."""
    value: float
    stderr: float | None = None
    """lm-eval's standard error; ``None`` if it has none."""
    higher_is_better: bool = True
    rows: tuple[float, ...] = ()
    """What each row scored, in order, where the figure is the mean of that; else empty."""
    of_rows: str = ""
    """Digest of the rows that were asked; empty for a group of tasks."""

    @property
    def name(self) -> str:
        """Return what it is called in limits and verdicts."""
        return f"{self.task}.{self.metric}"


class TaskResults(Frozen):
    """The figures of one model."""

    figures: tuple[TaskFigure, ...]
    lm_eval: str
    """Version of the library."""

    def save(self, folder: Path) -> None:
        """Write :data:`RESULTS_FILE` into ``folder``."""
        (folder / RESULTS_FILE).write_text(self.model_dump_json(indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> TaskResults:
        """Read :data:`RESULTS_FILE` from ``folder``."""
        return cls.model_validate_json((folder / RESULTS_FILE).read_text("utf-8"))

    def values(self) -> dict[str, JsonValue]:
        """Return value, standard error and number of rows of each figure, by name."""
        return {
            figure.name: {
                "value": figure.value if math.isfinite(figure.value) else str(figure.value),
                "stderr": figure.stderr,
                "rows": len(figure.rows) or None,
            }
            for figure in self.figures
        }


def read_results(raw: Mapping[str, Any], version: str) -> TaskResults:
    """Return the results that lm-eval's ``simple_evaluate`` returned as ``raw``.

    Of a group whose tasks have a common figure, that is read, and not those of its tasks.
    """
    tables = {**raw["results"], **raw.get("groups", {})}
    parts = {
        task
        for group, tasks in raw.get("group_subtasks", {}).items()
        if any(_metrics(tables.get(group, {})))
        for task in _below(tasks, raw["group_subtasks"])
    }
    figures = [
        figure
        for task, table in tables.items()
        if task not in parts
        for figure in _figures(task, table, raw)
    ]
    return TaskResults(figures=tuple(figures), lm_eval=version)


def _below(tasks: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for task in tasks:
        yield task
        yield from _below(groups.get(task, ()), groups)


def _metrics(table: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield metric, filter and value of each figure in a table of lm-eval's results."""
    for key, value in table.items():
        metric, comma, chosen = key.partition(",")
        if comma and not metric.endswith(_STDERR) and isinstance(value, Real):
            yield metric, chosen, float(value)


def _figures(task: str, table: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[TaskFigure]:
    samples = raw.get("samples", {}).get(task, ())
    better = raw.get("higher_is_better", {}).get(task, {})
    for metric, chosen, value in _metrics(table):
        rows = sorted(
            (row for row in samples if row["filter"] == chosen and metric in row),
            key=lambda row: row["doc_id"],
        )
        asked = [[row["doc_id"], row["doc_hash"], row["target_hash"]] for row in rows]
        error = table.get(f"{metric}{_STDERR},{chosen}")
        stderr = float(error) if isinstance(error, Real) and math.isfinite(error) else None
        yield TaskFigure(
            task=task,
            metric=metric if chosen == _NO_FILTER else f"{metric}.{chosen}",
            value=value,
            stderr=stderr,
            higher_is_better=better.get(metric) is not False,
            rows=_scores([row[metric] for row in rows], value),
            of_rows=sha256_of_bytes(repr(asked).encode()) if asked else "",
        )


def _scores(scores: Sequence[Any], value: float) -> tuple[float, ...]:
    """Return ``scores`` as numbers if ``value`` is their mean, else nothing."""
    if not scores or not all(isinstance(score, Real) for score in scores):
        return ()
    numbers = tuple(float(score) for score in scores)
    mean = math.fsum(numbers) / len(numbers)
    return numbers if math.isclose(mean, value, rel_tol=1e-9, abs_tol=1e-12) else ()
