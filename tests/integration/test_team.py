"""A team's set-up, as the page shows it on one screen: its tables and its commands."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from targets.cli.options import PROJECT
from targets.remote.shared_cache import SIGN_KEY
from tests.support.capabilities import program
from tests.support.command import CommandResult, Quern
from tests.support.engine_elsewhere import EngineElsewhere, SshServer, in_memory, ssh_server
from tests.support.gated_builds import gated_project
from tests.support.object_stores.moto import moto
from tests.support.object_stores.server import ObjectServer
from tests.support.project import Project
from tests.support.registries import PROGRAM, Registry, registry

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ROOM = "4g"
"""More than a pulled image may take (`[room]` of the target): steps run in a virtual environment
where an engine has less. Of it, the images of this test take a tenth."""
CODE = """
from pipeline.contract.frozen import Frozen
from pipeline.passes.base import BasePass


class Params(Frozen):
    text: str = "one"


class Writes(BasePass[Params]):
    Params = Params
    consumes = {"model": "checkpoint"}
    produces = "checkpoint"

    def run(self, inputs, params, out_dir):
        (out_dir / "whole").write_text(params.text)
        return {}
"""
CONFIG = """\
name = "small"
skip_checks = ["general"]  # which runs a model

[model]
source = "model"

[passes.first]
type = "own.py:Writes"

"""


@pytest.fixture
def here(toolchain_python: Path) -> Iterator[EngineElsewhere]:
    """Return the engine of a member's machine: it has the image, as CI's has once it is built."""
    with in_memory(ROOM) as folder:
        engine = EngineElsewhere(folder)
        engine.start()
        try:
            engine.make_image(toolchain_python, folder / "base")
            yield engine
        finally:
            engine.stop()


@pytest.fixture
def box() -> Iterator[EngineElsewhere]:
    """Return the engine of the box, which has no image."""
    with in_memory(ROOM) as folder:
        engine = EngineElsewhere(folder)
        engine.start()
        try:
            yield engine
        finally:
            engine.stop()


@pytest.fixture
def served(here: EngineElsewhere, tmp_path: Path) -> Iterator[Registry]:
    program("registry", PROGRAM)
    with registry(tmp_path / "registry", before=here.beside, connect=here.connected) as started:
        yield started


@pytest.fixture
def bucket(cache_dir: Path, tmp_path: Path) -> Iterator[ObjectServer]:
    with moto(cache_dir / "object_stores", tmp_path / "moto") as server:
        yield server


def test_one_screen_sets_up_a_team(
    here: EngineElsewhere,
    box: EngineElsewhere,
    served: Registry,
    bucket: ObjectServer,
    tmp_path: Path,
) -> None:
    page = (PROJECT / "docs" / "how-to.md").read_text("utf-8")
    section = page.partition("## Set up a team\n")[2].partition("\n## ")[0]
    with ssh_server() as ssh:
        project = committed(tmp_path / "project", section, bucket, served, box, ssh)
        around = {**bucket.environment, "PATH": ssh.path, "DOCKER_HOST": here.address}
        jobs = [
            line.removeprefix("- run: ./nox -s ").split(" -- ")
            for line in section.splitlines()
            if line.startswith("- run: ./nox")
        ]
        assert [job[0] for job in jobs] == ["images", "build-cpu"]

        ci = Member(
            tmp_path / "ci", project, {**around, SIGN_KEY: str(project.folder / "team.key")}
        )
        said = []
        for session, options in jobs:
            ended = ci(session, *options.split())
            assert ended.code == 0, ended.stderr
            said.append(ended.stdout + ended.stderr)
        assert f"cpu: pushed, {served.repository}@" in said[0]

        # A colleague, who has neither the key nor the image.
        for image in here.client.images.list(filters={"label": "quern.recipe"}):
            here.client.images.remove(str(image.id), force=True)
        colleague = Member(tmp_path / "colleague", project, around)
        (doctor,) = [
            word for word in re.findall(r"`([^`]*)`", section) if word.startswith("doctor ")
        ]
        examined = colleague("doctor", *doctor.partition(" -- ")[2].split(), "--json")
        findings = {one["check"]: one for one in json.loads(examined.stdout)["findings"]}
        assert findings["shared cache"]["severity"] == "ok", findings
        assert "cached (shared)" in colleague("plan", "--config", "my.toml").stdout
        built = colleague("build-cpu", "--config", "my.toml")
        assert built.code == 0, built.stderr
        assert reasons(project) == {"cached (shared)"}
        assert here.client.images.list(filters={"label": "quern.recipe"}) == []

        # With another text a step must run: here in the image that is pulled, then on the box.
        project.edit('type = "own.py:Writes"', 'type = "own.py:Writes"\ntext = "two"')
        built = colleague("build-cpu", "--config", "my.toml")
        assert built.code == 0, built.stderr
        assert f"pulled {served.repository}" in built.stdout + built.stderr
        project.edit('text = "two"', 'text = "three"')
        built = colleague("build-cpu", "--config", "my.toml", "--system", "box")
        assert built.code == 0, built.stderr
        assert "sending the image of cpu to box" in built.stdout + built.stderr
        assert report(project)["passes"][0]["system"] == "box"
        assert (project.folder / "dist/small/cpu/model/whole").read_text() == "three"


class Member:
    """Somebody with a cache of their own, in one folder with the project."""

    def __init__(self, cache: Path, project: Project, around: Mapping[str, str]) -> None:
        self._quern = Quern(cache)
        self._project = project
        self._around = around

    def __call__(self, session: str, *options: str) -> CommandResult:
        """Run what a session of nox runs."""
        command, _, target = session.partition("-")
        where = ["--target", target] if target else []
        places = ["--dist", str(self._project.folder / "dist")] if command == "build" else []
        words = [str(self._project.config) if word == "my.toml" else word for word in options]
        return self._quern(command, *where, *words, *places, environment=self._around)


def committed(
    folder: Path,
    section: str,
    bucket: ObjectServer,
    served: Registry,
    box: EngineElsewhere,
    ssh: SshServer,
) -> Project:
    """Return a project with the tables of the page, whose addresses alone are others."""
    project = gated_project(folder)
    (folder / "own.py").write_text(CODE)
    tables = section.partition("```toml\n")[2].partition("```")[0]
    for shown, real in (
        ("s3://bucket/quern", f"{bucket.remote}/quern"),
        ("ghcr.io/org/quern", served.repository),
        ("ssh://me@box:22", ssh.url(box.socket)),
    ):
        assert tables.count(shown) == 1
        tables = tables.replace(shown, real)
    project.config.write_text(f"{CONFIG}{tables}")
    for command in re.findall(r"`(openssl [^`]*)`", section.partition("\n## ")[0]):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return project


def report(project: Project) -> dict[str, Any]:
    found = json.loads((project.folder / "dist/small/cpu/report.json").read_text())
    assert isinstance(found, dict)
    return found


def reasons(project: Project) -> set[str]:
    return {step["reason"] for step in report(project)["passes"]}
