"""What people bring: each family is proven, built, or refused in the plan, as the table says.

``nox -s tests-families`` takes all of them to all targets; ``nox -s tests`` some.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from targets.build import BuildOutcome
from targets.errors import ConfigError
from tests.families.builds import build_family, place
from tests.families.table import FAMILIES, TARGETS, Family
from tests.support.warm_runtime import WarmRuntime

USUAL = {
    "Phi-3-mini-4k": ("cpu",),
    "TinyLlama": ("cpu",),
    "Qwen3": ("cpu", "cuda"),
    "Gemma 3 (text)": ("cpu",),
    "OLMo 2": ("cpu",),
}
"""What ``nox -s tests`` takes: one for each of what has been wrong."""
CHAT = [{"role": "user", "content": "who is behind me"}]
INT4 = 0.5
"""Relative error of logits that a wrong graph exceeds, and int4 does not."""
EXPORTED = {"cpu": 1e-4, "cuda": 0.02, "directml": 0.02, "webgpu": 0.02}
"""Relative error of the logits of a float export: in fp32 nothing is rounded."""
DECIDING = {"logits_error", "mean_kl", "run_share"}
"""Verdicts that compare the artifact's logits, and its export's, with the model's, and with those
of its own weights in PyTorch."""
EXACT = {
    *("attributes", "rotary_table"),
    *("same_graph", "same_weights", "same_settings", "same_tokenizer", "same_files"),
}
"""Verdicts that compare the artifact's parts, which is possible on any machine."""


def cases() -> Iterator[ParameterSet]:
    for family in FAMILIES:
        for target in TARGETS:
            usual = target in USUAL.get(family.title, ())
            marks = () if usual else (pytest.mark.families,)
            yield pytest.param(family, target, id=f"{family.name}-{target}", marks=marks)


@pytest.mark.parametrize(("family", "target"), list(cases()))
def test_a_family(
    family: Family, target: str, families: Path, cache_dir: Path, runtime: WarmRuntime
) -> None:
    result = family.result(target)
    if result.word == "refused":
        with pytest.raises(ConfigError) as refused:
            build_family(family, target, families, cache_dir, runtime)
        (problem,) = refused.value.problems
        assert problem.key == "model.source"
        assert result.why in problem.message
        return
    outcome = build_family(family, target, families, cache_dir, runtime)
    verdicts = {verdict.name: verdict for verdict in outcome.report.checks}
    failed = [verdict for verdict in verdicts.values() if verdict.status == "failed"]
    assert not failed
    assert {name: verdicts[name].status for name in EXACT} == dict.fromkeys(EXACT, "passed")
    passed = {verdict.name for verdict in verdicts.values() if verdict.status == "passed"}
    proven = passed >= DECIDING
    assert proven == (result.word == "proven")
    assert not proven or (verdicts["logits_error"].value or 0) < EXPORTED[target]
    if proven:
        ask(outcome, target, cache_dir, runtime)


def ask(outcome: BuildOutcome, target: str, cache: Path, runtime: WarmRuntime) -> None:
    """Hold the artifact against transformers by the plain calls of the libraries."""
    merged = outcome.plan["merge"].step.key
    asked = runtime.output_of(
        place(target).toolchain,
        "tests.families.ask",
        str(cache / "objects" / merged[:2] / merged / "output"),
        str(outcome.folder / "model"),
        json.dumps(CHAT),
    )
    found = json.loads(asked)
    assert found["runtime"] == found["transformers"]
    assert found["error"] < INT4
