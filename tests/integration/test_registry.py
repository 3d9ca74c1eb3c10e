"""Images of toolchains that a real registry keeps: pulled by digest, verified, and built where it
does not serve."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from docker import DockerClient, from_env
from docker.errors import APIError, ImageNotFound

from targets.cli.options import PROJECT
from targets.doctor.engine import engine
from targets.doctor.finding import Machine
from targets.errors import EnvironmentUnable
from targets.signatures.signing import signer_of_file
from targets.systems.azureml.environment import signed_digest
from targets.systems.select import Chooser
from targets.target import load_target
from targets.toolchain.image import Image, ensure_image, expected_image, find_image
from targets.toolchain.platforms import this_machine
from targets.toolchain.registry.exchange import ImageRefused, RegistryFailed, RegistryRefused
from targets.toolchain.registry.image_registry import ImageRegistry
from targets.toolchain.registry.settings import RegistrySettings
from targets.toolchain.registry.statement import LABEL, statement_tag, write_statement
from targets.toolchain.toolchain import Toolchain
from tests.support.capabilities import program, skip
from tests.support.key_files import private_file, public_file
from tests.support.registries import (
    MADE,
    PASSWORD,
    PROGRAM,
    Registry,
    holding,
    logged_in,
    made_certificate,
    made_image,
    registry,
    slow_way_to,
    with_helper,
)
from tests.support.small_toolchains import SMALL, small_toolchain

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    program("registry", PROGRAM)
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def toolchain(
    tmp_path_factory: pytest.TempPathFactory, docker_client: DockerClient
) -> Iterator[Toolchain]:
    folder = tmp_path_factory.mktemp("kept")
    with small_toolchain(folder, docker_client, "kept") as found:
        yield found


@dataclass
class Team:
    """A registry, as machines of a team use it; images are removed from this one meanwhile."""

    client: DockerClient
    toolchain: Toolchain
    registry: Registry
    trust: tuple[Path, ...] = ()
    image: str = ""
    """Id of the image that this machine pushes."""

    @property
    def settings(self) -> RegistrySettings:
        return RegistrySettings(self.registry.repository, self.trust)

    @property
    def images(self) -> ImageRegistry:
        return ImageRegistry(self.settings)

    @property
    def name(self) -> str:
        return self.images.name(expected_image(self.toolchain))

    def push(self, key: Path | None = None, image: str = "") -> str:
        signer = None if key is None else signer_of_file(key, None)
        expected = expected_image(self.toolchain)
        digest, _ = self.images.push(
            self.client, image or self.image, expected, signer, lambda _: None
        )
        return digest

    def make(self, **changes: Any) -> None:
        """Make an image of the recipe, with a layer that no other has, but for some ``changes``."""
        self.image = made_image(self.client, expected_image(self.toolchain), **changes)

    def state(self, digest: str, statement: str) -> None:
        """Put into the registry what is said of an image."""
        image = holding(self.client, LABEL, statement)
        image.tag(self.registry.repository, statement_tag(digest))
        self.client.api.push(self.registry.repository, tag=statement_tag(digest))

    def find(self) -> Image | None:
        return find_image(self.client, self.toolchain, self.images)

    def fetch(self) -> str:
        """Pull and return the digest. Raises ``RegistryFailed``."""
        pulled = self.images.fetch(self.client, expected_image(self.toolchain), lambda _: None)
        assert pulled is not None
        return pulled.digest

    def forget(self) -> None:
        """Be a machine that has nothing of it."""
        for image in self.client.images.list(all=True):
            for name in [*image.tags, *(image.attrs["RepoDigests"] or ())]:
                if name.startswith((self.registry.host, "quern/kept:", MADE)):
                    with suppress(ImageNotFound, APIError):
                        self.client.images.remove(name)


@pytest.fixture
def team(docker_client: DockerClient, toolchain: Toolchain, served: Registry) -> Iterator[Team]:
    """Yield a team whose registry is empty, and one of its machines, which has an image."""
    shutil.rmtree(served.folder / "data", ignore_errors=True)
    team = Team(docker_client, toolchain, served)
    team.make()
    yield team
    team.forget()


def test_two_caches_build_an_image_once_and_another_machine_pulls_and_runs_it(
    team: Team, cache_dir: Path, tmp_path: Path
) -> None:
    building: list[str] = []

    def build(name: str) -> Image:
        (tmp_path / name).mkdir()
        (tmp_path / name / "wheels").symlink_to(cache_dir / "wheels")
        return ensure_image(from_env(), team.toolchain, tmp_path / name, building.append)

    with ThreadPoolExecutor(2) as pool:
        built, other = pool.map(build, ("one", "other"))
    assert built == other
    assert [line.partition(" quern/")[0] for line in building].count("building image") == 1
    assert "another build makes an image on this engine; waiting for it to finish" in building

    digest = team.push(image=built.id)
    config = team.registry.manifest(digest)["config"]
    assert isinstance(config, dict)
    assert config["digest"] == built.id
    team.forget()
    assert find_image(team.client, team.toolchain) is None
    chooser = Chooser("docker", cache_dir, registry=team.settings)

    decision = chooser.decide([team.toolchain])
    assert decision.why == f"the image of kept is in {team.registry.repository}"
    assert team.find() is None  # to decide fetches nothing
    said: list[str] = []
    record = chooser.start([team.toolchain], said.append).prepare(team.toolchain, said.append)

    assert record.image == f"{team.name}@{digest}"
    assert record.base_image == built.base
    assert [line for line in said if not line.startswith("pulling: ")] == [
        f"pulling {team.name}",
        f"pulled {team.name}, {digest[:19]}: nobody signed it, since the config trusts no key",
    ]
    program = f"import {SMALL}; print({SMALL}.__name__)"
    ran = team.client.containers.run(team.name, ["python", "-c", program], remove=True)
    assert ran == f"{SMALL}\n".encode()


def test_only_who_names_the_registry_uses_its_images(team: Team, tmp_path: Path) -> None:
    team.push()
    team.fetch()
    assert team.find() is not None
    assert find_image(team.client, team.toolchain) is None
    other = replace(team, registry=Registry("127.0.0.1:9", tmp_path))
    assert other.find() is None


def test_what_is_there_is_not_pushed_again(team: Team) -> None:
    expected = expected_image(team.toolchain)
    said: list[str] = []

    def push() -> tuple[str, bool]:
        return team.images.push(team.client, team.image, expected, None, said.append)

    digest, new = push()
    assert new
    assert said == [f"pushing {team.name}"]
    assert push() == (digest, False)
    # It has the registry's name for a moment only, unless it came from there.
    assert team.find() is None
    team.fetch()
    shutil.rmtree(team.registry.folder / "data")
    assert push() == (digest, True)
    assert team.find() is not None


def test_a_registry_without_the_image(team: Team, cache_dir: Path) -> None:
    decision = Chooser("docker", cache_dir, registry=team.settings).decide([team.toolchain])
    assert decision.runtime == "docker"
    assert f"({team.registry.repository} has none for this recipe), and" in decision.why


def test_a_registry_that_is_not_there_costs_one_line(team: Team, cache_dir: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}/team/quern"
        chooser = Chooser("docker", cache_dir, registry=RegistrySettings(address))
        said: list[str] = []
        chooser.start([team.toolchain], said.append)
    (line,) = said
    assert line.startswith(f"the image of kept is built here: {address}: ")
    assert "connection refused" in line


def test_the_doctor_says_whether_it_answers(team: Team, tmp_path: Path) -> None:
    def found(settings: RegistrySettings) -> tuple[str, str, str]:
        machine = Machine(tmp_path, tmp_path, (load_target("cpu"),), None, settings)
        (finding,) = (one for one in engine(machine) if one.check == "registry")
        return finding.severity, finding.message, finding.remedy

    address = team.registry.repository
    cpu = load_target("cpu").toolchain(this_machine())
    answer = f"{address} answers, and has"
    assert found(team.settings) == ("ok", f"{answer} none of the images", "")
    replace(team, toolchain=cpu, image=made_image(team.client, expected_image(cpu))).push()
    assert found(team.settings) == ("ok", f"{answer} the images of cpu", "")
    severity, message, remedy = found(RegistrySettings("127.0.0.1:9/team/quern"))
    assert severity == "warning"
    assert message.startswith("127.0.0.1:9/team/quern: ")
    assert remedy == "check that the Docker Engine reaches it"


def test_a_registry_that_says_nothing_is_left_alone(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("targets.toolchain.registry.exchange.ASKING_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}/team/quern"
        images = ImageRegistry(RegistrySettings(address))
        with pytest.raises(RegistryFailed, match="it does not answer"):
            images.ask(team.client, expected_image(team.toolchain))


def test_a_login_is_the_engines_own(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_dir: Path
) -> None:
    with registry(tmp_path / "closed", login=True) as closed:

        def machine(config: Path) -> Team:
            monkeypatch.setenv("DOCKER_CONFIG", str(config))
            return replace(team, client=from_env(), registry=closed)

        stranger = machine(tmp_path)
        with pytest.raises(RegistryRefused, match="no basic auth credentials") as caught:
            stranger.push()
        assert caught.value.advice.startswith("`docker login`")
        said: list[str] = []
        Chooser("docker", cache_dir, registry=stranger.settings).start(
            [team.toolchain], said.append
        )
        assert "no basic auth credentials" in said[0]

        digest = machine(logged_in(tmp_path / "login", closed.host)).push()
        team.forget()
        folder = with_helper(tmp_path / "helper", closed.host)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        member = machine(folder)
        said = []
        runtime = Chooser("docker", cache_dir, registry=member.settings).start(
            [team.toolchain], said.append
        )
        record = runtime.prepare(team.toolchain, said.append)
        assert record.image == f"{member.name}@{digest}"
        assert PASSWORD not in repr((said, record))
        member.forget()

        (folder / "docker-credential-tests").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
        with pytest.raises(RegistryRefused, match="credentials cannot be read"):
            machine(folder).fetch()


_PULLING = """\
import pickle, sys
from targets.errors import Interrupted
from targets.systems.select import Chooser
from targets.toolchain.registry import exchange
exchange._TELL_SECONDS = 0.1
toolchain, cache, settings = pickle.loads(sys.stdin.buffer.read())
try:
    chooser = Chooser("docker", cache, registry=settings)
    chooser.start([toolchain], lambda line: print(line, flush=True))
except Interrupted as stopped:
    print(stopped, flush=True)
"""


def test_a_pull_shows_how_far_it_is_and_ends_when_it_is_told_to(
    team: Team, cache_dir: Path
) -> None:
    digest = team.push()
    team.forget()
    with slow_way_to(team.registry, bytes_per_second=20_000) as slow:
        settings = RegistrySettings(slow.repository)
        with subprocess.Popen(
            [sys.executable, "-c", _PULLING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=PROJECT,
        ) as pulling:
            assert pulling.stdin is not None
            assert pulling.stdout is not None
            pulling.stdin.write(pickle.dumps((team.toolchain, cache_dir, settings)))
            pulling.stdin.close()
            assert pulling.stdout.readline().startswith(b"pulling 127.0.0.1:")
            assert re.fullmatch(rb"pulling: [\d.]+ [KM]?B of 1\.0 MB\n", pulling.stdout.readline())
            pulling.send_signal(signal.SIGINT)
            pulling.wait(20)  # the rest would take a minute
            assert pulling.stdout.readlines()[-1].startswith(b"stopped; ")
        with pytest.raises(ImageNotFound):
            team.client.images.get(f"{slow.repository}@{digest}")


def test_behind_tls_the_engine_decides_whom_it_believes(team: Team, tmp_path: Path) -> None:
    """An engine believes any registry of its own machine, so this one has another address."""
    addresses = [
        one.address
        for interface in psutil.net_if_addrs().values()
        for one in interface
        if one.family == socket.AF_INET and not one.address.startswith("127.")
    ]
    if not addresses or os.geteuid():
        skip("registry", "only root says whom an engine believes, with a network")
    certificate = made_certificate(tmp_path, addresses[0])
    with registry(tmp_path / "tls", certificate=certificate, address=addresses[0]) as closed:
        member = replace(team, registry=closed)
        with pytest.raises(RegistryFailed, match="certificate signed by unknown authority"):
            member.push()
        believed = Path("/etc/docker/certs.d") / closed.host
        believed.mkdir(parents=True)
        try:
            shutil.copy(certificate[0], believed / "ca.crt")
            digest = member.push()
            team.forget()
            assert member.fetch() == digest
        finally:
            shutil.rmtree(believed)
            member.forget()


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_layer_is_refused_and_nothing_is_left(team: Team, damage: str) -> None:
    digest = team.push()
    team.forget()
    layer = team.registry.layers(digest)[-1]
    content = layer.read_bytes()
    layer.unlink()
    if damage != "gone":
        layer.write_bytes(content[: len(content) // 2] if damage == "cut" else content[::-1])
    told = "unknown blob" if damage == "gone" else "verification failed for digest"
    with pytest.raises(RegistryFailed, match=told):
        team.fetch()
    assert team.find() is None
    with pytest.raises(ImageNotFound):
        team.client.images.get(f"{team.registry.repository}@{digest}")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"architecture": "s390x"}, "is for linux/s390x"),
        ({"Entrypoint": ["/evil"]}, "not what its tag says: it sets Entrypoint: ['/evil']"),
    ],
)
def test_an_image_that_is_not_what_its_tag_says_is_refused_and_removed(
    team: Team, changes: dict[str, Any], told: str, cache_dir: Path
) -> None:
    team.make(**changes)
    digest = team.push()
    team.forget()
    said: list[str] = []
    Chooser("docker", cache_dir, registry=team.settings).start([team.toolchain], said.append)
    assert told in said[-1]
    assert said[-1].startswith(f"the image of kept is built here: {team.registry.repository}: ")
    with pytest.raises(ImageNotFound):
        team.client.images.get(f"{team.registry.repository}@{digest}")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of the team's private key; that of the public one is beside it."""
    folder, pair = tmp_path_factory.mktemp("key"), Ed25519PrivateKey.generate()
    public_file(folder, pair, "team.pub")
    return private_file(folder, pair)


@pytest.fixture
def trusting(team: Team, key: Path) -> Team:
    return replace(team, trust=(key.with_name("team.pub"),))


def test_with_trust_an_image_that_was_signed_is_used(trusting: Team, key: Path) -> None:
    digest = trusting.push(key)
    trusting.forget()
    assert trusting.fetch() == digest
    found = trusting.find()
    assert found is not None
    assert found.reference == f"{trusting.name}@{digest}"
    # A key that is not trusted any more counts for nothing that is here.
    another = public_file(key.parent, Ed25519PrivateKey.generate(), "another.pub")
    assert replace(trusting, trust=(another,)).find() is None


def test_with_trust_nothing_is_pulled_of_what_is_not_signed(
    team: Team, trusting: Team, key: Path
) -> None:
    digest = team.push()
    team.forget()
    for layer in team.registry.layers(digest):
        layer.unlink()  # whoever pulled them would fail by that
    with pytest.raises(ImageRefused, match=r"^it is not signed by the key team\.pub$"):
        trusting.fetch()
    trusting.make()
    signed = trusting.push(key)  # in place of the other, which nobody would use
    assert signed != digest
    trusting.forget()
    assert trusting.fetch() == signed


def test_a_machine_elsewhere_is_given_the_digest_of_what_is_signed_alone(
    team: Team, trusting: Team, key: Path
) -> None:
    """As of Azure Machine Learning, whose compute pulls the image: it does not come here."""
    unsigned = team.push()
    assert signed_digest(team.toolchain, team.settings) == unsigned
    told = f"{team.registry.repository}: it is not signed by the key team.pub"
    with pytest.raises(EnvironmentUnable, match=f"^{re.escape(told)}$") as refused:
        signed_digest(team.toolchain, trusting.settings)
    assert "images -- --push" in refused.value.hint
    trusting.make()
    signed = trusting.push(key)
    trusting.forget()
    assert signed_digest(team.toolchain, trusting.settings) == signed
    with pytest.raises(ImageNotFound):
        team.client.images.get(f"{team.registry.repository}@{signed}")


def test_what_was_pulled_without_trust_is_not_used_with_it(team: Team, trusting: Team) -> None:
    team.push()
    team.fetch()
    assert team.find() is not None
    assert trusting.find() is None


def test_the_signature_of_another_key_or_image_or_recipe_does_not_count(
    team: Team, trusting: Team, key: Path, tmp_path: Path
) -> None:
    other = private_file(tmp_path, Ed25519PrivateKey.generate())
    signed = team.push(other)
    expected = expected_image(team.toolchain)
    with pytest.raises(ImageRefused, match="is not signed by the key"):
        trusting.fetch()

    signer = signer_of_file(key, None)
    for said, told in (
        (write_statement(expected, f"sha256:{'0' * 64}", signer), "another image"),
        (write_statement(replace(expected, recipe="0" * 64), signed, signer), "another image"),
        (write_statement(replace(expected, target="cuda"), signed, signer), "another image"),
        (write_statement(expected, signed, signer).replace("payload", "pay"), "is damaged"),
        ("", "is damaged"),
    ):
        team.state(signed, said)
        with pytest.raises(ImageRefused, match=told):
            trusting.fetch()
    team.state(signed, write_statement(expected, signed, signer))
    assert trusting.fetch() == signed
