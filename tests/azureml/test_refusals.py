"""What a workspace can refuse, and what may happen to a job: each is one sentence with what to do,
and leaves no job running (the fixture ``world`` looks)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from targets.cli.main import main
from tests.support.azure.control_plane import ControlPlane
from tests.support.azure.world import AzureWorld
from tests.support.project import Project

pytestmark = pytest.mark.servers


def build(project: Project, *more: str) -> tuple[int, str]:
    """Build in this process, where the SDK is imported once; return exit code and output."""
    options = ["--config", str(project.config), "--dist", str(project.folder / "dist"), *more]
    cache = {"QUERN_CACHE": str(project.folder / "cache"), "COLUMNS": "400"}
    ran = CliRunner(env=cache).invoke(main, ["build", *options])
    code = getattr(ran.exception, "exit_code", ran.exit_code)
    return code, f"{ran.output}\n{ran.exception}\n{getattr(ran.exception, 'hint', '')}"


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "said"),
    [
        ("GET", "/computes/", 404, "ComputeNotFound", "may you see them?"),
        ("GET", "/datastores/", 403, "AuthorizationFailed", "AzureML Data Scientist"),
        ("PUT", "/environments/", 403, "AuthorizationFailed", "AzureML Data Scientist"),
        ("PUT", "/jobs/", 400, "UserError", "mend what it names"),
        ("PUT", "/jobs/", 403, "AuthorizationFailed", "AzureML Data Scientist"),
        ("PUT", "/jobs/", 409, "Conflict", "run again"),
    ],
)
def test_a_refusal_is_said_with_what_to_do(
    world: AzureWorld,
    project: Project,
    method: str,
    path: str,
    status: int,
    code: str,
    said: str,
) -> None:
    world.plane.refuse(method, path, status, code, f"PLANTED {code} of {path}")
    ended, output = build(project)
    assert ended == 4, output
    assert f"({status}): PLANTED {code} of {path}" in output.replace("\n", " ")
    assert said in output


def test_a_service_that_is_asked_too_often_is_asked_again_later(
    world: AzureWorld, project: Project
) -> None:
    later = {"Retry-After": "1"}
    world.plane.refuse(
        *("PUT", "/jobs/", 429, "TooManyRequests", "slow down"), times=1, headers=later
    )
    went_on = _letting_go(world, lambda: build(project))
    assert went_on[0] == 0, went_on[1]
    asked = [one for one in world.plane.asked if one.startswith("PUT") and "/jobs/" in one]
    assert len(asked) > len(set(asked))


def test_a_job_whose_machine_is_taken_away(world: AzureWorld, project: Project) -> None:
    ended, output = _while_it_waits(world, project, _preempt)
    assert ended == 4, output
    assert "The node was preempted" in output


def test_a_job_that_somebody_ends(world: AzureWorld, project: Project) -> None:
    def end(plane: ControlPlane) -> None:
        for name in plane.left():
            plane.jobs[name].asked_to_end = True

    ended, output = _while_it_waits(world, project, end)
    assert ended == 4, output
    assert "somebody ended the job there" in output


def test_a_queue_that_never_moves_is_waited_for_no_longer_than_a_job_may_take(
    world: AzureWorld, project: Project
) -> None:
    world.runner.queue.clear()
    project.edit("max_hours = 1", "max_hours = 0.001")
    ended, output = build(project)
    assert ended == 4, output
    assert "has not started it" in output
    assert "quota" in output


def test_a_token_that_expires_midway_is_followed_by_another(
    world: AzureWorld, project: Project
) -> None:
    world.plane.token_seconds = 2
    ended, output = _letting_go(world, lambda: build(project))
    assert ended == 0, output
    assert len(world.plane.tokens) > 3


def test_a_login_that_is_no_longer_accepted(world: AzureWorld, project: Project) -> None:
    def forget(plane: ControlPlane) -> None:
        plane.refuse("GET", "/jobs/", 401, "ExpiredAuthenticationToken", "it expired", times=4)

    ended, output = _while_it_waits(world, project, forget)
    assert ended == 4, output
    assert "az login" in output


def test_a_workspace_without_keys_works_with_the_identity(
    world: AzureWorld, project: Project
) -> None:
    world.plane.keys_allowed = False
    world.plane.environments.clear()
    ended, output = _letting_go(world, lambda: build(project))
    assert ended == 0, output


def test_a_cluster_that_does_not_scale_to_zero_is_warned_of(
    world: AzureWorld, project: Project
) -> None:
    world.plane.stays = 1
    world.plane.refuse("PUT", "/jobs/", 403, "AuthorizationFailed", "no")
    _, output = build(project)
    assert "does not scale to zero: one machine of it run" in output.replace("\n", " ")


@pytest.mark.usefixtures("world")
def test_a_name_that_leads_nowhere(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    ended, output = build(project)
    assert ended == 4, output
    assert "client-secret-PLANTED" not in output


def _preempt(plane: ControlPlane) -> None:
    for name in plane.left():
        plane.runner.preempt(plane.jobs[name])


def _while_it_waits(
    world: AzureWorld, project: Project, act: Callable[[ControlPlane], None]
) -> tuple[int, str]:
    """Build, and do ``act`` once its first step waits."""

    def work() -> None:
        _wait_for(world)
        act(world.plane)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        return build(project)
    finally:
        thread.join()


def _letting_go(world: AzureWorld, work: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    """Do ``work``, and let every step go that waits meanwhile."""
    over = threading.Event()

    def let_go() -> None:
        while not over.wait(0.1):
            for folder in world.runner.working():
                _go(folder)

    thread = threading.Thread(target=let_go)
    thread.start()
    try:
        return work()
    finally:
        over.set()
        thread.join()


def _go(folder: Path) -> None:
    try:
        (folder / "go.partial").write_text("")
        (folder / "go.partial").replace(folder / "go")
    except OSError:
        return


def _wait_for(world: AzureWorld) -> None:
    deadline = time.monotonic() + 200
    while not world.runner.working():
        assert time.monotonic() < deadline
        time.sleep(0.1)
