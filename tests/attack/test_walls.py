"""Steps that mean harm, in real containers: what they see, and what they can do to the machine."""

from __future__ import annotations

import pytest

from targets.runtimes.log import MOST
from tests.attack.hostile_steps import HOSTILE_STEPS, LOOKS_AROUND, HostileStep
from tests.attack.living import Builds, builds, containers_of, left_in
from tests.support.gated_builds import GatedBuild, Surroundings
from tests.support.quick_builds import report_of

__all__ = ["builds"]

pytestmark = pytest.mark.engine

CONFIG = """\
name = "small"
skip_checks = ["general"]  # which runs a model

[model]
source = "model"

[passes.hostile]
type = "hostile.py:Hostile"

[resources]
memory = "500m"
step_hours = 0.003
"""
SECRETS = ("HF_TOKEN", "HTTPS_PROXY", "PIP_INDEX_URL", "AZURE_CLIENT_SECRET", "PLANTED")


def built(builds: Builds, step: HostileStep, around: Surroundings = Surroundings()) -> GatedBuild:  # noqa: B008 - immutable
    """Build a project whose only pass is ``step``, to the end."""
    builds.project.config.write_text(CONFIG)
    (builds.project.folder / "hostile.py").write_text(step.text)
    build = builds.start("docker", around=around)
    assert build.finish(120) == step.code, build.said
    assert step.says in build.said
    assert "Traceback" not in build.said
    left = [*left_in(builds.cache), *containers_of(builds.cache)]
    assert left == [], left
    return build


def test_a_step_sees_what_it_reads_and_nothing_else(builds: Builds) -> None:
    planted = "planted-f8c1"
    other = builds.cache / "objects" / "ab" / ("ab" * 32) / "output"
    for folder in (other, builds.cache / "history", builds.cache / "code" / "other"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "other.txt").write_text(planted)
    (builds.project.folder / "notes.txt").write_text(planted)
    (builds.project.folder / ".env").write_text(f"KEY={planted}")
    around = Surroundings(dict.fromkeys(SECRETS, f"https://user:{planted}@localhost:9"))
    built(builds, LOOKS_AROUND, around)

    steps = {step["name"]: step for step in report_of(builds.dist)["passes"]}
    assert steps["hostile"]["metrics"] == {
        "mounts": [
            *("/quern/code@hostile", "/quern/model", "/quern/objects", "/quern/work"),
            *("/run/quern/lease", "/run/quern/plan.json"),
        ],
        "seen": [],
        "others": [],
        "variables": [],
        "writable": ["/dev", "/quern/work", "/tmp"],  # noqa: S108 - as the container has it
        "sockets": [],
        "devices": [],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE_STEPS)
def test_a_step_cannot_harm_the_machine(builds: Builds, name: str) -> None:
    build = built(builds, HOSTILE_STEPS[name])
    assert len(build.said) < 200_000
    (log,) = (builds.cache / "logs").glob("small-cpu.log")
    assert log.stat().st_size < MOST + 2**20
