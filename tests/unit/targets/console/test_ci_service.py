"""Problems as the annotations of CI services: at the right line, and nothing but an annotation."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from targets.cli.options import console
from targets.console.ci_service import annotation
from targets.errors import Problem

GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": "/home/runner/work/support"}
AZURE = {"TF_BUILD": "True", "BUILD_SOURCESDIRECTORY": "/agent/s"}
# As `escapeData` and `escapeProperty` of @actions/core write them.
ESCAPES = {"%25": "%", "%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ","}


def unescaped(text: str) -> str:
    return re.sub("|".join(ESCAPES), lambda match: ESCAPES[match[0]], text)


def parsed(line: str) -> tuple[dict[str, str], str]:
    """Return properties and message as GitHub's runner reads them."""
    match = re.fullmatch(r"::error(?: ([^\n]*?))?::([^\n]*)", line)
    assert match is not None, line
    words = (match[1] or "").split(",") if match[1] else []
    return {
        name: unescaped(value) for name, _, value in (word.partition("=") for word in words)
    }, unescaped(match[2])


@pytest.mark.parametrize(
    ("file", "line", "place"),
    [
        (Path("/home/runner/work/support/a/b.toml"), 3, {"file": "a/b.toml", "line": "3"}),
        (Path("/elsewhere/b.toml"), None, {"file": "/elsewhere/b.toml"}),
        (Path("/home/runner/work/support/a,b:c%.toml"), 1, {"file": "a,b:c%.toml", "line": "1"}),
        (None, None, {}),
    ],
)
def test_github_shows_a_problem_at_its_line(
    file: Path | None, line: int | None, place: dict[str, str]
) -> None:
    problem = Problem("is wrong", file, line, "data.tone", "mend it")
    assert parsed(annotation(problem, GITHUB)) == (place, "data.tone: is wrong (mend it)")


def test_what_others_wrote_ends_no_command() -> None:
    text = "100%\r\n::error file=x::gone\n::stop-commands::t"
    line = annotation(Problem(text, Path("/f\n::warning::x")), GITHUB)
    assert "\n" not in line
    assert "\r" not in line
    assert parsed(line) == ({"file": "/f\n::warning::x"}, text)


def test_azure_shows_a_problem_at_its_line() -> None:
    problem = Problem("is wrong", Path("/agent/s/a;b].toml"), 7)
    assert (
        annotation(problem, AZURE)
        == "##vso[task.logissue type=error;sourcepath=a%3Bb%5D.toml;linenumber=7;]is wrong"
    )


def test_elsewhere_nothing_is_shown() -> None:
    assert annotation(Problem("is wrong"), {}) == ""


@pytest.mark.parametrize(("service", "widest"), [(GITHUB, 120), (AZURE, 120), ({}, 80)])
def test_a_log_shows_lines_as_wide_as_they_need(
    monkeypatch: pytest.MonkeyPatch, service: dict[str, str], widest: int
) -> None:
    for name in ("COLUMNS", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in service.items():
        monkeypatch.setenv(name, value)
    written = io.StringIO()
    out = console(as_json=False)
    out.file = written  # no terminal, whatever the tests run in
    out.print("word " * 24)
    assert max(len(line) for line in written.getvalue().splitlines()) == widest
