"""Passes and checks are found by their files, and cost the host no ML import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.checks.base import BaseCheck
from pipeline.contract.frozen import Frozen
from pipeline.passes.base import BasePass
from pipeline.run.registry import UnknownStepError, check_types, load_check, load_pass, pass_types

ROOT = Path(__file__).resolve().parents[4]
HEAVY = ("torch", "transformers", "peft", "onnx", "onnxruntime", "onnxruntime_genai", "numpy")


@pytest.mark.parametrize("name", pass_types())
def test_every_pass_declares_itself(name: str) -> None:
    found = load_pass(name)
    assert issubclass(found, BasePass)
    assert issubclass(found.Params, Frozen)
    assert found.produces
    assert (found.__doc__ or "").strip()


@pytest.mark.parametrize("name", check_types())
def test_every_check_declares_itself(name: str) -> None:
    found = load_check(name)
    assert issubclass(found, BaseCheck)
    assert issubclass(found.Params, Frozen)
    assert found.needs


def test_the_checks_of_an_artifact_are_there() -> None:
    assert {
        "graph",
        "conversion",
        "quantization",
        "merging",
        "provider",
        "generation",
        "quality",
        "latency",
    } <= set(check_types())
    assert {"size", "script"} <= set(check_types())


def test_an_unknown_name_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(UnknownStepError, match="did you mean 'model_builder'"):
        load_pass("model_bilder")
    with pytest.raises(UnknownStepError, match="there is no check 'base'"):
        load_check("base")


def test_loading_all_of_them_imports_no_ml_library() -> None:
    code = (
        "import sys\n"
        "from pipeline.run.registry import *\n"
        "[load_pass(n) for n in pass_types()], [load_check(n) for n in check_types()]\n"
        f"print([n for n in {HEAVY} if n in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
