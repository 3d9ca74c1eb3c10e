"""What a bench shows on the screen, within 80 columns."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from targets.bench.bench_schema import Bench
from targets.console.print_bench import print_bench
from tests.support.bench_data import bench, whole_bench
from tests.support.compared_benches import HOSTILE, compared, hostile


def shown(found: Bench) -> str:
    out = io.StringIO()
    print_bench(Console(file=out, width=80), found, Path("dist/tone/bench/bench.html"))
    return out.getvalue()


def test_targets_are_side_by_side_and_the_page_is_named() -> None:
    text = shown(whole_bench())
    assert ["status", "passed", "unverified", "passed"] in map(str.split, text.splitlines())
    assert "not timed" in text
    assert "unverified  cuda, latency, here: there is no NVIDIA GPU" in text
    assert text.splitlines()[-1] == "page  dist/tone/bench/bench.html"


def test_what_moved_has_one_line_per_figure() -> None:
    lines = shown(compared()).splitlines()
    assert any("each token, 2112 tokens" in line and "slower" in line for line in lines)
    assert any(line.startswith("cpu is slower") for line in lines)
    assert max(map(len, lines)) <= 80


def test_names_are_no_markup() -> None:
    assert HOSTILE.split(">")[0] in shown(hostile()).replace("\n", "")
    assert "What changed" not in shown(bench())
