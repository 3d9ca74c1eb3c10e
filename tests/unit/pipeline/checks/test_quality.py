"""A fine-tune that ruins the model fails, whatever becomes of it afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import exp, log
from pathlib import Path

import pytest

from pipeline.checks.quality import Check, QualityParams
from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.result import Verdict
from pipeline.contract.step import Inputs
from pipeline.evaluation.general import Reading
from pipeline.evaluation.scores import Answer, Answers
from tests.support.silent import Silent

ROWS = 11
LABELS = ("joy", "fear")


def judged(
    folder: Path, base: Sequence[bool], tuned: Sequence[bool], growth: float, label: bool
) -> dict[str, Verdict]:
    """Return the verdicts on a fine-tune: which answers are right before and after, and by which
    factor the perplexity of those expected grows."""
    outcome = Check().run(given(folder, base, tuned, growth, label), QualityParams())
    return {verdict.name: verdict for verdict in outcome.verdicts}


def held_answers(folder: Path) -> Inputs:
    """Return answers of a fine-tune that changed none."""
    same = [True] * ROWS
    return given(folder, same, same, 1.0, label=True)


def given(
    folder: Path, base: Sequence[bool], tuned: Sequence[bool], growth: float, label: bool
) -> Inputs:
    rows = [{"text": f"number {number}", "tone": LABELS[number % 2]} for number in range(ROWS)]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    form = {"path": file.name, "prompt": "{text}", "completion": "{tone}", "split": {"eval": 1}}
    spec = DataSpec.model_validate({**form, **({"label": "tone"} if label else {})})
    for name, right, factor in (("base", base, 1.0), ("tuned", tuned, growth)):
        (folder / name).mkdir()
        answers(right, factor, label).save(folder / name)
    paths = {f"{name}_answers": folder / name for name in ("base", "tuned")}
    return Inputs(paths, DataFiles("d", spec, (file,)), 0, 1, Silent())


def answers(right: Sequence[bool], factor: float, label: bool) -> Answers:
    said = [LABELS[(number + (not fine)) % 2] for number, fine in enumerate(right)]
    return Answers(
        labels=LABELS if label else (),
        choices=label,
        max_new_tokens=4,
        answers=tuple(
            Answer(
                line=number + 1,
                expected=LABELS[number % 2],
                label=LABELS[number % 2] if label else None,
                greedy=text,
                choice=text if label else None,
                valid=label,
                ended=True,
                logprob=-2 * log(3 * factor),
                tokens=2,
            )
            for number, text in enumerate(said)
        ),
    )


@pytest.mark.parametrize("label", [True, False])
@pytest.mark.parametrize(
    ("lost", "won", "status"),
    [(11, 0, "failed"), (4, 0, "failed"), (2, 0, "failed"), (1, 0, "passed"), (5, 4, "passed")],
)
def test_a_tuned_model_that_answers_worse_than_its_base_fails(
    tmp_path: Path, lost: int, won: int, status: str, label: bool
) -> None:
    base = [number < lost for number in range(ROWS)]
    tuned = [lost <= number < lost + won for number in range(ROWS)]
    found = judged(tmp_path, base, tuned, 1.0, label)["tuning_loss"]
    assert found.status == status
    assert found.value == pytest.approx((lost - won) / ROWS)
    assert f"{won} won and {lost} lost of {ROWS}" in found.detail
    assert ("learning_rate" in found.detail) == (status == "failed")


def test_one_that_answers_better_passes(tmp_path: Path) -> None:
    found = judged(tmp_path, [False] * ROWS, [True] * ROWS, 1.0, label=True)["tuning_loss"]
    assert (found.status, found.value) == ("passed", -1)


@pytest.mark.parametrize(("growth", "status"), [(0.1, "passed"), (1.9, "passed"), (2.1, "failed")])
def test_answers_without_labels_may_not_become_improbable(
    tmp_path: Path, growth: float, status: str
) -> None:
    same = [False] * ROWS
    found = judged(tmp_path, same, same, growth, label=False)["tuning_perplexity"]
    assert found.status == status
    assert found.value == pytest.approx(growth - 1)


def test_labels_go_by_what_is_chosen(tmp_path: Path) -> None:
    same = [True] * ROWS
    assert "tuning_perplexity" not in judged(tmp_path, same, same, 9.0, label=True)


def general(tmp_path: Path, base: float, tuned: float, vocabulary: int = 1000) -> Verdict | None:
    """Return the verdict on a fine-tune after which a text is read with these losses."""
    inputs = held_answers(tmp_path)
    for name, loss in (("base", base), ("tuned", tuned)):
        Reading(loss=loss, tokens=900, vocabulary=vocabulary).save(tmp_path / name)
    outcome = Check().run(inputs, QualityParams())
    return {one.name: one for one in outcome.verdicts}.get("general_perplexity")


@pytest.mark.parametrize(
    ("tuned", "status"), [(2.0, "passed"), (4.2, "passed"), (4.4, "failed"), (700.0, "failed")]
)
def test_a_tuned_model_may_not_forget_how_to_read(
    tmp_path: Path, tuned: float, status: str
) -> None:
    found = general(tmp_path, 2.0, tuned)
    assert found is not None
    assert found.status == status
    assert found.value == pytest.approx(exp(min(tuned, 700.0) - 2.0) - 1)
    assert ("learning_rate" in found.detail) == (status == "failed")


def test_a_base_that_cannot_read_has_nothing_to_forget(tmp_path: Path) -> None:
    assert general(tmp_path, 0.51 * log(1000), 50.0) is None


def test_answers_of_before_are_judged_without_a_reading(tmp_path: Path) -> None:
    outcome = Check().run(held_answers(tmp_path), QualityParams())
    assert "general_perplexity" not in {one.name for one in outcome.verdicts}
