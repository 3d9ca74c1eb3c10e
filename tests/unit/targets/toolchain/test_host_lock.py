from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from targets.errors import EnvironmentUnable
from targets.toolchain.host_lock import HOST_LOCKS, lock_host

PYPROJECT = """\
[project]
name = "example"
version = "1"
requires-python = ">=3.10"
dependencies = ["first>=1"]

[project.optional-dependencies]
azure = ["second"]
bench = ["second"]
release = ["second"]
serve = ["second"]
mlflow = ["second"]

[dependency-groups]
dev = ["second"]
nox = ["second"]
"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its interface
        """Keep quiet."""


class Index:
    """A package index of wheels without code."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def add(self, name: str, version: str) -> str:
        """Publish a wheel and return its SHA-256."""
        folder = self._root / name
        folder.mkdir(exist_ok=True)
        wheel = folder / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        with (folder / "index.html").open("a") as page:
            page.write(f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>\n')
        return digest


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    root = tmp_path / "index"
    root.mkdir()
    handler = partial(QuietHandler, directory=str(root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/")
        # The same address serves other wheels in the next test.
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
        yield Index(root)
        server.shutdown()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    return folder


def lock_all(project: Path, *, upgrade: bool) -> dict[str, list[str]]:
    return {
        lock.file: [str(change) for change in lock_host(lock, upgrade, project)]
        for lock in HOST_LOCKS
    }


def test_locks_pin_by_hash_and_agree(index: Index, project: Path) -> None:
    first = index.add("first", "1.0")
    second = index.add("second", "2.0")
    assert lock_all(project, upgrade=False) == {
        "requirements.lock": ["+ first 1.0"],
        "requirements-bench.lock": ["+ first 1.0", "+ second 2.0"],
        "requirements-azure.lock": ["+ first 1.0", "+ second 2.0"],
        "requirements-release.lock": ["+ first 1.0", "+ second 2.0"],
        "requirements-serve.lock": ["+ first 1.0", "+ second 2.0"],
        "requirements-mlflow.lock": ["+ first 1.0", "+ second 2.0"],
        "requirements-dev.lock": ["+ first 1.0", "+ second 2.0"],
        "requirements-nox.lock": ["+ second 2.0"],
    }
    text = (project / "requirements-dev.lock").read_text()
    assert f"--hash=sha256:{first}" in text
    assert f"--hash=sha256:{second}" in text
    assert "127.0.0.1" not in text


@pytest.mark.slow
def test_newer_versions_are_taken_only_when_asked_for(index: Index, project: Path) -> None:
    index.add("first", "1.0")
    index.add("second", "2.0")
    lock_all(project, upgrade=False)
    index.add("first", "1.1")
    assert not any(lock_all(project, upgrade=False).values())
    changed = lock_all(project, upgrade=True)
    assert changed["requirements.lock"] == changed["requirements-dev.lock"]
    assert changed["requirements.lock"] == ["  first 1.0 -> 1.1"]


def test_what_cannot_be_resolved_leaves_the_lock_alone(index: Index, project: Path) -> None:
    index.add("first", "1.0")
    index.add("second", "2.0")
    lock_all(project, upgrade=False)
    before = (project / "requirements.lock").read_bytes()
    (project / "pyproject.toml").write_text(PYPROJECT.replace("first>=1", "first>=9"))
    with pytest.raises(EnvironmentUnable, match=r"requirements\.lock cannot be resolved"):
        lock_host(HOST_LOCKS[0], upgrade=True, project=project)
    assert (project / "requirements.lock").read_bytes() == before
    assert {path.name for path in project.iterdir()} == {
        "pyproject.toml",
        *(lock.file for lock in HOST_LOCKS),
    }
