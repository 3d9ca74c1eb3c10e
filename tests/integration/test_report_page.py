"""The page of a report in a real browser: phone and desk, light and dark, printed, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from targets.report.report_html import to_html
from targets.report.report_schema import Report
from tests.integration.test_bench_page import contrast, luminance, of_the_browser
from tests.support.browser import Browser
from tests.unit.targets.console.test_print_data import VIEW, with_view
from tests.unit.targets.report.test_report_page import answers, full_report

PHONE, DESK = 360, 1280

# What reaches beyond its place, and colours as they are shown.
LAYOUT = """({
  page: document.documentElement.scrollWidth,
  beyond: [...document.querySelectorAll('main *')].filter(element =>
    !element.closest('.scroll') &&
    element.getBoundingClientRect().right > innerWidth + 1).map(element => element.outerHTML),
  smallest: Math.min(...[...document.querySelectorAll('figure svg text')].map(
    text => text.getBoundingClientRect().height)),
  scripts: document.scripts.length + document.images.length,
  loose: [...document.querySelectorAll('table')].filter(table => !table.closest('.scroll')).length,
  rows: [...document.querySelectorAll('pre')].map(row => row.innerText),
  learnt: getComputedStyle(document.querySelector('pre mark')).color,
  behind: getComputedStyle(document.querySelector('pre mark')).backgroundColor,
  paper: getComputedStyle(document.body).backgroundColor,
})"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(to_html(whole_report()), encoding="utf-8")
    return file


def whole_report() -> Report:
    """Return a report with something in every section; much of it is hostile."""
    report, viewed = full_report(answers()), with_view(VIEW)
    return report.model_copy(update={"passes": (*report.passes, *viewed.passes)})


@pytest.mark.parametrize(("width", "dark"), [(PHONE, False), (PHONE, True), (DESK, True)])
def test_page_fits_and_shows_what_is_learnt(
    chromium: Browser, page: Path, width: int, dark: bool
) -> None:
    found: dict[str, Any] = chromium.measure(page, LAYOUT, width, dark)
    assert found["page"] <= width
    assert found["beyond"] == []
    assert found["loose"] == 0
    assert found["smallest"] >= 8
    assert found["scripts"] == 1, "the one that measures"
    (row,) = found["rows"]
    assert row.count("word") == 40
    assert row.endswith("<|assistant|>\n[red]joy\\x1b[2J<|end|>")
    assert contrast(found["learnt"], found["behind"]) >= 4.5
    assert luminance(found["paper"]) < 0.1 if dark else luminance(found["paper"]) > 0.9


def test_page_asks_no_network_and_prints(chromium: Browser, page: Path, tmp_path: Path) -> None:
    assert [one for one in chromium.fetched(page) if not of_the_browser(one)] == []
    assert 1 <= chromium.print(page, tmp_path / "page.pdf") <= 9
