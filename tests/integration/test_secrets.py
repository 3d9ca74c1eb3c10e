"""Secrets that a build is given are found in nothing that it leaves, and in nothing that the engine
tells about its containers."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import docker
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from docker.errors import DockerException

from targets.cli.options import PROJECT
from targets.runtimes.docker import RUN_LABEL, DockerRuntime
from targets.toolchain.engine import import_image
from targets.toolchain.image import find_image, installer
from targets.toolchain.wheelhouse import Wheelhouse
from tests.support import hub_stand_in
from tests.support.bucket_stand_in import bucket
from tests.support.command import Quern
from tests.support.key_files import public_file
from tests.support.small_toolchains import small_toolchain

PROXY, INDEX, AZURE = "proxy-password-PLANTED", "index-credential-PLANTED", "azure-key-PLANTED"
# As each cloud gives them: base64, and with what addresses have to quote.
STORAGE = base64.b64encode(b"a storage account's key, PLANTED").decode()
SIGNED = "sv=2026-02-06&sp=rw&sig=PLANTED%2Fsignature%3D"
S3, SESSION = "s3-secret/access+key-PLANTED", "s3-session-token-PLANTED=="
PASSWORD = "password-of-a-key-PLANTED"  # noqa: S105 - of this test alone
KEY = Ed25519PrivateKey.generate()
LOCKED = KEY.private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode())
)
SECRETS = {
    "hub token": hub_stand_in.TOKEN,
    "proxy": PROXY,
    "index": INDEX,
    "Azure": AZURE,
    "storage account": STORAGE,
    "SAS token": SIGNED,
    "S3": S3,
    "session": SESSION,
    "password of a key": PASSWORD,
    "key": base64.b64encode(KEY.private_bytes_raw()).decode(),
    "file of a key": LOCKED.decode().splitlines()[1],
}

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

[cache]
remote = "s3://team/quern"
push = true
trust = ["team.pub"]
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
    "https_proxy": f"http://somebody:{PROXY}@127.0.0.1:9",
    "ALL_PROXY": f"http://somebody:{PROXY}@127.0.0.1:9",
    "PIP_INDEX_URL": f"https://somebody:{INDEX}@127.0.0.1:9/simple",
    "UV_INDEX_URL": f"https://somebody:{INDEX}@127.0.0.1:9/simple",
    "AZURE_CLIENT_SECRET": AZURE,
    "AZURE_STORAGE_KEY": STORAGE,
    "AZURE_STORAGE_ACCOUNT_KEY": STORAGE,
    "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=account;AccountKey={STORAGE}",
    "AZURE_STORAGE_SAS_TOKEN": SIGNED,
    "AWS_ACCESS_KEY_ID": "name-of-a-key",
    "AWS_SECRET_ACCESS_KEY": S3,
    "AWS_SESSION_TOKEN": SESSION,
    "AWS_REGION": "eu-central-1",
    "QUERN_SIGN_PASSWORD": PASSWORD,
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
        if form.strip(b"=") in content
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
                # What anybody on this machine sees of them.
                running = [container for container in here if container.status == "running"]
                seen.extend(json.dumps(container.top()) for container in running)

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
    tiny: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    docker_client: docker.DockerClient,
) -> None:
    quern = Quern(tmp_path / "cache")  # a new one: what is there already would not be fetched
    (tmp_path / "secrets.toml").write_text(CONFIG)
    (tmp_path / "checkpoint").symlink_to(tiny / "checkpoint")
    public_file(tmp_path, KEY, "team.pub")
    key = tmp_path_factory.mktemp("keys") / "team.key"
    key.write_bytes(LOCKED)
    shared: dict[str, bytes] = {}
    dist = tmp_path / "dist"
    with (
        bucket(shared) as store,
        hub_stand_in.hub("org/tones", {"train.jsonl": ROWS}) as endpoint,
        inspecting(docker_client) as inspected,
    ):
        ran = quern(
            *("build", "--config", str(tmp_path / "secrets.toml"), "--dist", str(dist)),
            *("--runtime", "docker"),
            environment={
                **ENVIRONMENT,
                "HF_ENDPOINT": endpoint,
                "AWS_ENDPOINT_URL": store,
                "QUERN_CACHE_SIGN_KEY": str(key),
            },
        )
    assert ran.code == 0, ran.stderr[-3000:]
    assert any("/results/" in path for path in shared), "the shared cache was written to"
    assert not found(b"\n".join([*map(str.encode, shared), *shared.values()]))
    report = json.loads(next(dist.rglob("report.json")).read_text("utf-8"))
    assert "fetch-tones" in {step["name"] for step in report["passes"]}
    assert not found((ran.stdout + ran.stderr).encode())
    assert not found_below(tmp_path)
    # The fetch was seen: its container is in this machine's network, and the others are in none.
    # Those of tests beside this one may be in any.
    facts = map(json.loads, inspected)
    networks = {attrs["HostConfig"]["NetworkMode"] for attrs in facts if "HostConfig" in attrs}
    assert networks >= {"host", "none"}
    assert not found("\n".join(inspected).encode())
    for image in docker_client.images.list():
        if any(tag.startswith("quern") for tag in image.tags):
            told = json.dumps([image.attrs, image.history()])
            assert not found(told.encode()), image.tags


def found_in_image(client: docker.DockerClient, image: str) -> set[str]:
    """Return whose secrets are in the image's layers, settings and history."""
    saved = io.BytesIO(b"".join(client.images.get(image).save()))
    names: set[str] = set()
    with tarfile.open(fileobj=saved) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                content = file.read()
                packed = content.startswith(b"\x1f\x8b")  # as newer engines have layers
                names |= found(gzip.decompress(content) if packed else content)
    return names


def holding(client: docker.DockerClient, content: bytes) -> str:
    """Return the ID of an image with one file."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("left")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return import_image(client, [tar.getvalue()], [])


@pytest.mark.engine
def test_a_secret_in_a_layer_would_be_found(docker_client: docker.DockerClient) -> None:
    image = holding(docker_client, f"password = {AZURE}".encode())
    try:
        assert found_in_image(docker_client, image) == {"Azure"}
    finally:
        docker_client.images.remove(image)


@pytest.mark.engine
@pytest.mark.slow
def test_secrets_are_in_no_layer(
    docker_client: docker.DockerClient,
    cache_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image that is made while all of them are set has none of them in any layer."""
    said: list[str] = []
    with small_toolchain(tmp_path, docker_client, "secrets") as toolchain:
        for wanted in (toolchain, installer(toolchain)):
            Wheelhouse(cache_dir / "wheels").ensure(wanted, print)  # the index is of no use then
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        assert find_image(docker_client, toolchain) is None
        DockerRuntime(docker_client, cache_dir).prepare(toolchain, said.append)
        made = find_image(docker_client, toolchain)
        assert made is not None
        assert found_in_image(docker_client, made.id) == set()
    assert any(line.startswith("building image quern/secrets") for line in said)
    assert not found("".join(said).encode())
    (log,) = (cache_dir / "logs").glob("image-quern-secrets-*.log")
    assert log.stat().st_size > 0
    assert not found(log.read_bytes())
    log.unlink()


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
