"""The same inputs give the same bytes: again, with other threads, on another CPU, in a container.

The tiny model of `tiny_model.py`, trained and built for real.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.plan import PathRef, SourceInput, Step, StepInput
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from tests.support import plans
from tests.support.capabilities import skip
from tests.support.command import Quern
from tests.support.quick_builds import quick_project

TRAINING = {"max_steps": 4, "batch_size": 8, "r": 16, "alpha": 32}
QLORA = {**TRAINING, "quant_type": "fp4"}  # fp4 is what bitsandbytes has CPU-dependent kernels of
BASE: Mapping[str, StepInput | SourceInput] = {"model": plans.CHECKPOINT}
NARROW = {**TRAINING, "max_steps": 2, "precision": "bf16"}
FULL = {"max_steps": 2, "batch_size": 8}
SHAPE = {"hidden_size": 64, "intermediate_size": 192, "layers": 2, "heads": 4}
PRETRAINING = {"text": "", "steps": 2, "batch_size": 4, "vocab_size": 300, **SHAPE}
TRAINED = (
    plans.step("lora", "pass", BASE, TRAINING, plans.TONES),
    plans.step("lora-bf16", "pass", BASE, NARROW, plans.TONES, type="lora"),
    plans.step("qlora", "pass", BASE, QLORA, plans.TONES),
    plans.step("loftq", "pass", BASE, {**TRAINING, "max_steps": 2}, plans.TONES),
    plans.step("full_finetune", "pass", BASE, FULL, plans.TONES),
    plans.step("pretrain", "pass", {"text": plans.material_input("text.txt")}, PRETRAINING),
    plans.step("gptq", "pass", BASE, {}, plans.TONES),
    plans.step("mixed_precision", "pass", BASE, {}, plans.TONES),
)
AFTER_TRAINING = ("merge", "merge-qlora", "merge-loftq", "model_builder")
INTEL, AMD = "Haswell,vendor=GenuineIntel", "EPYC,vendor=AuthenticAMD"
"""CPUs that QEMU emulates, without AVX-512 and each with its vendor's name."""
OTHER_MKL = {"MKL_CBWR": "COMPATIBLE"}
"""The one instruction set that MKL can be held to on every vendor's CPUs. The others stay."""
BASELINE = {"ATEN_CPU_CAPABILITY": "default"}
"""PyTorch's kernels for CPUs below the floor."""


@dataclass(frozen=True)
class Built:
    """A folder with a base and what was made of it in ``work``."""

    python: Path
    material: Path
    work: Path

    def again(self, name: str, environment: Mapping[str, str], **how: Any) -> Path:
        """Merge the adapters of this one and build, as ``how`` says; return where."""
        work = self.work.parent / name
        plans.must_run(
            self.python,
            work,
            self.work.parent,
            merged_and_built(self.work.name),
            environment={**capped(), **environment},
            **how,
        )
        return work


def capped() -> dict[str, str]:
    """Return the instruction sets that the target caps the libraries to."""
    return dict(load_target("cpu").toolchain(this_machine()).environment)


def all_instructions(python: Path) -> dict[str, str]:
    """Return the variables that allow the libraries all that this CPU has; none beyond the caps."""
    asked = [str(python), "-c", "import torch; print(torch.backends.cpu.get_cpu_capability())"]
    plain = {name: value for name, value in os.environ.items() if name not in capped()}
    done = subprocess.run(asked, env=plain, check=True, capture_output=True, text=True)
    level = done.stdout.strip().lower()
    if level == capped()["ATEN_CPU_CAPABILITY"]:
        return {}
    return {"ATEN_CPU_CAPABILITY": level, "ONEDNN_MAX_CPU_ISA": "DEFAULT", "MKL_CBWR": "AUTO"}


def merged_and_built(adapters: str = "") -> tuple[Step, ...]:
    """Return the steps after training; the adapters of this run, or those in a folder."""

    def of(name: str) -> dict[str, StepInput | SourceInput]:
        if not adapters:
            return {**BASE, "adapter": plans.output_of(name)}
        ref = PathRef(root="material", path=f"{adapters}/{name}/output")
        base = SourceInput(ref=PathRef(root="material", path="material/checkpoint"), digest="base")
        return {"model": base, "adapter": SourceInput(ref=ref, digest=name)}

    merged: Mapping[str, StepInput | SourceInput] = {"model": plans.output_of("merge")}
    return (
        plans.step("merge", "pass", of("lora")),
        plans.step("merge-qlora", "pass", of("qlora"), type="merge"),
        plans.step("merge-loftq", "pass", of("loftq"), type="merge"),
        plans.step("model_builder", "pass", merged),
    )


def bytes_of(work: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of every file that the passes in ``work`` wrote, by its path."""
    return {
        path.relative_to(work).as_posix(): (path.stat().st_mode, path.read_bytes())
        for path in sorted(work.glob("*/output/**/*"))
        if path.is_file()
    }


def assert_same(one: Path, other: Path, *passes: str) -> None:
    """Compare what ``passes`` wrote, or all passes; name the files that differ."""
    first, second = (
        {
            name: file
            for name, file in bytes_of(work).items()
            if not passes or name.split("/")[0] in passes
        }
        for work in (one, other)
    )
    assert first
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


@pytest.fixture(scope="module")
def built(toolchain_python: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Train, merge and build, with two threads and the target's instruction sets."""
    folder = tmp_path_factory.mktemp("same-bytes")
    made = Built(toolchain_python, folder / "material", folder / "ref")
    shutil.copytree(tiny, made.material)
    shutil.copy(plans.ROOT / "docs" / "design.md", made.material / "text.txt")
    steps = (*TRAINED, *merged_and_built())
    plans.must_run(toolchain_python, made.work, made.material, steps, environment=capped())
    return made


@pytest.mark.slow  # tests/integration/test_release.py makes a release again in every run
def test_again_in_another_place_and_mood(built: Built, tmp_path: Path) -> None:
    material = shutil.copytree(built.material, tmp_path / "ein anderer Ort" / "material")
    mood = {
        "HOME": str(tmp_path),
        "LC_ALL": "POSIX",
        "PYTHONUTF8": "0",
        "PYTHONHASHSEED": "7",
        "TZ": "Pacific/Kiritimati",
        "USER": "someone",
    }
    work = tmp_path / "work"
    steps = (*TRAINED, *merged_and_built())
    plans.must_run(
        built.python,
        work,
        material,
        steps,
        threads=1,
        umask=0o077,
        environment={**capped(), **mood},
    )
    assert_same(built.work, work)


def test_merged_and_built_with_all_instructions_of_the_cpu(built: Built) -> None:
    uncapped = all_instructions(built.python)
    if not uncapped:
        skip("instruction set", "this CPU has none beyond x86-64-v3")
    assert_same(built.work, built.again("uncapped", uncapped, threads=1), *AFTER_TRAINING)


@pytest.mark.slow
def test_merged_and_built_with_other_products(built: Built) -> None:
    assert_same(built.work, built.again("mkl", OTHER_MKL, threads=3), *AFTER_TRAINING)


@pytest.mark.slow
def test_merged_and_built_on_another_cpu(built: Built, qemu: str) -> None:
    vendor = Path("/proc/cpuinfo").read_text("ascii")
    model = "EPYC" if "GenuineIntel" in vendor else "Haswell"
    work = built.again("emulated", {}, threads=1, through=(qemu, "-cpu", model))
    assert_same(built.work, work, *AFTER_TRAINING)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cpu", [INTEL, AMD])
@pytest.mark.parametrize("trained", TRAINED, ids=lambda trained: trained.name)
def test_trained_on_another_cpu(
    built: Built, qemu: str, tmp_path: Path, cpu: str, trained: Step
) -> None:
    plans.must_run(
        built.python,
        tmp_path / "work",
        built.material,
        (trained,),
        threads=1,
        through=(qemu, "-cpu", cpu),
        environment=capped(),
    )
    assert_same(built.work, tmp_path / "work", trained.name)


def test_products_of_named_kernels_are_right(toolchain_python: Path) -> None:
    """Forward and backward, of all layouts, against fp64; and with one thread and more. What only
    its threads tell from PyTorch's has its bytes. A model with operations that have no such kernel
    is named."""
    made = computed(toolchain_python)
    found = made["products"]
    assert made["said"]["plain"] == []
    assert "Conv1d" in made["said"]["convolution"][0]
    assert len(found) > 10
    assert {name: case for name, case in found.items() if case["error"] > 1e-6} == {}
    assert all(case["same"] for case in found.values())
    assert {name for name, case in found.items() if case["as PyTorch"]} >= {
        *("softmax", "softmax of attention", "short rows", "not of rows"),
        *("silu", "silu of what is turned", "gelu", "gelu by tanh"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("cpu", [INTEL, AMD])
def test_products_of_named_kernels_on_another_cpu(
    toolchain_python: Path, qemu: str, cpu: str
) -> None:
    """The same bytes there, with one thread and more."""
    here = computed(toolchain_python)["products"]
    there = computed(toolchain_python, qemu, "-cpu", cpu)["products"]
    digests = {name: case["digest"] for name, case in here.items()}
    assert {name: case["digest"] for name, case in there.items()} == digests
    assert all(case["same"] for case in there.values())


def computed(python: Path, *through: str) -> dict[str, Any]:
    """Return what `named_kernels_closeness.py` says."""
    done = subprocess.run(
        [*through, str(python), str(plans.HERE / "named_kernels_closeness.py")],
        env={**os.environ, **capped(), "PYTHONPATH": str(plans.ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    made: dict[str, Any] = json.loads(done.stdout)
    return made


@pytest.mark.slow
def test_what_may_differ_does(built: Built, tmp_path: Path) -> None:
    """Other kernels do change bits, and this comparison sees it."""
    plans.must_run(
        built.python,
        tmp_path / "work",
        built.material,
        TRAINED[:1],
        environment={**capped(), **BASELINE},
    )
    with pytest.raises(AssertionError, match=r"lora/output/adapter_model\.safetensors"):
        assert_same(built.work, tmp_path / "work", "lora")

    def kernels(**environment: str) -> dict[str, str]:
        done = subprocess.run(
            [str(built.python), str(plans.HERE / "arithmetic_digests.py")],
            env={**os.environ, **capped(), **environment, "PYTHONPATH": str(plans.ROOT)},
            check=True,
            capture_output=True,
            text=True,
        )
        found: dict[str, str] = json.loads(done.stdout)
        return found

    usual, other = kernels(), kernels(**OTHER_MKL)
    assert usual["library"] != other["library"]
    assert usual["own"] == other["own"]


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.usefixtures("toolchain_python")
def test_docker_and_venv(quern: Quern, tmp_path: Path) -> None:
    # The build in the container is the one of `test_build.py`, made there if that ran before.
    project = quick_project(tmp_path / "project", seed=1)
    fresh = tmp_path / "cache"  # results are shared between runtimes: this one has none
    fresh.mkdir()
    for name in ("wheels", "venvs"):
        (fresh / name).symlink_to(quern.cache / name)
    models = []
    for cache, runtime in ((quern, "docker"), (Quern(fresh), "venv")):
        dist = tmp_path / runtime
        arguments = ("--config", str(project.config), "--dist", str(dist), "--runtime", runtime)
        ran = cache("build", *arguments)
        assert ran.code == 0, ran.stderr
        made = json.loads((dist / "small" / "cpu" / "report.json").read_text("utf-8"))
        assert made["toolchain"]["runtime"] == runtime
        model = dist / "small" / "cpu" / "model"
        models.append({path.name: path.read_bytes() for path in model.iterdir()})
    assert models[0].keys() == models[1].keys()
    assert [name for name in models[0] if models[0][name] != models[1][name]] == []
