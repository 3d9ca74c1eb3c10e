"""Trainings that are killed on another machine's engine end with the bytes of one here that never
was."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Quern
from tests.support.engine_elsewhere import EngineElsewhere
from tests.support.gated_builds import GatedBuild
from tests.support.project import Project
from tests.support.quick_builds import quick_project, report_of

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STEPS = 120
PRETRAINED = 5
"""Steps of what comes before the training, which may leave snapshots as well."""
SECONDS = 900
"""In which a build must end on a machine that does much else; the first one sends the image."""


@pytest.fixture
def box(cpu_image: None) -> Iterator[EngineElsewhere]:  # noqa: ARG001 - it is sent there
    folder = Path(tempfile.mkdtemp(prefix="quern-elsewhere-"))  # short: sockets lie in it
    engine = EngineElsewhere(folder)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(4 * SECONDS)
def test_killed_at_random_steps_it_ends_with_the_bytes_of_one_that_never_was(
    box: EngineElsewhere, quern: Quern, tmp_path: Path
) -> None:
    project = training(tmp_path / "project", box)
    undisturbed = ("--config", str(project.config), "--dist", str(tmp_path / "here"))
    here = quern("build", *undisturbed, "--system", "local", "--runtime", "venv")
    assert here.code == 0, here.stdout + here.stderr

    fresh = Quern(tmp_path / "cache")
    there = ("--config", str(project.config), "--dist", str(tmp_path / "there"))
    first = random.randint(PRETRAINED + 1, STEPS // 2)  # noqa: S311
    last = 0
    for step in (first, random.randint(first + 1, STEPS - 30)):  # noqa: S311
        build = GatedBuild(fresh, "python", there)
        try:
            wait_for_snapshot(box, step, build)
            box.end_jobs()
            # As the engine tells of the process that was killed, or knows of it no more.
            assert build.finish(SECONDS) in (4, 5), build.said
        finally:
            build.kill()
        assert "is gone from box" in build.said or "SIGKILL" in build.said
        last = max(last, step)
        assert box.left() == []
    build = GatedBuild(fresh, "python", there)
    try:
        assert build.finish(SECONDS) == 0, build.said
    finally:
        build.kill()
    (went_on,) = map(int, re.findall(r"goes on after step (\d+)", build.said))
    assert last <= went_on < STEPS

    keys = [[step["key"] for step in report_of(tmp_path / one)["passes"]] for one in PLACES]
    assert keys[0] == keys[1]
    assert report_of(tmp_path / "there")["passes"][-1]["system"] == "box"
    found = [sha256sums(tmp_path / one / "small" / "cpu" / "model") for one in PLACES]
    assert "adapter_model.safetensors" in found[0]
    assert found[0] == found[1]
    assert box.left() == []


PLACES = ("here", "there")


def training(folder: Path, box: EngineElsewhere) -> Project:
    """Return a project that ends with a fine-tuning, on that engine, of which snapshots are kept
    all the time."""
    project = quick_project(folder, seed=41)
    project.edit("[passes.merge]\n\n[passes.model_builder]\n", "")
    project.edit("steps = 5", f"steps = {PRETRAINED}")
    project.edit("max_steps = 8", f"max_steps = {STEPS}\nsave_steps = 1\nkeep = 'last'")
    text = project.config.read_text()
    project.config.write_text(
        f'host = "box"\n{text}\n[systems.box]\ntype = "docker"\nengine = "{box.url}"\n'
        f'certificates = "{box.certificates}"\npatience = 120\n'
    )
    return project


def wait_for_snapshot(box: EngineElsewhere, step: int, build: GatedBuild) -> None:
    """Return when the training there has written a snapshot of this step or a later one."""
    deadline = time.monotonic() + SECONDS
    kept = "quern-unfinished-*/_data/kept/checkpoint-*"
    while True:
        found = (box.folder / "data-root" / "volumes").glob(kept)
        steps = [int(one.name.rpartition("-")[2]) for one in found if one.name[-1].isdigit()]
        if steps and max(steps) >= step:
            return
        assert build.process.poll() is None, build.said
        assert time.monotonic() < deadline, build.said
        time.sleep(0.02)


def sha256sums(folder: Path) -> str:
    """Return what `sha256sum` says of every file below ``folder``."""
    files = sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())
    command = ["sha256sum", "--", *files]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout
