"""No table of any command loses a character: at 80 columns, at 40, through a pipe."""

from __future__ import annotations

import ast
import io
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from rich.console import Console
from rich.markup import escape

from pipeline.contract.result import Verdict
from targets.cli.commands import doctor, plan
from targets.cli.options import PROJECT
from targets.config.documents import read_documents
from targets.console.print_bench import print_bench
from targets.console.print_builds import print_builds, print_comparison
from targets.console.print_data import print_data
from targets.console.print_explanation import print_explanation
from targets.console.print_summary import print_summary
from targets.console.safe_console import SafeConsole
from targets.console.whole_table import WholeTable
from targets.doctor.finding import Finding
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.report.compare_reports import Difference
from targets.report.find_reports import FoundReport
from targets.report.seen_data import SeenData
from tests.support.bench_data import bench, target, whole_bench
from tests.support.compared_benches import compared
from tests.support.plans import step
from tests.support.reports import ACCURACY, SLOW, make_report
from tests.unit.pipeline.tuning.test_tune import told, tuned_report
from tests.unit.targets.console.test_print_data import LOOK, SAMPLES, VIEW

# Wide, combining and joined characters; names without a blank; what Rich takes for markup or emoji.
HARD = "日本語のとても長い名前" * 4 + "👩‍👩‍👧‍👦🇳🇴e\u0301" * 5 + "[red]:smile:[/x" + "x" * 130
NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
WIDTHS = (80, 40, 20)


def lost(show: Callable[[Console], None], width: int) -> Counter[str]:
    """Return the characters that are shown where there is room and not at ``width``."""

    def shown(width: int | None) -> Counter[str]:
        out = io.StringIO()
        show(SafeConsole(file=out, width=width, force_terminal=False, emoji=False))
        return Counter(sign for sign in out.getvalue() if not sign.isspace() and sign != "─")

    return shown(4000) - shown(width)


def hard_table(console: Console) -> None:
    table = WholeTable("a title " + HARD)
    table.column("name " + HARD)
    for title in ("measured", "limit", "why", "key"):
        table.column(title, justify="right", wrap=title == "why")
    table.row(escape(HARD), "1,234.5 ms", "≤ 20 ms", escape(HARD), "0123456789ab")
    table.row("", "", "", "short", "")
    console.print(table)


def summary(console: Console) -> None:
    hard = Verdict(name=HARD, status="failed", value=1, limit=2, relation="<=", detail=HARD)
    print_summary(console, make_report(ACCURACY, SLOW, hard), Path("dist") / HARD, 1.0)


def tuning(console: Console) -> None:
    print_summary(console, tuned_report(told()), Path("dist"), 1.0)


def data(console: Console) -> None:
    look = LOOK.model_copy(update={"labels": {HARD: dict.fromkeys(LOOK.rows, 12345)}})
    (sample,) = SAMPLES
    pieces = tuple(piece.model_copy(update={"text": HARD}) for piece in sample.pieces)
    samples = (sample.model_copy(update={"pieces": pieces, "place": "line 123 of file 45"}),)
    print_data(console, SeenData("small", HARD, look, view=VIEW, samples=samples))
    print_data(console, SeenData("small", HARD, look, unknown=HARD, samples=samples))


def planned(console: Console) -> None:
    one = PlannedStep(step(HARD, "pass", {}, None, type="lora"), None, f"changed: {HARD}")
    console.print(plan.table_of(BuildPlan("tone", "cpu", (one,), (), HARD)))


def diagnosis(console: Console) -> None:
    found = Finding("problem", "engine", HARD, HARD)
    doctor.show(console, (found, Finding("ok", HARD, HARD)), ("venv",), {})


def benched(console: Console) -> None:
    names = [target(target=f"{name}-{HARD[:12]}") for name in ("cpu", "cuda", "directml")]
    print_bench(console, whole_bench().model_copy(update={"targets": tuple(names)}), Path("x"))
    print_bench(console, compared(), Path("bench.html"))
    print_bench(console, bench(), Path("bench.html"))


def listed(console: Console) -> None:
    found = FoundReport(Path(HARD), make_report().model_copy(update={"build": HARD}), NOW)
    print_builds(console, [found, found])
    rows = [Difference(HARD, HARD, "1"), Difference("x", "", HARD)]
    print_comparison(console, [Path("a"), Path("dist") / HARD], [("what differs", rows)])


def explained(console: Console) -> None:
    file = PROJECT / "tests" / "olive" / "tutorial.json"
    ledger = read_documents(file, None)[0].ledger
    assert ledger is not None
    print_explanation(console, ledger)


SHOWN = (hard_table, summary, tuning, data, planned, diagnosis, benched, listed, explained)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("show", SHOWN)
def test_every_character_of_a_table_is_shown(show: Callable[[Console], None], width: int) -> None:
    assert lost(show, width) == Counter()


@pytest.mark.parametrize("width", [None, *WIDTHS])
def test_each_cell_can_be_read(width: int | None) -> None:
    cells = ["".join(map(chr, range(0x4E00 + at * 64, 0x4E00 + at * 64 + 60))) for at in range(3)]
    out = io.StringIO()
    table = WholeTable()
    for at in range(3):
        table.column(f"{at}", wrap=at > 0)
    table.row(*cells)
    SafeConsole(file=out, width=width).print(table)  # without a width: that of a pipe
    for cell in cells:
        assert "".join(sign for sign in out.getvalue() if sign in cell) == cell


def test_where_there_is_room_it_is_a_table() -> None:
    out = io.StringIO()
    table = WholeTable()
    table.column("name", wrap=False)
    table.column("why")
    table.row("lora", "the data changed " * 3)
    SafeConsole(file=out, width=40).print(table)
    assert [line.split() for line in out.getvalue().splitlines()[3:4]] == [
        ["lora", "the", "data", "changed", "the", "data"]
    ]


def test_nothing_becomes_an_emoji() -> None:
    out = io.StringIO()
    console = SafeConsole(file=out, width=80, emoji=False)
    table = WholeTable(":joy:")
    table.column(":joy:")
    table.row(":joy:")
    console.print(table)
    console.print(":joy:")
    assert out.getvalue().count(":joy:") == 4


def test_every_table_of_a_command_is_such_a_table() -> None:
    allowed = PROJECT / "targets" / "console" / "whole_table.py"
    others = [
        path
        for path in (PROJECT / "targets").rglob("*.py")
        if path != allowed
        and any(
            isinstance(node, ast.ImportFrom) and node.module in ("rich.table", "tabulate")
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
        )
    ]
    assert others == []
    users = {
        path.stem
        for path in (PROJECT / "targets").rglob("*.py")
        if path != allowed and "whole_table import" in path.read_text("utf-8")
    }
    shown = {"plan", "doctor", "print_bench", "print_data", "print_explanation", "print_summary"}
    assert users == shown | {"print_tuning", "print_builds", "jobs"}
