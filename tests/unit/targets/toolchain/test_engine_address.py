"""Which engine is used where nothing names one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from targets.toolchain.engine_address import engine_address


@pytest.fixture
def runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a user's folder with the sockets of a rootless Podman and a rootless Docker."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-context"))
    monkeypatch.chdir(tmp_path)  # the address of a socket may have 107 characters
    Path("podman").mkdir()
    with ExitStack() as stack:
        for name in ("docker.sock", "podman/podman.sock"):
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(name)
        yield tmp_path


def test_what_names_dockers_engine_comes_first(runtime_folder: Path) -> None:
    own = {"XDG_RUNTIME_DIR": str(runtime_folder), "CONTAINER_HOST": "unix:///podmans"}
    for named in ({"DOCKER_HOST": "unix:///elsewhere"}, {"DOCKER_CONTEXT": "box"}):
        assert engine_address({**own, **named}, runtime_folder / "no.sock") is None
    assert engine_address(own, runtime_folder / "docker.sock") is None


def test_podmans_variable_comes_before_sockets(runtime_folder: Path) -> None:
    own = {"XDG_RUNTIME_DIR": str(runtime_folder), "CONTAINER_HOST": "unix:///podmans"}
    assert engine_address(own, runtime_folder / "no.sock") == "unix:///podmans"


def test_sockets_of_the_user_are_found(runtime_folder: Path) -> None:
    own = {"XDG_RUNTIME_DIR": str(runtime_folder)}
    rootless = runtime_folder / "docker.sock"
    assert engine_address(own, runtime_folder / "no.sock") == f"unix://{rootless}"
    rootless.unlink()
    expected = f"unix://{runtime_folder}/podman/podman.sock"
    assert engine_address(own, runtime_folder / "no.sock") == expected


def test_a_context_of_the_docker_client_comes_before_podman(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from docker.context import ContextAPI

    monkeypatch.setenv("HOME", str(runtime_folder))
    monkeypatch.setenv("DOCKER_CONFIG", str(runtime_folder / "config"))
    (runtime_folder / "config").mkdir()
    (runtime_folder / "config" / "config.json").write_text('{"currentContext": "box"}')
    ContextAPI.create_context("box", host="unix:///of/the/box")
    own = {"XDG_RUNTIME_DIR": str(runtime_folder)}
    assert engine_address(own, runtime_folder / "no.sock") is None
