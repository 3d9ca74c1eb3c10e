"""Secrets that a build is given are found in nothing that it leaves, and in nothing that the engine
tells about its containers."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import docker
import pytest
from docker.errors import DockerException

from targets.cli.options import PROJECT
from targets.runtimes.docker import RUN_LABEL
from tests.support import hub_stand_in
from tests.support.command import Quern

PROXY, INDEX, AZURE = "proxy-password-PLANTED", "index-credential-PLANTED", "azure-key-PLANTED"
SECRETS = {"hub token": hub_stand_in.TOKEN, "proxy": PROXY, "index": INDEX, "Azure": AZURE}

CONFIG = f"""\
name = "secrets"
model = "checkpoint"

[data.tones]
source = "hf:org/tones@{hub_stand_in.COMMIT}"
prompt = "{{phrase}}"
completion = "{{tone}}"

[passes.lora]
max_steps = 1
batch_size = 1
"""
ROWS = b"".join(
    json.dumps({"phrase": f"a phrase with {letter * 3}", "tone": "joy"}).encode() + b"\n"
    for letter in "abcdefghijkl"
)
ENVIRONMENT = {
    "HF_TOKEN": hub_stand_in.TOKEN,
    "HTTPS_PROXY": f"http://somebody:{PROXY}@127.0.0.1:9",
    "NO_PROXY": "127.0.0.1",
    "PIP_EXTRA_INDEX_URL": f"https://somebody:{INDEX}@127.0.0.1:9/simple",
    "AZURE_CLIENT_SECRET": AZURE,
}


def found(content: bytes) -> set[str]:
    """Return whose secret is in ``content``: as it is, quoted for an address, or in base64."""
    return {
        name
        for name, secret in SECRETS.items()
        for form in (
            secret.encode(),
            quote(secret, safe="").encode(),
            base64.b64encode(secret.encode()).rstrip(b"="),
        )
        if form in content
    }


def found_below(folder: Path) -> dict[str, set[str]]:
    """Return what is in the files below ``folder``."""
    return {
        str(path): names
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
        if (names := found(path.read_bytes()))
    }


@contextmanager
def inspecting(client: docker.DockerClient) -> Iterator[list[str]]:
    """Collect what `docker inspect` says of every container of Quern's while the block runs."""
    seen: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            with suppress(DockerException):
                here = client.containers.list(all=True, filters={"label": RUN_LABEL})
                seen.extend(json.dumps(container.attrs) for container in here)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield seen
    finally:
        done.set()
        watching.join()


def test_what_is_searched_for_would_be_found() -> None:
    for name, secret in SECRETS.items():
        assert found(f"x{secret}y".encode()) == {name}
        assert found(base64.b64encode(secret.encode())) == {name}


@pytest.mark.engine
@pytest.mark.usefixtures("cpu_image")
def test_secrets_are_nowhere(
    tiny: Path, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    quern = Quern(tmp_path / "cache")  # a new one: what is there already would not be fetched
    (tmp_path / "secrets.toml").write_text(CONFIG)
    (tmp_path / "checkpoint").symlink_to(tiny / "checkpoint")
    dist = tmp_path / "dist"
    with (
        hub_stand_in.hub("org/tones", {"train.jsonl": ROWS}) as endpoint,
        inspecting(docker_client) as inspected,
    ):
        ran = quern(
            *("build", "--config", str(tmp_path / "secrets.toml"), "--dist", str(dist)),
            *("--runtime", "docker"),
            environment={**ENVIRONMENT, "HF_ENDPOINT": endpoint},
        )
    assert ran.code == 0, ran.stderr[-3000:]
    report = json.loads(next(dist.rglob("report.json")).read_text("utf-8"))
    assert "fetch-tones" in {step["name"] for step in report["passes"]}
    assert not found((ran.stdout + ran.stderr).encode())
    assert not found_below(tmp_path)
    # The fetch was seen: its container is in this machine's network, and the others are in none.
    # Those of tests beside this one may be in any.
    networks = {json.loads(attrs)["HostConfig"]["NetworkMode"] for attrs in inspected}
    assert networks >= {"host", "none"}
    assert not found("\n".join(inspected).encode())
    for image in docker_client.images.list():
        if any(tag.startswith("quern") for tag in image.tags):
            told = json.dumps([image.attrs, image.history()])
            assert not found(told.encode()), image.tags


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.usefixtures("cpu_image")
def test_secrets_are_in_no_layer(quern: Quern, docker_client: docker.DockerClient) -> None:
    """An image that is made with all of them set has none of them in any layer."""
    made = quern("images", "--target", "cpu", "--runtime", "docker", environment=ENVIRONMENT)
    assert made.code == 0, made.stderr
    assert not found((made.stdout + made.stderr).encode())
    tags = [tag for image in docker_client.images.list() for tag in image.tags]
    longest = max(map(len, SECRETS.values())) * 2
    for tag in tags:
        if not tag.startswith("quern"):
            continue
        before = b""
        for chunk in docker_client.images.get(tag).save():
            assert not found(before + chunk), tag
            before = chunk[-longest:]


def test_a_key_in_an_olive_file_is_not_told(quern: Quern, tmp_path: Path) -> None:
    olive = json.loads((PROJECT / "tests" / "olive" / "azure.json").read_text("utf-8"))
    olive["azureml_client"]["sas_key"] = AZURE
    olive["data_root"] = f"https://account.blob.core.windows.net/x?sig={AZURE}"
    config = tmp_path / "olive.json"
    config.write_text(json.dumps(olive))
    for command in (
        ("plan", "--config", str(config), "--explain"),
        ("plan", "--config", str(config), "--json"),
        ("convert", str(config)),
        ("doctor", "--json"),
    ):
        ran = quern(*command, environment=ENVIRONMENT)
        assert not found((ran.stdout + ran.stderr).encode()), command
    config.unlink()
    assert not found_below(tmp_path)
