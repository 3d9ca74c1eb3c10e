"""The shipped example, built on another machine's engine behind TLS and behind SSH."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.systems import WAYS, Results, builds, results
from tests.support.command import Quern
from tests.support.engine_elsewhere import EngineElsewhere, SshServer, ssh_server

# Each way is a whole build, and an image that travels.
pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def here(quern: Quern, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return what a build here makes."""
    dist = tmp_path_factory.mktemp("here")
    ran = quern("build", "--dist", str(dist), "--runtime", "docker", "--json")
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
    way: str, here: Results, box: EngineElsewhere, ssh: SshServer, tmp_path: Path
) -> None:
    first, again = builds(tmp_path, way, box, ssh)
    assert len(here) == 9
    assert first.results == here
    assert again.results == here
    assert again.received == 0  # nobody there is asked
    assert box.left() == []
