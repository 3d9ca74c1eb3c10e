"""The result of a finished step: metrics, verdicts and the digests of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.frozen import Frozen

Status = Literal["passed", "failed", "unverified"]

RESULT_FILE = "result.json"
"""Written last into every finished step's folder: a :class:`StepResult`."""


PROVISIONAL = "provisional"
"""Name under which a pass (in its metrics) or a check (in its evidence) says why no other build may
take its result, such as times that were measured on a busy machine."""


class Verdict(Frozen):
    """One measured figure and its limit."""

    name: str
    status: Status
    value: float | None = None
    limit: float | None = None
    relation: Literal["<=", ">=", "=="] | None = None
    """The relation of ``value`` to ``limit`` in a passed verdict."""
    unit: str = ""
    limit_source: str = ""
    """Where the limit comes from; empty if from the config."""
    detail: str = ""


class StepResult(Frozen):
    """``result.json`` of a step. ``seconds`` is wall time, ``peak_rss_bytes`` the step's peak."""

    name: str
    type: str
    key: str
    seconds: float
    peak_rss_bytes: int
    metrics: dict[str, JsonValue] = Field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    evidence: dict[str, JsonValue] = Field(default_factory=dict)
    """Raw measurements of a check (latency samples, answers), all of them in the report."""
    files: tuple[FileDigest, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries that are installed where the step ran."""
    origin: dict[str, str] = Field(default_factory=dict)
    """Runtime and image in which the step ran (:attr:`pipeline.contract.plan.Plan.origin`)."""

    @property
    def provisional(self) -> str:
        """Return why no other build may take this result; empty if each may."""
        why = self.metrics.get(PROVISIONAL, self.evidence.get(PROVISIONAL))
        return why if isinstance(why, str) else ""


def read_result(folder: Path) -> StepResult:
    """Return the result in the folder of a finished step.

    Raises ``FileNotFoundError`` where there is none, and pydantic's ``ValidationError``.
    """
    return StepResult.model_validate_json((folder / RESULT_FILE).read_bytes())
