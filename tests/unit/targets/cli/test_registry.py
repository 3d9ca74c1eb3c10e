"""Which registry images come from: the environment's, else the config's; and what is no address."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from targets.cli.commands.images import command
from targets.cli.options import registry_settings
from targets.errors import ConfigError
from targets.toolchain.registry.settings import RegistrySettings, is_pulled
from tests.support.key_files import private_file, public_file


@pytest.fixture(autouse=True)
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUERN_REGISTRY", "QUERN_REGISTRY_TRUST", "QUERN_CACHE_SIGN_KEY"):
        monkeypatch.delenv(name, raising=False)


def settings(folder: Path, *lines: str) -> RegistrySettings | None:
    config = folder / "team.toml"
    config.write_text("\n".join(lines))
    return registry_settings(config)


REGISTRY = ("[toolchain]", 'registry = "ghcr.io/org/quern"')
CACHE = ("[cache]", 'remote = "file:///mnt/share"', 'trust = ["team.pub"]')


def test_a_config_without_one_has_none(tmp_path: Path) -> None:
    assert settings(tmp_path, "name = 'x'") is None
    assert settings(tmp_path, *CACHE) is None
    assert registry_settings() is None


def test_its_images_are_signed_by_whom_the_config_says_else_as_the_results_are(
    tmp_path: Path,
) -> None:
    address = "ghcr.io/org/quern"
    own = (*REGISTRY, 'trust = ["images.pub", "/etc/keys/all.pub"]')
    assert settings(tmp_path, *REGISTRY) == RegistrySettings(address)
    assert settings(tmp_path, *CACHE, *REGISTRY) == RegistrySettings(
        address, (tmp_path / "team.pub",)
    )
    assert settings(tmp_path, *CACHE, *own) == RegistrySettings(
        address, (tmp_path / "images.pub", Path("/etc/keys/all.pub"))
    )
    assert settings(tmp_path, *CACHE, *REGISTRY, "trust = []") == RegistrySettings(address)


def test_the_environment_names_another_one_with_the_same_keys_or_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUERN_REGISTRY", "localhost:5000/quern")
    key = (tmp_path / "team.pub",)
    assert settings(tmp_path, *CACHE, *REGISTRY) == RegistrySettings("localhost:5000/quern", key)
    assert registry_settings() == RegistrySettings("localhost:5000/quern")
    monkeypatch.setenv("QUERN_REGISTRY_TRUST", os.pathsep.join(("/a.pub", "/b.pub")))
    others = (Path("/a.pub"), Path("/b.pub"))
    assert settings(tmp_path, *CACHE, *REGISTRY) == RegistrySettings("localhost:5000/quern", others)
    assert registry_settings() == RegistrySettings("localhost:5000/quern", others)


@pytest.mark.parametrize(
    "address",
    [
        "quern",
        "org/quern",
        "https://ghcr.io/org/quern",
        "user:secret@ghcr.io/org/quern",
        "ghcr.io",
        "ghcr.io/",
        "ghcr.io/org/quern:latest",
        f"ghcr.io/org/quern@sha256:{'0' * 64}",
        "ghcr.io/Org/quern",
        "ghcr.io/../quern",
        "ghcr.io/org/quern ",
        f"ghcr.io/{'x' * 300}",
        "",
    ],
)
def test_what_is_no_repository_of_a_registry_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, "name = 'x'", "[toolchain]", f'registry = "{address}"')
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (3, "toolchain.registry")
    assert "docker login" in problem.message
    if address:
        monkeypatch.setenv("QUERN_REGISTRY", address)
        with pytest.raises(ConfigError, match="HOST/REPOSITORY") as caught:
            registry_settings()
        assert caught.value.problems[0].key == "QUERN_REGISTRY"


def test_a_pulled_image_is_known_by_its_registry() -> None:
    digest = f"@sha256:{'0' * 64}"
    assert not is_pulled(f"quern/cpu:0123456789ab{digest}")
    assert not is_pulled("")
    for host in ("ghcr.io", "localhost", "127.0.0.1:5000", "docker.io"):
        assert is_pulled(f"{host}/org/quern:cpu-{'1' * 64}{digest}")


def push(config: Path, *arguments: str) -> str:
    ran = CliRunner().invoke(
        command, ["--config", str(config), "--push", *arguments], standalone_mode=False
    )
    assert isinstance(ran.exception, ConfigError)
    return str(ran.exception)


def test_what_nobody_would_use_is_not_pushed(tmp_path: Path) -> None:
    config = tmp_path / "team.toml"
    config.write_text("name = 'x'")
    assert "there is no registry to push to" in push(config)

    pair = Ed25519PrivateKey.generate()
    public_file(tmp_path, pair, "team.pub")
    config.write_text("\n".join((*CACHE, *REGISTRY)))
    assert "trusts signed images only" in push(config)
    (tmp_path / "other").mkdir()
    other = private_file(tmp_path / "other", Ed25519PrivateKey.generate())
    assert "none of the keys that the config trusts" in push(config, "--sign-key", str(other))
    own = str(private_file(tmp_path, pair))
    words = push(config, "--sign-key", own, "--runtime", "venv")
    assert "a virtual environment is no image" in words
