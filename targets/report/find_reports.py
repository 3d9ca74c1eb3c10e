"""The reports of builds in an output folder."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from targets.errors import ConfigError, Problem
from targets.report.dist import REPORT_FILE, read_report
from targets.report.report_schema import Report

_MOST = 10_000
"""Builds that are listed: more are no output folder of anybody's."""


@dataclass(frozen=True)
class FoundReport:
    """The report of one build for one target, and when it was written."""

    folder: Path
    report: Report
    written: datetime


def find_reports(dist: Path) -> tuple[list[FoundReport], list[Problem]]:
    """Return the reports in ``dist``, the newest first, and a problem for each that cannot be
    read."""
    found: list[FoundReport] = []
    problems: list[Problem] = []
    for number, file in enumerate(sorted(dist.glob(f"*/*/{REPORT_FILE}"))):
        if number == _MOST:
            problems.append(Problem(f"over {_MOST:,} builds: some are left out", dist))
            break
        try:
            found.append(report_in(file.parent))
        except ConfigError as error:
            problems += error.problems
    return sorted(found, key=lambda one: one.written, reverse=True), problems


def report_in(folder: Path) -> FoundReport:
    """Return the report in ``folder``, as ``dist/tone/cpu``.

    Raises ``ConfigError`` if there is none.
    """
    written = datetime.fromtimestamp(0, timezone.utc)
    report = read_report(folder)
    with suppress(OSError):
        written = datetime.fromtimestamp((folder / REPORT_FILE).stat().st_mtime, timezone.utc)
    return FoundReport(folder, report, written)
