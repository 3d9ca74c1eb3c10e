"""The page and the text of a bench: whole, self-contained, and safe whatever names are in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from targets.bench.baseline import EarlierArtifact
from targets.bench.bench_html import confusions_of, to_html
from targets.bench.bench_markdown import to_markdown
from targets.bench.bench_schema import Bench, Range
from targets.bench.compare_benches import compare
from targets.bench.formatting import change_of, headline, time_range
from targets.bench.write_bench import write_bench
from targets.figures import milliseconds
from tests.support.bench_data import bench, measured, measurement, target, whole_bench
from tests.support.compared_benches import HOSTILE, compared, hostile

if TYPE_CHECKING:
    from targets.bench.plots import Plot

EARLIER = EarlierArtifact(None, "in the cache")


class Page(HTMLParser):
    """Everything of a page that could fetch or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


@pytest.fixture(scope="module")
def text() -> str:
    """Return the page of a bench with an earlier one."""
    return to_html(compared())


def plots_of(found: Bench) -> Mapping[str, Plot]:
    from targets.bench.plots import plots_of as drawn

    return drawn(found)


def test_page_refers_to_nothing_and_runs_nothing(text: str) -> None:
    page = Page(text)
    assert "script" not in page.tags
    assert {"iframe", "link", "object", "embed", "form", "base"}.isdisjoint(page.tags)
    assert page.handlers == []
    assert all(link.startswith("#") for link in page.links)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "default-src 'none'" in text


def test_ids_are_unique_and_colours_are_the_pages(text: str) -> None:
    ids = Page(text).ids
    assert len(ids) == len(set(ids))
    drawings = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "var(--series-1)" in drawings
    assert "var(--ink)" in drawings
    assert re.findall(r"#[0-9a-fA-F]{6}", drawings.replace("href", "")) == []
    assert "<style" not in drawings
    assert "DejaVu" not in drawings


def test_page_says_all_that_there_is(text: str) -> None:
    for part in (
        "What changed",
        "Targets side by side",
        "Quality, latency, size",
        "Time to first token",
        "Time of each further token",
        "Loss of lora",
        "confusion",
        "there is no NVIDIA GPU here",
        "DirectML runs on Windows only",
        "AMD EPYC 7B13",
        "slower",
        "2112 tokens",
        "answers against the float export",
        "3 won, 4 lost (p 1)",
    ):
        assert part in text


def test_plots_have_title_and_description() -> None:
    plots = plots_of(compared())
    assert list(plots) == [
        "pareto",
        "latency-first_token_ms",
        "latency-token_ms",
        "loss-lora",
        "changes",
    ]
    for plot in plots.values():
        assert 'role="img"' in plot.svg
        title, said = re.search(
            r"<title[^>]*>(.*?)</title><desc[^>]*>(.*?)</desc>", plot.svg
        ).groups()  # type: ignore[union-attr]
        assert title == plot.title
        assert len(said) > 20
    assert "cuda: 93.5 %, not timed, 3.0 MB" in plots["pareto"].svg


def test_the_same_bench_gives_the_same_page() -> None:
    assert to_html(whole_bench()) == to_html(whole_bench())


def test_names_are_text_and_no_markup() -> None:
    page = Page(to_html(hostile()))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert all(link.startswith("#") for link in page.links)
    text = to_markdown(hostile())
    assert "<script" not in text.replace("\\<", "")
    assert HOSTILE not in text


@pytest.mark.parametrize(
    "found",
    [
        bench(target()),
        bench(target(quality={})),
        bench(target(quality={}, checks=(), answers=()), training=()),
        bench(target(measurements=[measurement(measured(1, rounds=1))])),
        bench(target("cuda", bytes=1), target("cpu", [measurement(measured(1))])),
    ],
)
def test_a_bench_that_lacks_something_is_shown_too(found: Bench) -> None:
    assert "Targets side by side" in to_html(found)
    assert "## Targets side by side" in to_markdown(found)


def test_confusion_of_the_merged_model_comes_once() -> None:
    whose = [matrix.whose for matrix in confusions_of(whole_bench())]
    assert whose == ["fine-tuned model", "cpu artifact", "cuda artifact", "directml artifact"]
    matrix = confusions_of(whole_bench())[0]
    assert matrix.share("joy", "joy") == pytest.approx(126 / 135)


def test_markdown_has_the_figures() -> None:
    text = to_markdown(compared())
    assert "| size | 4.7 MB | 3.0 MB | 3.0 MB |" in text
    assert "| status | passed | unverified | passed |" in text
    assert "- cuda, latency, here: there is no NVIDIA GPU here" in text
    assert "cpu is **slower**" in text
    assert "not timed" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(row.endswith("|") for row in rows)


def test_headline_names_what_is_lacking() -> None:
    said = headline(compared())
    assert "Not timed: cuda." in said
    assert "Not all is verified of cuda." in said
    assert "Against old.json, cpu is slower." in said


def test_figures_have_three_digits() -> None:
    assert [milliseconds(value) for value in (0.03, 1.668, 107.2, 1420.0)] == [
        "0.0300 ms",
        "1.67 ms",
        "107 ms",
        "1.42 s",
    ]
    assert time_range(Range(value=0.21, low=0.2, high=0.22)) == "0.210 ms [0.200, 0.220]"
    assert time_range(Range(value=1500, low=1400, high=1600)) == "1.50 s [1.40, 1.60]"
    assert time_range(Range(value=0.21)) == "0.210 ms"


def test_no_figure_is_in_powers_of_ten() -> None:
    assert [milliseconds(value) for value in (999.4, 999.6, 2110.0, 2.11e6)] == [
        "999 ms",
        "1.00 s",
        "2.11 s",
        "2,110 s",
    ]
    assert time_range(Range(value=900, low=700, high=1210.4)) == "900 ms [700, 1,210]"
    assert time_range(Range(value=999.7, low=700, high=1210.4)) == "1.00 s [0.700, 1.21]"
    assert "e+" not in to_html(bench(target(measurements=[measurement(measured(1, slower=900))])))


def test_one_target_alone_has_no_pareto_front() -> None:
    alone = bench(target())
    assert "pareto" not in plots_of(alone)
    assert "Quality, latency, size" not in to_html(alone)


def test_what_did_not_change_has_its_tick() -> None:
    for factor in (1.03, 1.2, 1.9):
        ours = measurement(measured(1, slower=factor), measured(2))
        new = bench(target(measurements=[ours]))
        moved = compare(new, bench(), "old.json", {"cpu": EARLIER}, 0.03)
        svg = plots_of(new.model_copy(update={"comparison": moved}))["changes"].svg
        ticks = re.findall(r">([+-]?[\d.]+ %)<", svg)
        assert ticks.count("0 %") == 1, ticks
        assert len(ticks) >= 3


def test_the_headline_is_unsure_where_most_figures_are() -> None:
    found = compared()
    assert found.comparison is not None
    (one,) = found.comparison.targets
    unsure = one.model_copy(update={"word": "unsure"})
    comparison = found.comparison.model_copy(update={"targets": (unsure,)})
    said = headline(found.model_copy(update={"comparison": comparison}))
    assert "Against old.json, it is unsure whether cpu is faster or slower." in said


def test_changes_are_said_with_their_interval() -> None:
    assert compared().comparison is not None
    by_kind = {one.kind: one for one in compared().comparison.movements}  # type: ignore[union-attr]
    assert re.fullmatch(r"\+[\d.]+ % \[[+-][\d.]+, [+-][\d.]+\]", change_of(by_kind["latency"]))
    assert change_of(by_kind["quality"]).startswith("+0.0 points [")
    assert change_of(by_kind["size"]) == "+0.0 %"


def test_all_three_files_are_replaced_together(tmp_path: Path) -> None:
    folder = write_bench(tmp_path, bench())
    assert {path.name for path in folder.iterdir()} == {"bench.json", "bench.md", "bench.html"}
    (folder / "left-over").write_text("x")
    assert write_bench(tmp_path, whole_bench()) == folder
    assert {path.name for path in folder.iterdir()} == {"bench.json", "bench.md", "bench.html"}
    assert {path.name for path in folder.parent.iterdir()} == {"bench", ".bench.lock"}


def test_what_cannot_be_drawn_leaves_the_earlier_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bench(tmp_path, bench())
    before = (folder / "bench.json").read_bytes()

    def broken(_bench: Bench) -> str:
        raise RuntimeError

    monkeypatch.setattr("targets.bench.write_bench.to_html", broken)
    with pytest.raises(RuntimeError):
        write_bench(tmp_path, whole_bench())
    assert (folder / "bench.json").read_bytes() == before
