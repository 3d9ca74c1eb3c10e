"""A build exported to a real MLflow server, by the library that the lock pins."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from uv import find_uv_bin

from targets.cli.options import PROJECT
from targets.report.report_html import to_html
from tests.unit.targets.report.test_report_page import answers, full_report

LOCK = PROJECT / "requirements-mlflow.lock"
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

pytestmark = pytest.mark.slow  # MLflow's server is 700 MB


def installed(folder: Path, *what: str) -> Path:
    """Return the Python of a new environment with ``what``."""
    uv = find_uv_bin()
    for arguments in (
        ("venv", "--python", sys.executable, str(folder)),
        ("pip", "install", "--python", str(folder), *what),
    ):
        subprocess.run([uv, *arguments], check=True, capture_output=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python with what `export-mlflow` is locked to."""
    folder = tmp_path_factory.mktemp("client") / "python"
    return installed(folder, "--require-hashes", "--requirement", str(LOCK))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of an MLflow server, of the version that the library has."""
    folder = tmp_path_factory.mktemp("server")
    version = re.search(r"^mlflow-skinny==(\S+)", LOCK.read_text("utf-8"), re.MULTILINE)
    assert version is not None
    python = installed(folder / "python", f"mlflow=={version[1]}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = subprocess.Popen(
        [
            *(str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{folder}/runs.db", "--workers", "1"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        cwd=folder,
        env={**os.environ, **QUIET},
        stdout=(folder / "log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                requests.get(f"{address}/health", timeout=5).raise_for_status()
                break
            except OSError:
                assert started.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(30)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a build whose names and texts are hostile."""
    folder = tmp_path_factory.mktemp("dist") / "tone" / "cpu"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.onnx").write_bytes(b"graph")
    report = full_report(answers()).model_copy(update={"build": "tone"})
    (folder / "report.json").write_text(report.model_dump_json(), "utf-8")
    (folder / "report.html").write_text(to_html(report), "utf-8")
    return folder


def export(python: Path, folder: Path, server: str, *more: str) -> tuple[int, dict[str, Any]]:
    command = [str(python), "-m", "targets", "export-mlflow", str(folder), "--to", server, "--json"]
    done = subprocess.run(
        [*command, *more], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("{"), (done.stdout, done.stderr)
    return done.returncode, json.loads(done.stdout)


def asked(server: str, path: str, **body: object) -> dict[str, Any]:
    """Ask the server's own REST interface, without MLflow's library."""
    url = f"{server}/api/2.0/mlflow/{path}"
    answer = requests.post(url, json=body, timeout=60) if body else requests.get(url, timeout=60)
    answer.raise_for_status()
    return dict(answer.json())


def test_a_build_is_a_run_with_all_that_is_in_its_report(
    client: Path, server: str, built: Path
) -> None:
    code, said = export(client, built, server, "--with-model")
    assert (code, said["earlier"]) == (0, False)
    run = asked(server, f"runs/get?run_id={said['run']}")["run"]
    assert run["info"]["status"] == "FINISHED"
    assert run["info"]["run_name"] == "tone for cpu"
    params = {one["key"]: one["value"] for one in run["data"]["params"]}
    assert params["seed"] == "0"
    metrics = {one["key"]: one["value"] for one in run["data"]["metrics"]}
    assert metrics["accuracy/artifact"] == 0.934
    tags = {one["key"]: one["value"] for one in run["data"]["tags"]}
    assert tags["quern.status"] == "failed"
    (name,) = (key for key in metrics if key.endswith("/loss"))
    history = asked(server, f"metrics/get-history?run_id={said['run']}&metric_key={name}")
    given = json.loads((built / "report.json").read_text())["passes"][0]["metrics"]
    found = [[one["step"], one["value"]] for one in history["metrics"]]
    assert sorted(found) == given["train_loss_curve"]
    listed = asked(server, f"artifacts/list?run_id={said['run']}")["files"]
    assert {file["path"] for file in listed} == {"report.json", "report.html", "model"}

    again, twice = export(client, built, server)
    assert (again, twice["earlier"], twice["run"]) == (0, True, said["run"])
    runs = asked(server, "runs/search", experiment_ids=[run["info"]["experiment_id"]])["runs"]
    assert len(runs) == 1


def test_a_server_that_is_not_there_is_said_soon(client: Path, built: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code, said = export(client, built, f"http://127.0.0.1:{port}")
    assert code == 4
    assert f"MLflow at http://127.0.0.1:{port} did not take it" in said["error"]
