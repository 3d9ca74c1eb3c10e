"""What a run of MLflow holds of a build: all that its servers take, and nothing that is lost."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from targets.cli.commands.export_mlflow import command
from targets.errors import EnvironmentUnable
from targets.report.mlflow_run import record_of
from tests.support.reports import SLOW, make_report
from tests.unit.targets.report.test_check_words import check_step
from tests.unit.targets.report.test_report_page import answers, full_report

# https://github.com/mlflow/mlflow: mlflow/utils/validation.py
ALLOWED = re.compile(r"^[\w\-. /:]*$")


def test_names_are_such_as_mlflow_allows() -> None:
    record = record_of(full_report(answers()))
    names = [*record.params, *record.tags, *(point.name for point in record.points)]
    assert all(ALLOWED.match(name) and len(name) <= 250 for name in names)
    assert "checks/own._script_alert_1__/script_" not in names, "it has no figure"
    assert all(len(value) <= 500 for value in record.params.values())


def test_curves_keep_every_point_with_its_step() -> None:
    report = full_report(answers())
    (trained,) = (step for step in report.passes if "train_loss_curve" in step.metrics)
    given = trained.metrics["train_loss_curve"]
    assert isinstance(given, list)
    points = [point for point in record_of(report).points if point.name.endswith("/loss")]
    assert [[point.step, point.value] for point in points] == given


def test_parameters_of_passes_and_those_that_the_config_sets_are_there() -> None:
    report = make_report(SLOW)
    (lora,) = report.passes
    steps = (
        lora.model_copy(update={"params": {"r": 16, "dropout": None}}),
        check_step("quality", given=("min_accuracy",), min_accuracy=0.9, min_valid=1.0),
    )
    record = record_of(report.model_copy(update={"passes": steps}))
    assert record.params == {"seed": "0", "lora/r": "16", "quality/min_accuracy": "0.9"}
    figures = {point.name: point.value for point in record.points}
    assert figures["accuracy/artifact"] == 0.934
    assert figures["checks/token_ms"] == 31.25
    assert figures["size_bytes"] == 4_200_000
    assert record.tags["quern.status"] == "failed"


def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    if find_spec("mlflow"):
        pytest.skip("it is here")
    ran = CliRunner().invoke(command, [str(tmp_path), "--to", "http://127.0.0.1:1"])
    assert isinstance(ran.exception, EnvironmentUnable)
    assert "requirements-mlflow.lock" in ran.exception.hint
