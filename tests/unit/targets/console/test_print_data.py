"""The data set on 80 columns and in the report: nothing is lost, nothing is markup."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from pipeline.data.look import Finding, Lengths, Look
from pipeline.data.trained_view import Piece, Sample, TrainedView
from targets.console.print_data import print_data
from targets.report.report_markdown import to_markdown
from targets.report.seen_data import SeenData
from tests.support.reports import make_report

LONG = "word " * 40 + "end"
LOOK = Look(
    rows={"training": 30, "validation": 3, "held-out": 8},
    labels={
        "[red]joy": {"training": 20, "validation": 2, "held-out": 4},
        "fear": {"training": 10, "validation": 1, "held-out": 4},
    },
    characters={"training": Lengths(rows=30, p50=101, p90=102, p99=103, longest=104)},
    findings=(
        Finding(message="rows repeat others: line 5, line 6", count=2, warns=False),
        Finding(message="row has its label, and no other, in its own prompt: line 9", count=1),
    ),
    notes=("rows.tsv: read with cells between tabs, quotes are text: a reason",),
)
SAMPLES = (
    Sample(
        place="line 1",
        pieces=(
            Piece(text=f"<|user|>\n{LONG}<|end|>\n<|assistant|>\n", learnt=False),
            Piece(text="[red]joy\x1b[2J<|end|>", learnt=True),
        ),
    ),
)
VIEW = TrainedView(
    look=LOOK,
    lengths={"training": Lengths(rows=30, p50=41, p90=57, p99=912, longest=2345)},
    max_length=1024,
    context=4096,
    samples=SAMPLES,
)


def shown(view: TrainedView | None) -> str:
    stream = StringIO()
    console = Console(file=stream, width=80, force_terminal=False)
    print_data(console, SeenData("small", "tone", LOOK, view=view, samples=SAMPLES))
    return stream.getvalue()


def test_eighty_columns_hold_everything() -> None:
    text = shown(VIEW)
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    flat = " ".join(text.split())
    for expected in (
        "data set tone: rows",
        "all 30 3 8",
        "[red]joy 20 2 4",
        "fear 10 1 4",
        "quotes are text: a reason",
        " 2 rows repeat others: line 5, line 6",
        "warning: 1 row has its label",
        "tokens of a row (max_length 1024, context 4096)",
        "training 41 57 912 2345",
        "line 1 given <|user|>\\n",
        "learnt [red]joy\\x1b[2J<|end|>",
    ):
        assert expected in flat, expected
    assert flat.count("word") == 40
    assert "warning: 2 rows" not in flat


def test_without_a_training_step_it_says_what_is_not_known() -> None:
    text = " ".join(shown(None).split())
    assert "characters of a row part p50 p90 p99 longest" in text
    assert "training 101 102 103 104" in text
    assert "once a training step has run" in text
    assert "examples, before rendering" in text


def test_rows_that_cannot_be_seen() -> None:
    stream = StringIO()
    unseen = SeenData("small", "to[n]e", None, "a step makes its rows")
    print_data(Console(file=stream, width=80), unseen)
    assert stream.getvalue() == "data set to[n]e: a step makes its rows\n"


def test_the_report_has_it_too() -> None:
    report = make_report()
    (step,) = report.passes
    metrics = {"data": VIEW.model_dump(mode="json")}
    text = to_markdown(
        report.model_copy(update={"passes": (step.model_copy(update={"metrics": metrics}),)})
    )
    for expected in (
        "## Data of lora\n",
        "| label | training | validation | held-out |\n",
        "| --- | --- | --- | --- |\n| all | 30 | 3 | 8 |\n",
        "| \\[red]joy | 20 | 2 | 4 |\n| fear | 10 | 1 | 4 |\n",
        "| training | 41 | 57 | 912 | 2345 |\n",
        "`max_length` is 1024, the model's context 4096.\n",
        "- rows.tsv: read with cells between tabs",
        "- 2 rows repeat others",
        "- **warning:** 1 row has its label",
        "| line 1 | given | \\<|user".replace("|user", "\\|user"),
        "|  | **learnt** | \\[red]joy\\\\x1b\\[2J\\<\\|end\\|> |\n",
    ):
        assert expected in text, expected
    assert "## Data" not in to_markdown(make_report())
