"""Answers that ``constrain`` holds: each has its form, whatever the model would say freely."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import tomli

from targets.build import BuildOutcome
from targets.errors import PassFailed
from tests.support.held_builds import LABELS, HeldBuilds

PATTERN = r"[A-Z]{2}-\d{3}(?:/[^\W\d]{1,4})?"
SCHEMA = """
[data.tone.constrain]
type = "object"
required = ["tone", "sure"]
additionalProperties = false

[data.tone.constrain.properties]
sure = { type = "boolean" }
tone = { enum = ["café crème", 'a "b"', "+"] }
"""


@pytest.fixture(scope="module")
def free(held_builds: HeldBuilds) -> BuildOutcome:
    return held_builds.build("")


def answers(outcome: BuildOutcome) -> tuple[list[str], list[str]]:
    """Return the answers that were held in the check of quality, and in that of generation."""
    quality, generation = outcome.results["quality"], outcome.results["generation"]
    return (
        [str(row["constrained"]) for row in rows_of(quality.evidence)],
        [str(row["text"]) for row in rows_of(generation.evidence)],
    )


def rows_of(evidence: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = evidence["answers"]
    assert len(rows) == 24
    return rows


def verdicts(outcome: BuildOutcome) -> dict[str, str]:
    return {verdict.name: verdict.status for verdict in outcome.report.checks}


def test_labels(held_builds: HeldBuilds, free: BuildOutcome) -> None:
    held = held_builds.build("constrain = true")
    for texts in answers(held):
        assert set(texts) <= set(LABELS)
    of_free, of_held = free.report.quality, held.report.quality
    constrained = of_held.pop("constrained")
    assert isinstance(constrained, dict)
    assert (constrained["held"], constrained["valid"]) == (1.0, 1.0)
    rows = rows_of(held.results["quality"].evidence)
    right = sum(row["constrained"] == row["expected"] for row in rows)
    assert constrained["value"] == constrained["exact"] == right / 24
    assert of_held == of_free
    details = free.report.model_dump()["quality"]["details"]
    assert details["artifact"]["valid"] == 0
    assert verdicts(free)["valid_answers"] == "failed"
    assert "valid_answers" not in verdicts(held)
    assert verdicts(held)["constrained_answers"] == verdicts(held)["answers_end"] == "passed"
    again = {step.name for step in held.report.passes if not step.cached}
    assert again == {"quality", "generation"}


@pytest.mark.usefixtures("free")
def test_a_pattern(held_builds: HeldBuilds) -> None:
    held = held_builds.build(f"constrain = '{PATTERN}'")
    for texts in answers(held):
        assert all(re.fullmatch(PATTERN, text) for text in texts)
    assert verdicts(held)["constrained_answers"] == "passed"


@pytest.mark.usefixtures("free")
def test_a_schema(held_builds: HeldBuilds) -> None:
    held = held_builds.build(SCHEMA)
    schema = tomli.loads(SCHEMA)["data"]["tone"]["constrain"]
    for texts in answers(held):
        for text in texts:
            jsonschema.validate(json.loads(text), schema)
            assert text == json.dumps(json.loads(text), ensure_ascii=False)
    assert verdicts(held)["constrained_answers"] == "passed"


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize("constrain", ["constrain = true", f"constrain = '{PATTERN}'", SCHEMA])
def test_an_answer_of_try(held_builds: HeldBuilds, constrain: str) -> None:
    said = held_builds.ask("what a bright morning", constrain)
    if "true" in constrain:
        assert said in LABELS
    elif constrain is SCHEMA:
        schema = tomli.loads(SCHEMA)["data"]["tone"]["constrain"]
        jsonschema.validate(json.loads(said), schema)
    else:
        assert re.fullmatch(PATTERN, said)
    assert held_builds.ask("what a bright morning", "") == "joy"


def test_a_schema_that_the_runtime_does_not_know(held_builds: HeldBuilds) -> None:
    with pytest.raises(PassFailed, match=r"constrain: the runtime cannot hold .*Invalid type"):
        held_builds.build('constrain = { type = "x" }')
