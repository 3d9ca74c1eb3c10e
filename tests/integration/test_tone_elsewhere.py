"""The shipped example, built on another machine's engine behind TLS and behind SSH.

Whole trainings are left to `bench-systems`, which compares the same.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.systems import EXAMPLE, WAYS, Results, builds, example, results
from tests.support.command import Quern
from tests.support.engine_elsewhere import EngineElsewhere, SshServer, ssh_server

# Each way is a whole build, and an image that travels.
pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def text() -> str:
    """Return its config with short trainings, which make a bad model, and few times taken."""
    shortened = EXAMPLE
    for line, short in (
        ('text = "base"', 'text = "base"\nsteps = 40'),
        ("epochs = 5", "max_steps = 20"),
        ("first_token_ms = 100\ntoken_ms = 20\n", "rounds = 3\nlengths = []\n"),
    ):
        assert shortened.count(line) == 1
        shortened = shortened.replace(line, short)
    return shortened


@pytest.fixture(scope="module")
def here(quern: Quern, text: str, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return what a build here makes."""
    folder = tmp_path_factory.mktemp("here")
    config = example(folder / "project", text)
    places = ("--config", str(config), "--dist", str(folder / "dist"))
    ran = quern("build", *places, "--target", "cpu", "--runtime", "docker", "--json")
    steps = json.loads(ran.stdout)["builds"][0]["passes"]
    made = results(quern.cache)
    return {step["key"]: made[step["key"]] for step in steps if step["key"] in made}


@pytest.fixture(scope="module")
def box(cpu_image: None) -> Iterator[EngineElsewhere]:  # noqa: ARG001 - it is sent there
    folder = Path(tempfile.mkdtemp(prefix="quern-tone-"))  # short: sockets lie in it
    engine = EngineElsewhere(folder)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ssh() -> Iterator[SshServer]:
    with ssh_server() as started:
        yield started


@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_same_as_here(
    way: str, here: Results, text: str, box: EngineElsewhere, ssh: SshServer, tmp_path: Path
) -> None:
    first, again = builds(tmp_path, way, box, ssh, text)
    assert len(here) == 9
    assert first.results == here
    assert again.results == here
    assert again.received == 0  # nobody there is asked
    assert box.left() == []
