"""The page of a report: its figures are right, and nothing of others is markup."""

from __future__ import annotations

import math
import random
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from pydantic import JsonValue

from pipeline.contract.file_digest import FileDigest
from pipeline.evaluation.scores import Answer, Answers, score
from targets.report.confusion import confusions
from targets.report.loss_curves import LossCurves
from targets.report.loss_plot import loss_plot
from targets.report.report_html import to_html
from targets.report.report_schema import CheckVerdict, PassReport, Report
from tests.support.reports import ACCURACY, SLOW, make_report

SCRIPT = "<script>alert(1)</script>"
BREAKOUT = '"><img src=x onerror=alert(1)>'
LABELS = ("joy", "fear", SCRIPT, "never chosen")


class Seen(HTMLParser):
    """What a browser would make of a page: its elements, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [str(value) for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def answers(seed: int = 7) -> Answers:
    chance = random.Random(seed)  # noqa: S311 - rows for a test
    rows = []
    for line in range(300):
        truth = chance.choice(LABELS)
        right = truth != LABELS[-1] and chance.random() < 0.7
        choice = truth if right else chance.choice(LABELS[:-1])
        rows.append(
            Answer(
                line=line,
                expected=truth,
                label=truth,
                greedy=choice if chance.random() < 0.8 else "no label",
                choice=choice,
                valid=True,
                ended=True,
                logprob=-1,
                tokens=1,
            )
        )
    rows = [row.model_copy(update={"valid": row.greedy != "no label"}) for row in rows]
    return Answers(
        labels=tuple(sorted(LABELS)), choices=True, answers=tuple(rows), max_new_tokens=9
    )


def full_report(found: Answers) -> Report:
    figures = score(found)
    report = make_report(ACCURACY, SLOW)
    hostile = CheckVerdict(name=f"own.{SCRIPT}", status="unverified", detail=BREAKOUT)
    own = PassReport(
        name="own",
        kind="check",
        type=f"own{SCRIPT}",
        key="k",
        cached=False,
        reason=BREAKOUT,
        seconds=1,
        peak_rss_bytes=1,
    )
    ours = [own.model_copy(update={"name": one, "type": one}) for one in ("quality", "latency")]
    curve: JsonValue = [[step, 3 * math.exp(-step / 20)] for step in range(1, 60)]
    trained = report.passes[0].model_copy(
        update={
            "name": f"lora{SCRIPT}",
            "bytes": 1_234_567,
            "metrics": {"train_loss_curve": curve, "validation_loss_curve": [[30, 1.0], [59, 0.4]]},
        }
    )
    wrong: JsonValue = [
        {
            "place": f"{SCRIPT}.jsonl:{line}",
            "asked": f"What is it? {BREAKOUT}",
            "expected": "joy",
            "greedy": SCRIPT,
            "choice": "fear",
        }
        for line in (3, 5)
    ]
    dumped = figures.model_dump(mode="json")
    return report.model_copy(
        update={
            "build": f"b{BREAKOUT}",
            "checks": (*report.checks, hostile),
            "passes": (trained, *ours, own),
            "quality": {
                **report.quality,
                "details": {"base": dumped, "tuned": dumped, "artifact": dumped},
                "wrong": wrong,
            },
            "files": (*report.files, FileDigest(path=SCRIPT, bytes=9_999_999, sha256="ab" * 32)),
        }
    )


def test_nothing_of_others_is_markup() -> None:
    page = to_html(full_report(answers()))
    seen = Seen(page)
    assert "script" not in seen.tags
    assert "img" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert "alert(1)" in seen.text
    assert seen.text.count(SCRIPT) >= 8, "labels, answers, names, files are there as text"
    assert len(seen.ids) == len(set(seen.ids))
    links = [value for name, value in seen.attributes if name == "href"]
    assert {str(link).removeprefix("#") for link in links} <= set(seen.ids)
    assert "http" not in " ".join(str(value) for _, value in seen.attributes)


def test_the_figures_of_each_label_are_those_of_a_plain_count() -> None:
    found = answers()
    quality: dict[str, JsonValue] = {"details": {"artifact": score(found).model_dump(mode="json")}}
    (matrix,) = confusions(quality, "cpu")
    shown = {one.label: one for one in matrix.scores()}
    assert set(shown) == set(LABELS)
    pairs = [(row.label, row.choice) for row in found.answers]
    for label, one in shown.items():
        both = sum(pair == (label, label) for pair in pairs)
        said = sum(choice == label for _, choice in pairs)
        true = sum(truth == label for truth, _ in pairs)
        assert one.rows == true
        assert one.recall == pytest.approx(both / true)
        if not said:
            assert one.precision is None
            assert one.f1 == 0
            continue
        precision, recall = both / said, both / true
        assert one.precision == pytest.approx(precision)
        assert one.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert shown["never chosen"].precision is None
    taken = matrix.mistakes()
    assert sum(one.count for one in taken) == sum(truth != choice for truth, choice in pairs)
    assert [one.count for one in taken] == sorted((one.count for one in taken), reverse=True)


def test_answers_as_written_are_counted_without_the_likeliest_label() -> None:
    found = answers()
    written = sum(row.greedy == row.label for row in found.answers) / len(found.answers)
    assert score(found).greedy == pytest.approx(written)
    assert score(found).value > written


def test_the_page_has_what_a_reader_looks_for() -> None:
    seen = Seen(to_html(full_report(answers())))
    for words in (
        "What failed, and the limits of the config",
        "Measure on a quiet machine. Then: fewer bits",
        "What was not verified",
        "accuracy of answers as written",
        "Each label, cpu artifact",
        "The first 2 of 36. Each with its line in the data.",
        f"{SCRIPT}.jsonl:5",
        "counts as fear",
        "The artifact, 14.2 MB",
        "1.2 MB",
        "What breaks it:",
    ):
        assert words in seen.text, words
    assert seen.tags.count("polyline") == 2


def test_of_many_labels_the_most_frequent_mistakes_are_listed() -> None:
    labels = [f"label {number}" for number in range(40)]
    table = {
        name: {other: 20 if name == other else int(at == 3) for at, other in enumerate(labels)}
        for name in labels
    }
    report = make_report(ACCURACY)
    quality = {**report.quality, "details": {"artifact": {"confusion": table}}}
    seen = Seen(to_html(report.model_copy(update={"quality": quality})))
    assert "most frequent mistakes among 40 labels" in seen.text
    assert "label 0 label 3 1" in seen.text


def drawn(curves: LossCurves) -> str:
    plot = loss_plot(curves, "x")
    assert plot is not None
    return str(plot)


def test_losses_are_on_a_logarithmic_axis() -> None:
    points = tuple((float(step), 8.0 / 2**step) for step in range(6))
    svg = drawn(LossCurves("lora", "k", points, ()))
    (line,) = re.findall(r'<polyline points="([^"]+)"', svg)
    places = [tuple(map(float, pair.split(","))) for pair in line.split()]
    for axis in (0, 1):
        steps = [later[axis] - before[axis] for before, later in pairwise(places)]
        assert steps == pytest.approx([steps[0]] * 5, abs=0.21), "half the loss, the same way down"
    ticks = [
        (float(text), float(y))
        for y, text in re.findall(r'y="([\d.]+)" text-anchor="end"[^>]*>([\d.]+)<', svg)
    ]
    assert len(ticks) >= 3
    (first, y_first), (last, y_last) = ticks[0], ticks[-1]
    scale = (y_last - y_first) / math.log(last / first)
    for loss, y in ticks:
        assert y - y_first == pytest.approx(scale * math.log(loss / first), abs=0.3)
    # A point of the curve and a tick of the same loss are at the same height (text stands lower).
    assert dict(ticks)[1.0] - 4 == pytest.approx(places[3][1], abs=0.2)
    assert ">0<" in svg, "steps begin at zero"


@pytest.mark.parametrize("points", [(), ((1.0, math.nan),), ((1.0, 0.0), (2.0, -1.0))])
def test_what_has_no_logarithm_is_not_drawn(points: tuple[tuple[float, float], ...]) -> None:
    assert loss_plot(LossCurves("lora", "k", points, ()), "x") is None


@pytest.mark.parametrize("losses", [(1.0,), (2.0, 2.0), (1e-9, 3e4), (0.5012, 0.5011)])
def test_any_losses_can_be_drawn(losses: tuple[float, ...]) -> None:
    points = tuple((float(at), loss) for at, loss in enumerate(losses, 1))
    svg = drawn(LossCurves("lora", "k", (), points))
    ticks = re.findall(r'text-anchor="end"[^>]*>[\d.e+-]+<', svg)
    assert 2 <= len(ticks) <= 8
    assert "nan" not in svg
