"""What passes and checks import, which is what takes the first seconds of a build: no more than
they need, and all of it compiled when a toolchain is made."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path

import pytest

from targets.toolchain.image import COMPILER
from tests.support.plans import ROOT

IMPORTED = """
import importlib, json, pkgutil, sys
import bitsandbytes, datasets, gguf, onnx, onnxruntime, onnxruntime.quantization, optuna, torch
import onnxruntime_genai.models.builder
import scipy.optimize, scipy.special, scipy.stats
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, Phi3ForCausalLM
import pipeline.training.lean_trainer, pipeline.training.trainer
import pipeline

for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
    if not module.name.endswith("__main__") and "harness" not in module.name:
        importlib.import_module(module.name)
weights = torch.nn.Linear(4, 4)
optimizer = torch.optim.AdamW(weights.parameters())
weights(torch.ones(1, 4)).sum().backward()
optimizer.step()
optuna.create_study().optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=12)
files = {getattr(module, "__file__", None) for module in sys.modules.values()}
print(json.dumps(sorted(file for file in files if file and file.endswith(".py"))))
"""


def test_nothing_that_is_imported_is_left_out(toolchain_python: Path) -> None:
    left_out: re.Pattern[str] = runpy.run_path(str(ROOT / "images" / "base" / COMPILER))["LEFT_OUT"]
    done = subprocess.run(
        [str(toolchain_python), "-c", IMPORTED],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    files = json.loads(done.stdout.splitlines()[-1])
    packages = [file for file in files if "site-packages" in file]
    assert len(packages) > 3000
    # The builder imports models of a few families, and PyTorch a few hundred lines.
    others = re.compile(r"/(transformers/models|torch/testing)/")
    assert not [one for one in packages if left_out.search(one) and not others.search(one)]


def test_what_is_left_out_is_much(toolchain_python: Path) -> None:
    left_out: re.Pattern[str] = runpy.run_path(str(ROOT / "images" / "base" / COMPILER))["LEFT_OUT"]
    modules = list(toolchain_python.parents[1].rglob("site-packages/**/*.py"))
    size = sum(file.stat().st_size for file in modules)
    left = sum(file.stat().st_size for file in modules if left_out.search(str(file)))
    assert left > 0.3 * size


LIBRARIES = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(*{"datasets", "pandas"} & sys.modules.keys())
"""


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("pipeline.training.trainer", set()),
        pytest.param("transformers.trainer", {"datasets", "pandas"}, marks=pytest.mark.slow),
    ],
)
def test_a_training_imports_no_library_of_data_sets(
    module: str, imported: set[str], toolchain_python: Path
) -> None:
    done = subprocess.run(
        [str(toolchain_python), "-c", LIBRARIES, module],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert set(done.stdout.split()) == imported
