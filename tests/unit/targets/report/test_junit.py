"""JUnit XML and the summary for a CI job's page: what failed stands there, and nothing acts."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from pipeline.contract.result import Status, Verdict
from targets.report.junit import to_junit
from targets.report.report_markdown import to_step_summary
from targets.report.report_schema import CheckVerdict
from tests.support.reports import make_report

HOSTILE = "a|b\n::error::x\x1b[31m ]]> & <script> \x00"
CHECKS = (
    Verdict(name="size", status="passed", value=1.0, limit=2.0, relation="<=", unit="MB"),
    Verdict(name="mean_kl", status="failed", value=0.5, limit=0.25, relation="<=", detail=HOSTILE),
    Verdict(name="loads", status="unverified", detail="its device is not here"),
)


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314 - our own


def test_each_verdict_is_a_test() -> None:
    root = parsed(to_junit([make_report(*CHECKS)]))
    (suite,) = root
    for element in (root, suite):
        counted = {name: element.get(name) for name in ("tests", "failures", "errors", "skipped")}
        assert counted == {"tests": "3", "failures": "1", "errors": "0", "skipped": "1"}
    found = {case.get("name"): [child.tag for child in case] for case in suite}
    assert found == {"size": [], "mean_kl": ["failure"], "loads": ["skipped"]}


def test_a_failure_says_figure_and_limit_in_one_visible_line() -> None:
    root = parsed(to_junit([make_report(*CHECKS)]))
    (failure,) = root.iter("failure")
    message = failure.get("message") or ""
    assert message.startswith("0.5, limit ≤ 0.25")
    assert "<script>" in message  # as text, since it was parsed
    assert not re.search(r"[\x00-\x1f]", message)


def test_the_page_of_a_job_shows_what_did_not_pass() -> None:
    page = to_step_summary(make_report(*CHECKS))
    assert page.startswith("### ")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == ["| check", "| ---", "| mean_kl", "| loads"]
    assert "1 passed, 2 not" in page
    assert not re.search(r"(?m)^::", page)
    assert "\x1b" not in page


def test_the_page_of_a_clean_build_has_no_table() -> None:
    page = to_step_summary(make_report(CHECKS[0]))
    assert "1 passed\n" in page
    assert "|" not in page


def test_checks_that_give_the_same_name_are_told_apart() -> None:
    ended: dict[str, Status] = {"memory": "failed", "size": "passed"}
    twice = (CheckVerdict(name="bytes", status=ended[name], check=name) for name in ended)
    (suite,) = parsed(to_junit([make_report(*twice)]))
    named = {(case.get("classname"), case.get("name")): len(case) for case in suite}
    assert named == {
        ("tone for cpu, memory", "bytes"): 1,
        ("tone for cpu, size", "bytes"): 0,
    }
