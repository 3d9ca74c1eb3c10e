"""The summary of a bench on the terminal: targets, changes, and the path of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from targets.bench import formatting
from targets.bench.bench_schema import Bench, Comparison, TargetBench
from targets.console.whole_table import WholeTable
from targets.figures import rate, size

_STYLES = {
    **dict.fromkeys(("passed", "faster", "better", "smaller", "less"), "green"),
    **dict.fromkeys(("failed", "slower", "worse", "larger", "more"), "red"),
    **dict.fromkeys(("unverified", "unsure"), "yellow"),
    "equal": "dim",
}


def print_bench(console: Console, bench: Bench, page: Path) -> None:
    """Show the figures of ``bench`` side by side, and the path of its page."""
    console.print()
    console.print(_sides(bench))
    for target in bench.targets:
        for item in target.unverified:
            console.print(
                f"[yellow]unverified[/]  {target.target}, {escape(item.what)}: {escape(item.why)}",
                highlight=False,
            )
    if bench.comparison is not None:
        _print_comparison(console, bench.comparison)
    console.print(f"machine  {escape(formatting.busy(bench.machine))}", highlight=False)
    console.print(f"page  {escape(str(page))}", highlight=False, soft_wrap=True)


def _sides(bench: Bench) -> WholeTable:
    table = WholeTable(caption=Text("in brackets: 95 % intervals"))
    table.column("", wrap=False)
    for target in bench.targets:
        table.column(target.target, justify="right")
    rows = [dict(_figures(target)) for target in bench.targets]
    for name in rows[0]:
        table.row(name, *(row[name] for row in rows))
    return table


def _figures(target: TargetBench) -> Iterator[tuple[str, str]]:
    yield "status", _styled(target.status)
    yield "quality", escape(formatting.quality_range(target))
    yield "as written", formatting.as_written(target) or "–"
    for name, words in (("first_token_ms", "first token"), ("token_ms", "each token")):
        statistics = formatting.statistics(target, name)
        yield (
            f"{words}, p50",
            escape(formatting.time_range(statistics.p50)) if statistics else "not timed",
        )
    speed = formatting.statistics(target, "tokens_per_second")
    yield "tokens/s", rate(speed.p50.value) if speed else "–"
    yield "peak memory", "–" if target.memory_bytes is None else size(target.memory_bytes)
    yield "size", size(target.bytes)


def _print_comparison(console: Console, comparison: Comparison) -> None:
    table = WholeTable(f"against {comparison.old}", padding=(0, 1, 0, 0))
    several = len(comparison.targets) > 1
    if several:
        table.column("target", wrap=False)
    table.column("figure")
    for column in ("then", "now", "change, 95 %"):
        table.column(column, justify="right", wrap=False)
    table.column("", wrap=False)
    for one in comparison.movements:
        sides = (formatting.value_of(one, value) for value in (one.old, one.new))
        change = escape(formatting.change_of(one))
        named = (one.target,) if several else ()
        table.row(*named, escape(one.what), *sides, change, _styled(one.word))
    console.print(table)
    for note in comparison.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    for target in comparison.targets:
        same = ", of the same bytes" if target.same_bytes else ""
        console.print(
            f"{target.target} is {_styled(target.word)}{same}: {target.summary}", highlight=False
        )


def _styled(word: str) -> str:
    return f"[{_STYLES[word]}]{word}[/]"
