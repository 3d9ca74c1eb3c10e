"""A real Podman: what it answers otherwise than Docker's engine is known. What every engine must do
with a step, `test_runtime_docker.py` asks of both."""

from __future__ import annotations

import io
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from pydantic import JsonValue

from targets.doctor.engine import engine as examine
from targets.doctor.finding import Machine
from targets.errors import Interrupted, PassFailed
from targets.runtimes.containers import Containers
from targets.runtimes.docker import RUN_LABEL, DockerRuntime
from targets.runtimes.runtime import ProcessLimits
from targets.systems.engine.job import JOB_LABEL, remove_ownerless
from targets.target import load_target
from targets.toolchain.base import BaseImage, ensure_base, read_recipe
from targets.toolchain.engine import connect
from targets.toolchain.engine_facts import facts_of
from targets.toolchain.image import BASE_LABEL, find_image, image_labels
from targets.toolchain.platforms import this_machine
from targets.transfer.engine_images import save
from targets.transfer.saved_image import read_saved
from tests.support.capabilities import program, skip
from tests.support.command import Quern
from tests.support.podman import own_folder, own_podman, podman_service
from tests.support.runtime_support import (
    STANDIN,
    heeded,
    in_background,
    request,
    signal_self_when,
    toolchain,
)

RECIPE = read_recipe(Path(__file__).parents[2] / "images" / "base" / "base.toml")


@pytest.fixture(scope="module")
def podman() -> Iterator[docker.DockerClient]:
    with own_podman() as client:
        yield client


@pytest.fixture(scope="module")
def base(podman: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> BaseImage:
    return ensure_base(podman, RECIPE, tmp_path_factory.mktemp("base"), print)


@pytest.fixture
def runtime(podman: docker.DockerClient, tmp_path: Path) -> DockerRuntime:
    return DockerRuntime(podman, tmp_path / "cache", STANDIN, python="python3")


def test_a_base_that_was_imported_is_found_again(
    podman: docker.DockerClient, base: BaseImage, tmp_path: Path
) -> None:
    assert ensure_base(podman, RECIPE, tmp_path, pytest.fail, sources=()) == base
    assert base.identity.partition(":")[0] in {"debian-packages", "mmdebstrap"}


def test_a_toolchains_image_is_found_by_its_labels_and_only_if_it_was_named(
    podman: docker.DockerClient, base: BaseImage
) -> None:
    cpu = load_target("cpu").toolchain(this_machine())
    labels = {**image_labels(cpu), BASE_LABEL: base.identity}
    lines = [f"FROM {base.image}", *(f'LABEL "{key}"="{value}"' for key, value in labels.items())]
    made, _ = podman.images.build(fileobj=io.BytesIO("\n".join(lines).encode()), rm=True)
    assert find_image(podman, cpu) is None

    made.tag("quern/cpu", "of-a-test")
    found = find_image(podman, cpu)

    assert found is not None
    assert (found.tag, found.id, found.base) == ("quern/cpu:of-a-test", made.id, base.identity)


@pytest.mark.slow
def test_an_image_is_exported_as_from_dockers_engine(
    podman: docker.DockerClient, base: BaseImage, tmp_path: Path
) -> None:
    image = podman.images.get(base.image)
    archive = tmp_path / "base.tar"
    with archive.open("wb") as file:
        file.writelines(save(podman, str(image.id)))
    with archive.open("rb") as file:
        saved = read_saved(file)
    assert f"sha256:{saved.config}" == image.id
    assert saved.labels == image.labels


def test_volumes_of_others_stay_where_those_of_jobs_go(podman: docker.DockerClient) -> None:
    """Of two filters, it lists what passes one: asked for volumes of jobs that no container has, it
    names everybody's that no container has."""
    podman.volumes.create("somebodys-own")
    podman.volumes.create("a-jobs", labels={JOB_LABEL: "one"})
    podman.volumes.create("anothers", labels={JOB_LABEL: "another"})
    try:
        remove_ownerless(podman, "one")
        assert sorted(one.name for one in podman.volumes.list()) == ["anothers", "somebodys-own"]
        remove_ownerless(podman)
        assert [one.name for one in podman.volumes.list()] == ["somebodys-own"]
    finally:
        podman.api.remove_volume("somebodys-own")


def test_a_step_is_confined_and_its_files_are_the_callers(
    runtime: DockerRuntime, podman: docker.DockerClient, base: BaseImage, tmp_path: Path
) -> None:
    limits = ProcessLimits(memory_bytes=256 * 2**20, cpus=0.5)
    asked = request(tmp_path, {"do": "look"}, resources=limits)

    runtime.run_image(base.image, toolchain(tmp_path), asked, lambda _event: None)

    seen = json.loads((tmp_path / "work" / "seen.json").read_text())
    owner = (tmp_path / "work" / "seen.json").stat()
    assert (owner.st_uid, owner.st_gid) == (os.getuid(), os.getgid())
    assert "unreachable" in seen["network"]
    assert not seen["writes_root"]
    assert seen["writes_tmp"]
    assert "CapEff:\t0000000000000000" in seen["status"]
    assert podman.containers.list(all=True, filters={"label": RUN_LABEL}) == []
    assert runtime.limits_note() == ""


def test_ctrl_c_leaves_nothing(
    runtime: DockerRuntime, podman: docker.DockerClient, base: BaseImage, tmp_path: Path
) -> None:
    asked = request(tmp_path, {"do": "wait"})
    pressed = signal_self_when(tmp_path / "work" / "pids", signal.SIGINT)

    with heeded(signal.SIGINT), in_background(pressed), pytest.raises(Interrupted):
        runtime.run_image(base.image, toolchain(tmp_path), asked, lambda _event: None)

    assert podman.containers.list(all=True, filters={"label": RUN_LABEL}) == []


def test_a_folder_that_podman_does_not_see_is_named_and_nothing_is_left_of_asking(
    podman: docker.DockerClient, tmp_path: Path
) -> None:
    here = {image.id for image in podman.images.list(all=True)}
    Containers(tmp_path)  # it sees this one
    ask = (
        f"from targets.runtimes.containers import Containers as C, Path; C(Path({str(tmp_path)!r}))"
    )
    hide = f'mount -t tmpfs none "{tmp_path}" && exec "$0" -c "$1"'
    unseen = subprocess.run(
        [program("Podman", "unshare"), "--mount", "sh", "-c", hide, sys.executable, ask],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert f"cannot mount what is in {tmp_path}: it is another machine's" in unseen.stderr
    assert {image.id for image in podman.images.list(all=True)} == here
    assert podman.containers.list(all=True) == []


@pytest.mark.slow
def test_the_doctor_says_what_it_is(podman: docker.DockerClient, tmp_path: Path) -> None:
    machine = Machine(tmp_path, tmp_path, (load_target("cpu"),))
    (found,) = [finding for finding in examine(machine) if finding.check == "engine"]
    assert found.message.startswith(f"Podman {podman.version()['Version']}, API ")
    assert (found.severity, found.details["name"]) == ("ok", "Podman")


@pytest.mark.slow
@pytest.mark.engine
def test_podman_builds_the_shipped_example_with_dockers_keys_and_bytes(
    quern: Quern, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    built = quern("build", "--dist", str(tmp_path / "dockers"), "--runtime", "docker")
    assert built.code == 0, built.stderr
    shutil.copytree(quern.cache / "wheels", cache / "wheels", copy_function=os.link)
    with own_podman():
        places = ("--dist", str(tmp_path / "podmans"), "--cache", str(cache))
        built = quern("build", *places, "--runtime", "docker")
        assert built.code == 0, built.stderr
        again = quern("images", "--target", "cpu", "--cache", str(cache), "--runtime", "docker")

    assert "building image" not in again.stdout + again.stderr
    dockers, podmans = (
        json.loads((tmp_path / name / "tone" / "cpu" / "report.json").read_text())
        for name in ("dockers", "podmans")
    )
    assert podmans["status"] == "passed"
    made = [{step["name"]: step["key"] for step in one["passes"]} for one in (dockers, podmans)]
    assert made[0] == made[1]
    assert dockers["files"] == podmans["files"]


@pytest.fixture(scope="module")
def account() -> pwd.struct_passwd:
    """Return a user who may have a rootless engine: one with user ids of its own."""
    if os.getuid() != 0:
        skip("rootless Podman", "only root can be somebody else")
    program("rootless Podman", "newuidmap")
    able = {line.partition(":")[0] for line in Path("/etc/subuid").read_text().splitlines()}
    found = [entry for entry in pwd.getpwall() if entry.pw_name in able]
    return found[0] if found else skip("rootless Podman", "nobody here has user ids for one")


@pytest.fixture(scope="module")
def rootless(account: pwd.struct_passwd) -> Iterator[docker.DockerClient]:
    ids = (f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
    with own_folder("quern-rootless-") as folder, pytest.MonkeyPatch.context() as patch:
        os.chown(folder, account.pw_uid, account.pw_gid)
        with podman_service(folder, ("setpriv", *ids), account.pw_dir) as address:
            patch.setenv("DOCKER_HOST", address)
            patch.setattr("targets.toolchain.engine.ANSWER_SECONDS", 60)
            yield connect()


@pytest.mark.slow
def test_a_rootless_podman_keeps_files_the_users_and_says_what_it_does_not_enforce(
    rootless: docker.DockerClient, account: pwd.struct_passwd, tmp_path: Path
) -> None:
    base = ensure_base(rootless, RECIPE, tmp_path / "base", print)
    facts = facts_of(rootless)
    with own_folder("quern-rootless-run-") as folder:
        os.chown(folder, account.pw_uid, account.pw_gid)
        limited = ProcessLimits(memory_bytes=128 * 2**20)

        def runs(params: dict[str, JsonValue]) -> str:
            """Return how a step ends that the user's own process runs."""
            runtime = DockerRuntime(rootless, folder / "cache", STANDIN, python="python3")
            asked = request(folder, params, resources=limited)
            try:
                runtime.run_image(base.image, toolchain(folder), asked, lambda _event: None)
            except PassFailed as failed:
                return str(failed)
            return "done"

        assert as_user(account, runs, {"do": "look"}) == "done"
        owner = (folder / "work" / "seen.json").stat()
        ended = as_user(account, runs, {"do": "eat", "mebibytes": 300})

    assert (owner.st_uid, owner.st_gid) == (account.pw_uid, account.pw_gid)
    assert facts.rootless
    # What it says is so: a step may take more than its limit where nothing enforces that.
    enforced = "memory" not in facts.unenforced
    assert ("ran out of memory" in ended) == enforced
    assert ("memory" in facts.limits_note) != enforced


def as_user(account: pwd.struct_passwd, work: Callable[..., str], *arguments: object) -> str:
    """Return what ``work`` returns in a process of the user."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            said = work(*arguments)
        except BaseException as error:
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said
