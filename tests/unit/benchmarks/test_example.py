"""What the benchmark of the shipped example says of builds, and the picture that it draws."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from pipeline.contract.result import Verdict
from tests.benchmarks.example import draw, rows
from tests.support.reports import ACCURACY, SLOW, make_report

PROOF = Verdict(name="packing", status="passed", value=0, unit="problems")
ABSENT = Verdict(name="nodes_off_provider", status="unverified", unit="nodes", detail="no GPU")


def test_each_figure_is_said_once() -> None:
    cpu = make_report(ACCURACY, SLOW, PROOF)
    cuda = make_report(ACCURACY, ABSENT).model_copy(update={"target": "cuda"})
    assert [str(row) for row in rows([cpu, cuda])] == [
        "| accuracy of the base model | 25.0 % | – |  |",
        "| accuracy of the fine-tuned model | 95.0 % | – |  |",
        "| cpu: `accuracy` | 93.4 % | ≥ 90.0 % | yes |",
        "| cpu: size of the artifact | 4.2 MB | – |  |",
        "| cpu: step `lora`: time, peak memory | 1 min 01 s, 1.2 GB | – |  |",
        "| cuda: `accuracy` | 93.4 % | ≥ 90.0 % | yes |",
        "| cuda: `nodes_off_provider` | – | – |  |",
        "| cuda: size of the artifact | 4.2 MB | – |  |",
    ]


def test_the_picture_is_always_the_same_and_says_where_it_is_from(tmp_path: Path) -> None:
    drawn = []
    for name in ("one.svg", "other.svg"):
        draw(make_report(ACCURACY, SLOW), tmp_path / name, "Measured by `x -- --y <z>`.", 1.0)
        drawn.append((tmp_path / name).read_text("utf-8"))
    assert drawn[0] == drawn[1]
    described = ElementTree.fromstring(drawn[0]).findtext("{*}desc")  # noqa: S314 - our own
    assert described == "Measured by `x -- --y <z>`."
    assert "31.25" in drawn[0]
