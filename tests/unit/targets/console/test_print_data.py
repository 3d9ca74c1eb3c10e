"""The data set on 80 columns and in the report: nothing is lost, nothing is markup."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from pipeline.data.findings import Finding, Lengths, Look
from pipeline.data.trained_view import Piece, Sample, TrainedView
from targets.console.print_data import print_data
from targets.errors import InputRefused
from targets.report.report_html import to_html
from targets.report.report_markdown import to_markdown
from targets.report.report_schema import Report
from targets.report.seen_data import SeenData
from tests.support.reports import ACCURACY, SLOW, make_report

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
    unknown = "" if view else "the step pretrain has to run first"
    print_data(
        console, SeenData("small", "tone", LOOK, view=view, unknown=unknown, samples=SAMPLES)
    )
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
    assert "are not known yet: the step pretrain has to run first." in text
    assert "examples, before rendering" in text


def test_rows_that_a_training_would_refuse() -> None:
    stream = StringIO()
    refused = InputRefused("lora: line 7 holds '<[end]>'")
    seen = SeenData("small", "tone", LOOK, refused=refused, samples=SAMPLES)
    print_data(Console(file=stream, width=80), seen)
    text = " ".join(stream.getvalue().split())
    assert "are not known: training would refuse these rows." in text


def test_of_many_rows_it_says_how_many_were_counted() -> None:
    text = " ".join(shown(VIEW.model_copy(update={"every": 4})).split())
    assert "(max_length 1024, context 4096; one row of 4 was counted)" in text


def test_rows_that_cannot_be_seen() -> None:
    stream = StringIO()
    unseen = SeenData("small", "to[n]e", None, "a step makes its rows")
    print_data(Console(file=stream, width=80), unseen)
    assert stream.getvalue() == "data set to[n]e: a step makes its rows\n"


def test_the_report_has_it_too() -> None:
    text = to_markdown(with_view(VIEW))
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


def test_the_page_of_the_report_has_it_too() -> None:
    text = to_html(with_view(VIEW))
    for expected in (
        "<h2>Data of lora</h2>",
        '<th scope="row">all</th><td class="n">30</td><td class="n">3</td><td class="n">8</td>',
        '<th scope="row">[red]joy</th><td class="n">20</td>',
        "max_length 1024, the model\u2019s context 4096",
        '<td class="n">41</td><td class="n">57</td><td class="n">912</td><td class="n">2345</td>',
        '<span class="word unsure">warning</span> 1 row has its label',
        "<li>2 rows repeat others",
        "&lt;|assistant|&gt;\n<mark>[red]joy\\x1b[2J&lt;|end|&gt;</mark></pre>",
    ):
        assert expected in text, expected
    assert "default-src 'none'" in text
    assert "Data of" not in to_html(make_report())


def test_the_page_of_the_report_runs_nothing_of_a_row() -> None:
    piece = Piece(text="</pre><script>alert(1)</script><img src=x>", learnt=True)
    (sample,) = SAMPLES
    view = VIEW.model_copy(update={"samples": (sample.model_copy(update={"pieces": (piece,)}),)})
    text = to_html(with_view(view))
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)" in text


def with_view(view: TrainedView) -> Report:
    """Return a report whose training showed ``view``."""
    report = make_report(ACCURACY, SLOW)
    (step,) = report.passes
    metrics = {"data": view.model_dump(mode="json")}
    return report.model_copy(update={"passes": (step.model_copy(update={"metrics": metrics}),)})
