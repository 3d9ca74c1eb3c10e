"""``--junit``: the checks of builds as JUnit XML, which CI services show as tests."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from pipeline.contract.result import Verdict
from targets.figures import verdict_limit, verdict_value, verdict_words
from targets.foreign_text import visible
from targets.report.report_schema import Report


def to_junit(reports: Iterable[Report]) -> str:
    """Return a test suite for each report, with a test case for each of its verdicts.

    What is unverified is a skipped test. The elements are those that Jenkins, GitLab, GitHub's
    actions and Azure Pipelines read (https://github.com/testmoapp/junitxml).
    """
    suites = list(map(_suite, reports))
    root = ElementTree.Element("testsuites", {"name": "quern", **_counts(suites)})
    root.extend(suites)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(report: Report) -> ElementTree.Element:
    name = f"{report.build} for {report.target}"
    suite = ElementTree.Element("testsuite", name=name)
    for verdict in report.checks:
        of = ", ".join(filter(None, (name, visible(verdict.check))))
        case = ElementTree.SubElement(suite, "testcase", name=visible(verdict.name), classname=of)
        words = _words(verdict)
        if verdict.status == "failed":
            ElementTree.SubElement(case, "failure", message=words).text = words
        elif verdict.status == "unverified":
            ElementTree.SubElement(case, "skipped", message=words)
    of_status = [verdict.status for verdict in report.checks]
    suite.attrib |= {
        "tests": str(len(of_status)),
        "failures": str(of_status.count("failed")),
        "errors": "0",
        "skipped": str(of_status.count("unverified")),
    }
    return suite


def _counts(suites: Iterable[ElementTree.Element]) -> dict[str, str]:
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in suites:
        for name in totals:
            totals[name] += int(suite.attrib[name])
    return {name: str(total) for name, total in totals.items()}


def _words(verdict: Verdict) -> str:
    """Return what was measured, its limit, and what more is said, as one visible line."""
    measured, limit = verdict_value(verdict), verdict_limit(verdict)
    parts = (measured, limit and f"limit {limit}", verdict_words(verdict))
    return visible(", ".join(filter(None, parts)).replace("\n", " "))
