"""Several targets from one fine-tune, and an artifact checked apart from where it was built."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from targets.target import load_target
from targets.toolchain.venv import venv_dir
from tests.support import plans
from tests.support.command import CommandResult, Quern
from tests.support.other_systems.system import SITE, WINDOWS
from tests.support.quick_builds import quick_project
from tests.support.same_models import assert_same_model, facts

LEFT_TO_THE_CPU = "/model/layers.0/mlp/down_proj/MatMul_Q4"
PROVIDER_CHECK = """
import json
from pathlib import Path
from pipeline.checks.provider import Check, ProviderParams
from pipeline.contract.step import Inputs

inputs = Inputs(
    {"artifact": Path("/model")}, None, 0, 2, None, absent_device="no GPU", emulation="SwiftShader"
)
found = Check().run(inputs, ProviderParams()).verdicts
print(json.dumps([[verdict.name, verdict.status, verdict.detail] for verdict in found]))
"""


@dataclass(frozen=True)
class Built:
    """Artifacts of the targets cpu, directml and webgpu, and what the terminal showed."""

    dist: Path
    options: tuple[str, ...]
    ran: CommandResult

    def report(self, target: str) -> dict[str, Any]:
        found = json.loads((self.dist / "small" / target / "report.json").read_text())
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def built(quern: Quern, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("targets")
    project = quick_project(folder / "project", seed=5)
    dist = folder / "dist"
    options = ("--config", str(project.config), "--dist", str(dist), "--runtime", "docker")
    ran = quern("build", "--target", "cpu,directml,webgpu", *options)
    assert ran.code == 0, ran.stdout + ran.stderr
    return Built(dist, options, ran)


@pytest.fixture
def away(built: Built, tmp_path: Path) -> Path:
    """Return a copy of the directml artifact's folder, as on another machine."""
    return Path(shutil.copytree(built.dist / "small" / "directml", tmp_path / "away"))


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in report["checks"]}


pytestmark = pytest.mark.engine


@pytest.mark.parametrize("target", ["directml", "webgpu"])
def test_one_training_run_feeds_all_targets(built: Built, target: str) -> None:
    reports = [built.report("cpu"), built.report(target)]
    first, second = ({step["name"]: step for step in report["passes"]} for report in reports)
    for shared in ("pretrain", "lora", "merge", "reference", "evaluate-tuned"):
        assert first[shared]["key"] == second[shared]["key"]
        assert second[shared]["cached"]
    assert first["model_builder"]["key"] != second["model_builder"]["key"]


def test_directml_is_built_by_the_builder_of_its_runtime(built: Built) -> None:
    reports = [built.report(target) for target in ("cpu", "directml")]
    versions = [report["toolchain"]["versions"] for report in reports]
    assert versions[0]["onnxruntime-genai"] != versions[1]["onnxruntime-genai"] == "0.13.1"


def test_what_is_not_proven_is_said_in_report_and_on_the_screen(built: Built) -> None:
    report = built.report("directml")
    assert report["status"] == "unverified"
    found = statuses(report)
    waiting = {name for name, status in found.items() if status == "unverified"}
    assert waiting == {
        *("first_token_ms", "token_ms", "nodes_off_provider", "generates_on_provider"),
    }
    assert found["nodes_without_kernel"] == found["logits_error"] == found["tokenizer"] == "passed"
    assert "DirectML runs on Windows only" in built.ran.stdout
    assert "directml is unverified" in built.ran.stdout


def test_webgpus_provider_runs_in_the_container_without_a_gpu(built: Built) -> None:
    report = built.report("webgpu")
    assert report["status"] == "unverified"
    verdicts = {check["name"]: check for check in report["checks"]}
    waiting = {name for name, check in verdicts.items() if check["status"] == "unverified"}
    assert waiting == {"first_token_ms", "token_ms", "generates_on_provider"}
    ran, alike = verdicts["nodes_off_provider"], verdicts["provider_error"]
    assert (ran["status"], ran["value"]) == ("passed", 0)
    assert "ran on WebGpuExecutionProvider, through SwiftShader" in ran["detail"]
    assert alike["status"] == "passed"
    # As close as two ways to round, and not the same bytes: two providers computed them.
    assert 0 < alike["value"] < 0.05


def test_nodes_that_webgpus_provider_leaves_to_the_cpu_are_found(
    built: Built, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    shutil.copytree(built.dist / "small" / "webgpu" / "model", tmp_path / "model")
    file = tmp_path / "model" / "genai_config.json"
    config = json.loads(file.read_text())
    (options,) = config["model"]["decoder"]["session_options"]["provider_options"]
    options["webgpu"]["forceCpuNodeNames"] = LEFT_TO_THE_CPU
    file.write_text(json.dumps(config))
    image, _, _ = built.report("webgpu")["toolchain"]["image"].partition("@")
    said = docker_client.containers.run(
        image,
        ["python", "-c", PROVIDER_CHECK],
        working_dir="/project",
        volumes={
            str(plans.ROOT): {"bind": "/project", "mode": "ro"},
            str(tmp_path / "model"): {"bind": "/model", "mode": "ro"},
        },
        network_mode="none",
        remove=True,
    )
    verdicts = {name: (status, detail) for name, status, detail in json.loads(said)}
    status, detail = verdicts["nodes_off_provider"]
    assert status == "failed"
    assert f"{LEFT_TO_THE_CPU} ran on CPUExecutionProvider" in detail
    assert verdicts["provider_error"][0] == "passed", "the right numbers, from the wrong place"


def test_directmls_older_builder_makes_the_same_bytes_when_it_writes_one_by_one(
    built: Built, docker_client: docker.DockerClient, tiny: Path, tmp_path: Path
) -> None:
    # The builder itself leaves the embedding in floats, and this one gives k_quant's output layer 8
    # bits, which ours does not.
    plain = {"algorithm": "default", "embedding": "float"}
    cases = {"builds": {"directml": {**plain, "execution_provider": "dml"}, "cpu": plain}}
    image, _, _ = built.report("directml")["toolchain"]["image"].partition("@")
    docker_client.containers.run(
        image,
        ["python", "tests/support/beside_plain.py", "/model", "/out", json.dumps(cases)],
        working_dir="/project",
        environment={"PYTHONPATH": "/project", "HOME": "/out"},
        volumes={
            str(plans.ROOT): {"bind": "/project", "mode": "ro"},
            str(tiny / "checkpoint"): {"bind": "/model", "mode": "ro"},
            str(tmp_path): {"bind": "/out", "mode": "rw"},
        },
        user=f"{os.getuid()}:{os.getgid()}",
        network_mode="none",
        remove=True,
    )
    for name in ("directml", "cpu"):
        assert facts(tmp_path, name) == {"weights": "one by one", "warnings": []}
        assert_same_model(tmp_path / name / "ours", tmp_path / name / "plain")


def test_the_folder_alone_is_checked_and_the_result_written_beside_it(
    quern: Quern, away: Path
) -> None:
    ran = quern("check", str(away), "--target", "directml", "--runtime", "docker")
    assert ran.code == 0, ran.stdout + ran.stderr
    checked = json.loads((away / "checked.json").read_text())
    names = {check["name"]: check["status"] for check in checked["checks"]}
    assert names["logits_error"] == names["nodes_without_kernel"] == "passed"
    assert names["nodes_off_provider"] == "unverified"
    assert json.loads((away / "report.json").read_text())["status"] == "unverified"


def test_a_result_from_the_device_turns_unverified_into_what_it_found(
    quern: Quern, built: Built, away: Path
) -> None:
    assert quern("check", str(away), "--runtime", "docker").code == 0
    result = away / "checked.json"
    # What a Windows machine would have written, which these tests do not have.
    checked = json.loads(result.read_text())
    checked["where"]["device"] = "a DirectX 12 GPU"
    for check in checked["checks"]:
        if check["status"] == "unverified":
            check |= {"status": "passed", "value": 1.0, "limit": 100.0, "relation": "<="}
    result.write_text(json.dumps(checked))

    home = built.dist / "small" / "directml"
    took = quern("check", str(home), "--result", str(result))
    assert took.code == 0, took.stdout + took.stderr
    assert built.report("directml")["status"] == "passed"
    assert built.report("directml")["checked"]["device"] == "a DirectX 12 GPU"

    checked["checks"][-1] |= {"status": "failed", "detail": "planted"}
    result.write_text(json.dumps(checked))
    failed = quern("check", str(home), "--result", str(result))
    assert failed.code == 3
    assert built.report("directml")["status"] == "failed"

    checked["checks"][-1] |= {"status": "passed"}
    result.write_text(json.dumps(checked))
    assert quern("check", str(home), "--result", str(result)).code == 0
    assert built.report("directml")["status"] == "passed"

    assert quern("build", "--target", "directml", *built.options).code == 0
    assert built.report("directml")["status"] == "passed", "a build forgot what was brought back"


@pytest.mark.slow
def test_checked_as_on_windows_and_brought_back(
    quern: Quern, built: Built, away: Path, directml_python: Path, tmp_path: Path
) -> None:
    """Both sides run as on Windows, the steps on the CPU: DirectML alone is not there."""
    windows = WINDOWS.variables(tmp_path)
    toolchain = load_target("directml").toolchain("windows/amd64")
    environment = venv_dir(toolchain, tmp_path / "cache")
    python = environment / "Scripts" / "python.exe"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"#!/bin/sh\nexport AS_SYSTEM='{windows['AS_SYSTEM']}' PYTHONPATH='{SITE}':$PYTHONPATH\n"
        f"exec '{directml_python}' \"$@\"\n"
    )
    python.chmod(0o755)
    (environment / "pyvenv.cfg").write_text("version_info = 3.11.7\n")
    no_engine = {"DOCKER_HOST": "unix:///nonexistent.sock"}
    ran = quern(
        *("check", str(away), "--target", "directml", "--cache", str(tmp_path / "cache")),
        environment={**windows, **no_engine},
    )
    assert ran.code in (0, 3), ran.stdout + ran.stderr
    checked = json.loads((away / "checked.json").read_text())
    assert checked["where"]["device"] == "DirectX 12 on Windows 11"
    assert checked["where"]["system"] == "Windows 11, AMD64"
    found = {check["name"]: check["status"] for check in checked["checks"]}
    measured = ("first_token_ms", "token_ms", "logits_error", "nodes_without_kernel")
    assert {found[name] for name in measured} <= {"passed", "failed"}

    home = built.dist / "small" / "directml"
    took = quern("check", str(home), "--result", str(away / "checked.json"))
    assert took.code == ran.code, took.stdout + took.stderr
    assert built.report("directml")["checked"]["device"] == "DirectX 12 on Windows 11"


def test_a_result_for_other_bytes_is_refused(quern: Quern, built: Built, away: Path) -> None:
    assert quern("check", str(away), "--runtime", "docker").code == 0
    other = built.dist / "small" / "cpu"
    before = (other / "report.json").read_bytes()
    ran = quern("check", str(other), "--result", str(away / "checked.json"))
    assert ran.code == 2
    assert "was made for other bytes" in ran.stderr
    assert (other / "report.json").read_bytes() == before


def test_changed_bytes_are_found_before_any_work(quern: Quern, away: Path) -> None:
    (away / "checked.json").unlink(missing_ok=True)
    model = away / "model" / "model.onnx.data"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    ran = quern("check", str(away), "--runtime", "docker")
    assert ran.code == 3
    assert "is not what was built: model.onnx.data" in ran.stderr
    assert not (away / "checked.json").exists()


def test_an_artifact_of_another_target_is_refused(quern: Quern, away: Path) -> None:
    ran = quern("check", str(away), "--target", "cpu")
    assert ran.code == 2
    assert "use `nox -s check-directml`" in ran.stderr
