"""The page of a bench in a real browser: phone and desk, light and dark, printed, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from targets.bench.bench_html import to_html
from tests.support.browser import Browser
from tests.support.compared_benches import compared

PHONE, DESK = 390, 1280

# What reaches beyond its place, text too small to read, and colours as they are shown.
LAYOUT = """({
  width: innerWidth,
  page: document.documentElement.scrollWidth,
  beyond: [...document.querySelectorAll('main *')].filter(element =>
    !element.closest('.scroll') && !element.closest('svg') &&
    element.getBoundingClientRect().right > innerWidth + 1).map(element => element.outerHTML),
  loose: [...document.querySelectorAll('table')].filter(table => !table.closest('.scroll')).length,
  plots: document.querySelectorAll('figure svg').length,
  smallest: Math.min(...[...document.querySelectorAll('figure svg text')].map(
    text => text.getBoundingClientRect().height)),
  cut: [...document.querySelectorAll('figure svg')].flatMap(svg => {
    const box = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(text => {
      const own = text.getBoundingClientRect();
      return own.left < box.left - 2 || own.right > box.right + 2 ||
        own.top < box.top - 2 || own.bottom > box.bottom + 2;
    }).map(text => text.textContent);
  }),
  ink: getComputedStyle(document.querySelector('figure svg text')).fill,
  paper: getComputedStyle(document.body).backgroundColor,
  unknown: [...document.querySelectorAll('figure svg [style*="var("]')].filter(
    element => [...element.getAttribute('style').matchAll(/var\\((--[\\w-]+)\\)/g)].some(
      name => !getComputedStyle(element).getPropertyValue(name[1]))).length,
})"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bench") / "bench.html"
    file.write_text(to_html(compared()), encoding="utf-8")
    return file


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_and_reads_well(chromium: Browser, page: Path, width: int, dark: bool) -> None:
    found: dict[str, Any] = chromium.measure(page, LAYOUT, width, dark)
    assert found["width"] == width
    assert found["page"] <= width
    assert found["beyond"] == []
    assert found["loose"] == 0
    assert found["plots"] == 5
    assert found["smallest"] >= 8
    assert found["cut"] == []
    assert found["unknown"] == 0
    assert luminance(found["paper"]) < 0.1 if dark else luminance(found["paper"]) > 0.9
    assert contrast(found["ink"], found["paper"]) >= 7


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("dark", [False, True])
def test_page_is_drawn(
    chromium: Browser, page: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    image = tmp_path / "page.png"
    chromium.screenshot(page, image, width, 3000, dark)
    from matplotlib.image import imread

    pixels = imread(image)[..., :3]
    assert pixels.shape[1] == width
    assert (pixels.mean() < 0.3) if dark else (pixels.mean() > 0.8)
    # Every stretch of the page has something on it.
    for part in range(0, 3000, 500):
        assert pixels[part : part + 500].std() > 0.02


def test_page_asks_no_network(chromium: Browser, page: Path, tmp_path: Path) -> None:
    assert [one for one in chromium.fetched(page) if not of_the_browser(one)] == []
    asking = tmp_path / "asking.html"
    asking.write_text('<img src="http://pixel.example/x.png">')
    assert any("pixel.example" in one for one in chromium.fetched(asking))


def test_page_prints_in_ink_on_white(chromium: Browser, page: Path, tmp_path: Path) -> None:
    assert 1 <= chromium.print(page, tmp_path / "page.pdf") <= 12


def of_the_browser(address: str) -> bool:
    """Return whether Chromium asks that for itself, whatever page is open."""
    host = address.removeprefix("http://").partition("/")[0].partition(":")[0]
    return host.endswith(("google.com", "googleapis.com", "gstatic.com", "gvt1.com"))


def luminance(colour: str) -> float:
    """Return the relative luminance of ``rgb(r, g, b)``, as WCAG 2 defines it."""
    parts = colour[colour.index("(") + 1 : colour.index(")")].split(",")[:3]
    shares = [int(part) / 255 for part in parts]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, as WCAG 2 defines it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
