"""Every check has a sentence that says what it proves, what breaks it and what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.checks.quality import QualityParams
from pipeline.contract.changes import PARTS
from pipeline.contract.result import Verdict
from pipeline.latency.timing import FIGURES
from pipeline.run.registry import check_types, load_check
from pipeline.verdicts.goals import Goal
from targets.cli.options import PROJECT
from targets.report.check_words import QUESTIONS, every_words, find_words
from targets.report.judged import answer_questions, judge
from targets.report.report_schema import CheckVerdict, PassReport
from tests.support.reports import ACCURACY, SLOW, make_report

CHECKS = PROJECT / "pipeline" / "checks"
_MAKERS = {
    "limit_verdict",
    "problem_verdict",
    "unverified",
    "unusable",
    "rotary_verdict",
    "Verdict",
}


def named(source: Path) -> Iterator[str]:
    """Yield the names of verdicts that stand in a module: what is handed to the functions that make
    verdicts, and to functions of its own that hand it on."""
    tree = ast.parse(source.read_text("utf-8"))
    constants: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            constants |= {
                one.id: str(node.value.value) for one in node.targets if isinstance(one, ast.Name)
            }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        if name not in _MAKERS | {"_judge"}:
            continue
        given = [one.value for one in node.keywords if one.arg == "name"] + node.args[:1]
        for one in given[:1]:
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                yield one.value
            elif isinstance(one, ast.Name) and one.id in constants:
                yield constants[one.id]


def sources(check: str) -> Iterator[Path]:
    """Yield the module of a check, and those of its package that it shares with others."""
    module = CHECKS / f"{check}.py"
    yield module
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline.checks._"):
            yield CHECKS / f"{str(node.module).rpartition('.')[2]}.py"


def every_name() -> Iterator[tuple[str, str]]:
    for check in check_types():
        for source in sources(check):
            yield from ((check, name) for name in named(source))
    yield from (("quantization", name) for name in ("run_share", "long_run_share"))
    yield from (("rebuild", f"same_{part}") for part in PARTS)
    yield from (("quality", name) for name in ("accuracy", "exact_match"))
    yield from (("quality", name) for name in ("valid_json", "pattern_matches"))
    for metric in ("accuracy", "exact_match", "macro_f1", "precision", "recall", "perplexity"):
        goal = Goal(metric=metric, min_improvement=0.1)
        assert QualityParams(goals=(goal,)).goals
        yield "quality", goal.name
    for limited in ("loss_to_float", "loss_to_base", "worst"):
        yield "lm_eval", f"{limited}_arc_easy.acc"
    for figure in FIGURES:
        yield "latency", f"{figure}_p99"
        yield "latency", f"{figure}_p50_vs_baseline"
    yield from ((check, "bytes_vs_baseline") for check in ("size", "memory"))


def test_every_name_of_a_verdict_is_seen() -> None:
    names = set(every_name())
    assert len(names) > 60
    for name in (
        ("graph", "packing"),
        ("quantization", "layer_scales"),
        ("quality", "paired_test"),
    ):
        assert name in names
    assert ("generation", "generates_on_provider") in names


def test_every_verdict_has_its_words() -> None:
    for check, name in sorted(set(every_name())):
        words = find_words(name, check)
        assert words is not None, (check, name)
        by_its_beginning = "_vs_" in name or check in ("latency", "lm_eval")
        assert words.name == name or by_its_beginning, (check, name)


def test_words_are_sentences() -> None:
    for words in every_words():
        for text in (words.proves, words.breaks, words.do):
            assert len(text.split()) > 1
            assert text.endswith(".")
            assert text[0].isupper() or text[0] == "`"


def test_no_words_are_of_nothing() -> None:
    seen = {find_words(name, check) for check, name in every_name()}
    left = {(words.check, words.name) for words in every_words() if words not in seen}
    assert left == {("any", "usable"), ("any", "known_build"), ("script", "*")}
    assert {words.question for words in every_words()} == set(QUESTIONS)


def test_words_name_keys_and_verdicts_that_there_are() -> None:
    names = {words.name for words in every_words()}
    for words in every_words():
        if words.check != "any":
            assert set(words.keys) <= set(load_check(words.check).Params.model_fields), words
        for text in (words.breaks, words.do):
            for sentence in text.split(". "):
                assert not sentence.startswith("As for"), words
                if sentence.startswith("Look at `"):
                    assert set(re.findall(r"`(\w+)`", sentence)) <= names | {"threads"}, words


def test_the_page_has_an_entry_for_each() -> None:
    page = (PROJECT / "docs" / "checks.md").read_text("utf-8")
    for words in every_words():
        assert words.proves in page
        assert words.do in page


def check_step(
    name: str, type_name: str = "", given: tuple[str, ...] = (), **params: object
) -> PassReport:
    return PassReport.model_validate(
        {
            "name": name,
            "kind": "check",
            "type": type_name or name,
            "key": name,
            "cached": True,
            "reason": "cached",
            "seconds": 1,
            "peak_rss_bytes": 1,
            "given": given,
            "params": params,
        }
    )


def test_each_verdict_answers_one_question_and_limits_of_the_config_are_known() -> None:
    bytes_of = [Verdict(name="bytes", status="passed", value=value) for value in (1, 2)]
    own = Verdict(name="mine.figure", status="passed", value=1)
    renamed = Verdict(name="slow.token_ms_p50", status="passed", value=1, unit="ms")
    report = make_report(ACCURACY, SLOW, *bytes_of, own, renamed)
    steps = (
        check_step("quality", given=("min_accuracy",)),
        check_step("latency"),
        check_step("memory"),
        check_step("size", given=("max_bytes",)),
        check_step("mine", "their_check"),
        check_step("slow", "latency", ("goals",), goals=[{"metric": "token_ms"}]),
    )
    judged = judge(report.model_copy(update={"passes": steps}))
    assert [(one.verdict.name, one.question, one.set_by_config) for one in judged] == [
        ("accuracy", "good", True),
        ("token_ms", "fast", False),
        ("bytes", "fast", False),
        ("bytes", "fast", True),
        ("mine.figure", "own", False),
        ("slow.token_ms_p50", "fast", True),
    ]
    answered = answer_questions(judged)
    assert [(one.question, one.holding, len(one.judged), one.status) for one in answered] == [
        ("as good?", 1, 1, "passed"),
        ("fast enough?", 3, 4, "failed"),
        ("your own checks?", 1, 1, "passed"),
    ]


def test_a_verdict_is_explained_by_the_check_that_gave_it() -> None:
    """Not by one before it that could have given one of that name, and did not."""
    only = CheckVerdict(name="bytes", status="passed", value=1, check="size")
    steps = (check_step("memory", given=("max_bytes",)), check_step("size"))
    (judged,) = judge(make_report(only).model_copy(update={"passes": steps}))
    assert judged.words is not None
    assert (judged.words.check, judged.set_by_config) == ("size", False)
