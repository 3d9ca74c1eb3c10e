"""``checked.json``: the result of checks on the device's machine, and its merge into a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from pipeline.checks.base import USABLE
from pipeline.contract.file_digest import FileDigest
from pipeline.contract.frozen import Frozen
from pipeline.reading.files import UnreadableError
from pipeline.reading.model_file import read_model
from pipeline.verdicts.overall import overall
from targets.errors import ConfigError, Problem
from targets.foreign_text import visible
from targets.report.report_schema import CheckedReport, CheckVerdict, Report
from targets.version import invocation

FILE = "checked.json"

_UNKNOWN = CheckVerdict(
    name="known_build",
    status="unverified",
    detail="the cache of this machine knows no build of these bytes: which checks there are, their "
    "limits, and what they compare with is what the folder itself says",
)


class CheckedResult(Frozen):
    """The result of one run of the checks, with the digests of the checked files."""

    schema_version: Literal[1] = 1
    build: str
    target: str
    files: tuple[FileDigest, ...]
    """The artifact's files, as they were when checked."""
    where: CheckedReport
    checks: tuple[CheckVerdict, ...]
    latency: dict[str, JsonValue] = Field(default_factory=dict)
    quality: dict[str, JsonValue] = Field(default_factory=dict)
    figures: dict[str, JsonValue] = Field(default_factory=dict)


def read_checked(file: Path) -> CheckedResult:
    """Return the result in ``file``. Raises ``ConfigError`` if it is missing or invalid."""
    try:
        return read_model(file, CheckedResult)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnreadableError as error:
        problem = f"is not a result of checks: {error}"
    raise ConfigError(
        [Problem(problem, file, suggestion=f"`{invocation('check-TARGET')}` makes it")]
    )


def other_bytes(built: Sequence[FileDigest], checked: Sequence[FileDigest]) -> list[str]:
    """Return the files in which the two differ; none if they are the same bytes."""
    ours = {file.path: file.sha256 for file in built}
    checked_digests = {file.path: file.sha256 for file in checked}
    return sorted(
        path
        for path in ours.keys() | checked_digests.keys()
        if ours.get(path) != checked_digests.get(path)
    )


def merge_into_report(
    report: Report, checked: CheckedResult, file: Path, believed: bool = True
) -> Report:
    """Return ``report`` with the result of checks on another machine.

    An ``unverified`` verdict is replaced by that of the result, and a verdict that failed there
    fails. An earlier result is replaced. ``believed`` says that this machine knows that the files
    are those of the build; where it does not, what the build proved and the result did not is
    unverified, and so is the whole, since a check could have been left out of the folder. Raises
    ``ConfigError`` if the result is for other bytes or for another target.
    """
    differing = other_bytes(report.files, checked.files)
    if differing or checked.target != report.target:
        what = f"other bytes ({', '.join(differing)})" if differing else f"{checked.target}"
        problem = f"was made for {what}, not for this {report.build} artifact of {report.target}"
        advice = "run the checks on this artifact"
        raise ConfigError([Problem(problem, file, suggestion=advice)])
    built = report.checks_as_built or report.checks
    _require_identities(report, built, checked, file)
    ours, theirs = _by_identity(built), _by_identity(checked.checks)
    ran = {verdict.check for verdict in checked.checks} | checked.figures.keys()
    ran_on_device = ran if checked.where.device else set()
    verdicts = [
        _better(verdict, theirs.get(identity), believed)
        for identity, verdict in ours.items()
        # A verdict that replaced a check which could not run is dropped once that check ran.
        if not (_is_substitute(verdict) and verdict.check in ran_on_device) or identity in theirs
    ]
    verdicts += [verdict for identity, verdict in theirs.items() if identity not in ours]
    if not believed:
        verdicts.append(_UNKNOWN)
    return report.model_copy(
        update={
            "checks": tuple(verdicts),
            "status": overall(verdict.status for verdict in verdicts),
            "latency": checked.latency or report.latency,
            "quality": _quality(report, checked),
            "figures": {**report.figures, **(checked.figures if checked.where.device else {})},
            "checked": checked.where,
            "checks_as_built": built,
        }
    )


def _require_identities(
    report: Report, built: Sequence[CheckVerdict], checked: CheckedResult, file: Path
) -> None:
    """Raise ``ConfigError`` where it is not said which check gave a verdict: it would be taken for
    that of another check with the same name."""
    for verdicts, what, remedy in (
        (built, f"the report of {report.build}", "build it again, which takes seconds"),
        (checked.checks, "this result", "run the checks again"),
    ):
        nobodys = next((verdict for verdict in verdicts if not verdict.check), None)
        if nobodys is not None:
            problem = f"{what} does not say which check gave {visible(nobodys.name)!r}"
            advice = f"it is of an earlier version: {remedy}"
            raise ConfigError([Problem(problem, file, suggestion=advice)])


def _is_substitute(verdict: CheckVerdict) -> bool:
    """Return whether a verdict replaces all those of its check."""
    return verdict.name_in_check == USABLE


def _by_identity(verdicts: Sequence[CheckVerdict]) -> dict[tuple[str, str, int], CheckVerdict]:
    """Return each verdict by its check, its name, and how many of that name the check gave before:
    two goals may be for the same figure."""
    given: Counter[tuple[str, str]] = Counter()
    found = {}
    for verdict in verdicts:
        of = verdict.check, verdict.name
        identity = (*of, given[of])
        found[identity] = verdict
        given[of] += 1
    return found


def _better(ours: CheckVerdict, theirs: CheckVerdict | None, believed: bool) -> CheckVerdict:
    if theirs is not None and theirs.status != "unverified" and ours.status != "failed":
        return theirs
    if believed or ours.status != "passed":
        return ours
    why = theirs.detail if theirs is not None else "its check did not run here"
    return CheckVerdict(
        name=ours.name,
        check=ours.check,
        status="unverified",
        detail=f"passed where it was built, not here: {why}",
    )


def _quality(report: Report, checked: CheckedResult) -> dict[str, JsonValue]:
    """Return the figures that were measured on the device, if it was present."""
    return checked.quality if checked.where.device and checked.quality else report.quality
