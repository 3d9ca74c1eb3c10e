"""What grows is drawn as it is, and the table says whether it grows in proportion."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks import growth
from tests.benchmarks.growth import Asked, Part
from tests.benchmarks.growth_plot import Point, drawing

LINEAR = [Point("linear", 10.0**power, 10.0 ** (power - 3), 1e8) for power in range(3, 7)]
SQUARE = [Point("square", 10.0**power, 10.0 ** (2 * power - 8), 1e8) for power in range(3, 7)]


def test_lines_are_as_steep_as_the_growth_and_the_picture_stands_alone() -> None:
    picture = drawing([*LINEAR, *SQUARE], "Rows: time and memory", "rows")
    root = ElementTree.fromstring(picture)  # noqa: S314 - drawn just now
    defined = set(re.findall(r"(--[\w-]+):", root[0].text or ""))
    assert set(re.findall(r"var\((--[\w-]+)\)", picture)) <= defined
    paths = re.findall(r'<path d="(M [^"]+)"[^>]*stroke: var\(--series-([12])\)', picture)
    steep = {}
    for path, number in paths:
        places = [tuple(map(float, pair)) for pair in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]
        if len(places) == 4 and number not in steep:
            (x1, y1), (x2, y2) = places[0], places[-1]
            steep[number] = (y1 - y2) / (x2 - x1)
    assert steep["2"] / steep["1"] == pytest.approx(2, rel=0.01)


def test_the_last_column_is_one_where_time_grows_in_proportion() -> None:
    assert growth._row(LINEAR[-1], LINEAR[0]).endswith("| 1.00 |")
    assert growth._row(SQUARE[1], SQUARE[0]).endswith("| 10.00 |")


def test_a_part_is_a_section_and_a_picture_beside_the_page(tmp_path: Path) -> None:
    asked = Asked(tmp_path, tmp_path, (), (), ())
    part = Part("Rows", "rows", "As measured.", lambda _: iter(LINEAR))
    page = tmp_path / "page.md"
    growth._measure("rows", part, asked, page, "Measured just now.")
    text = page.read_text("utf-8")
    assert "![Rows: time and memory](page-rows.svg)" in text
    assert "| linear | 1,000,000 | 1000.00 s | 100 MB | 1.00 |" in text
    assert "linear: 1.0 s and 100 MB at 1k" in (tmp_path / "page-rows.svg").read_text("utf-8")
