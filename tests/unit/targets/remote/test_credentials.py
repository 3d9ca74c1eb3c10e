"""Ways in which people, jobs and machines get rights to a shared cache."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from obstore.store import S3Store

from targets.remote.address import open_store
from targets.remote.failure import RemoteRefused
from targets.remote.store import Store
from tests.support.object_stores.azurite import KEY, azurite, shared_access
from tests.support.object_stores.gcs import gcs, write_account
from tests.support.object_stores.identities import (
    answering,
    azure_token,
    certificate_of_this_machine,
)
from tests.support.object_stores.moto import rights
from tests.support.object_stores.server import ObjectServer, use
from tests.support.team import Clone

_NUMBERS = itertools.count()
_IN_AN_HOUR = f"{datetime.now(timezone.utc) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
_NOBODY = "http://127.0.0.1:9"
_ROLE = f"""<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>AKIAOFAROLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>
<SessionToken>session</SessionToken><Expiration>{_IN_AN_HOUR}</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
"""What AWS's token service answers."""


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have no credentials, and no cloud's service of a machine's identity."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "MSI_", "IDENTITY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", _NOBODY)
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"{_NOBODY}/token")


@pytest.fixture
def s3(moto_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Return the keys of a user who may do everything, of moto that looks at them."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{moto_server.port}")
    with rights(moto_server) as users:
        yield users["all"]


def can_write(remote: str) -> bool:
    return Store(f"{remote}/{next(_NUMBERS)}").create("results/x", b"x")


def aws_files(folder: Path, **contents: str) -> None:
    (folder / ".aws").mkdir()
    for name, text in contents.items():
        (folder / ".aws" / name).write_text(text)


def program(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program on the path."""
    (folder / "bin").mkdir()
    file = folder / "bin" / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("file", ["credentials", "config"])
def test_keys_of_an_aws_profile(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    section = "profile team" if file == "config" else "team"
    lines = [f"{name.lower()} = {value}" for name, value in s3.items()]
    aws_files(tmp_path, **{file: "\n".join([f"[{section}]", "region = eu-central-1", *lines])})
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert can_write("s3://team")
    store = open_store("s3://team", 5)
    assert isinstance(store, S3Store)
    assert store.config["region"] == "eu-central-1"


def test_a_login_of_aws_needs_its_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_files(tmp_path, config="[profile team]\nsso_session = us\nsso_account_id = 1\n")
    monkeypatch.setenv("AWS_PROFILE", "team")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RemoteRefused, match="holds no keys, and the program `aws`"):
        can_write("s3://team")


def test_keys_of_a_login_come_from_the_command_line_of_aws(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_files(tmp_path, config="[profile team]\nsso_session = us\nsso_account_id = 1\n")
    monkeypatch.setenv("AWS_PROFILE", "team")
    given = {
        "Version": 1,
        "AccessKeyId": s3["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": s3["AWS_SECRET_ACCESS_KEY"],
        "Expiration": _IN_AN_HOUR,
    }
    (tmp_path / "given.json").write_text(json.dumps(given))
    expected = "configure export-credentials --profile team --format process"
    text = f'[ "$*" = "{expected}" ] && exec cat {tmp_path}/given.json'
    program(tmp_path, "aws", text, monkeypatch)
    assert can_write("s3://team")


def test_a_login_that_is_over_is_said_in_its_own_words(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_files(tmp_path, config="[profile team]\nsso_session = us\n")
    monkeypatch.setenv("AWS_PROFILE", "team")
    said = "Error when retrieving token from sso: Token has expired and refresh failed"
    program(tmp_path, "aws", f'echo "{said}" >&2; exit 255', monkeypatch)
    one = Clone(tmp_path / "one", "s3://team/login")
    assert one.get() is None
    (warning,) = one.warnings
    assert said in warning
    assert "aws sso login --profile team" in warning
    assert s3["AWS_SECRET_ACCESS_KEY"] not in warning


@pytest.mark.parametrize("remote", ["s3://team/none", "az://account/team/none"])
def test_no_credentials_are_said(
    tmp_path: Path, moto_server: ObjectServer, monkeypatch: pytest.MonkeyPatch, remote: str
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AZURE_STORAGE_ENDPOINT"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{moto_server.port}")
    monkeypatch.setenv("PATH", "/nowhere")
    one = Clone(tmp_path / "one", remote)
    assert one.get() is None
    (warning,) = one.warnings
    assert f"there are no credentials for {remote}" in warning


# From here on with moto that lets everybody who has credentials do everything.


def test_the_identity_of_a_job(
    moto_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("token-of-a-job")
    with answering(_ROLE, certificate_of_this_machine(tmp_path)) as (port, asked):
        use(
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{moto_server.port}",
                "AWS_ENDPOINT_URL_STS": f"https://127.0.0.1:{port}",
                "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
                "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/team",
                "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
            },
            monkeypatch,
        )
        assert can_write("s3://team")
    assert "WebIdentityToken=token-of-a-job" in asked[0]


def test_the_identity_of_a_container(
    moto_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("token of a container")
    keys = {
        "AccessKeyId": "AKIAOFACONTAINER",
        "SecretAccessKey": "secret",
        "Token": "session",
        "Expiration": _IN_AN_HOUR,
    }
    with answering(keys) as (port, asked):
        use(
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{moto_server.port}",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{port}/keys",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
            },
            monkeypatch,
        )
        assert can_write("s3://team")
    assert asked


def test_the_identity_of_a_machine_of_aws(
    moto_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = f"http://127.0.0.1:{moto_server.port}"
    use({"AWS_ENDPOINT_URL": here, "AWS_METADATA_ENDPOINT": here}, monkeypatch)
    assert can_write("s3://team")


# Azure.


@pytest.fixture(scope="module")
def blobs(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """Return Azurite over TLS, which takes tokens."""
    folder = tmp_path_factory.mktemp("azurite")
    file = certificate_of_this_machine(folder)
    options = ("--cert", str(file), "--key", str(file.with_suffix(".key")), "--oauth", "basic")
    with azurite(packages, folder, *options) as server:
        yield server


@pytest.fixture
def azure(blobs: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", blobs.environment["AZURE_STORAGE_ENDPOINT"])
    monkeypatch.setenv("SSL_CERT_FILE", str(blobs.folder / "ca.pem"))
    return blobs


@pytest.mark.servers
@pytest.mark.parametrize("way", ["secret", "job", "machine", "login"])
def test_a_token_of_azure(
    azure: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    until = datetime.now(timezone.utc) + timedelta(hours=1)
    token = {
        "access_token": azure_token(),
        "token_type": "Bearer",
        "expires_in": 3600,
        "expires_on": str(int(until.timestamp())),
        "resource": "https://storage.azure.com",
    }
    with answering(token, azure.folder / "server.pem") as (port, asked):
        here = f"https://127.0.0.1:{port}"
        (tmp_path / "federated").write_text("token of a job")
        tenant = {"AZURE_CLIENT_ID": "client", "AZURE_TENANT_ID": "tenant"}
        ways = {
            "secret": {**tenant, "AZURE_CLIENT_SECRET": "secret", "AZURE_AUTHORITY_HOST": here},
            "job": {
                **tenant,
                "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "federated"),
                "AZURE_AUTHORITY_HOST": here,
            },
            "machine": {"AZURE_MSI_ENDPOINT": f"{here}/metadata/identity/oauth2/token"},
            "login": {},
        }
        use(ways[way], monkeypatch)
        if way == "login":
            monkeypatch.delenv("AZURE_MSI_ENDPOINT")
            given = {"accessToken": azure_token(), "expiresOn": f"{until:%Y-%m-%d %H:%M:%S.000000}"}
            given |= {"tokenType": "Bearer", "subscription": "s", "tenant": "t"}
            program(tmp_path, "az", f"echo '{json.dumps(given)}'", monkeypatch)
        assert can_write(azure.remote)
        assert asked or way == "login"


@pytest.mark.servers
@pytest.mark.parametrize("who", ["all", "reader", "expired", "wrong"])
def test_a_signature_of_access(
    azure: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    remote = f"{azure.remote}/access-{who}"
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    Clone(tmp_path / "one", remote).push()
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    now = datetime.now(timezone.utc)
    signature = {
        "all": shared_access("rwlac", now + timedelta(hours=1)),
        "reader": shared_access("rl", now + timedelta(hours=1)),
        "expired": shared_access("rwlac", now - timedelta(hours=1)),
        "wrong": shared_access("rwlac", now + timedelta(hours=1)).replace("sig=", "sig=AA"),
    }[who]
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", signature)
    two, three = Clone(tmp_path / "two", remote), Clone(tmp_path / "three", f"{remote}-3")
    got = two.get()
    three.push()
    assert got == ("weights" if who in {"all", "reader"} else None)
    if who == "all":
        assert not two.warnings + three.warnings
        return
    (warning,) = three.warnings
    assert "refuses these credentials: 403 " in warning
    assert "AZURE_STORAGE_SAS_TOKEN" in warning
    assert signature not in warning and "sig=" not in warning


# Google.


@pytest.mark.servers
@pytest.mark.parametrize("whose", ["of the team", "of a stranger"])
def test_the_key_of_a_service_account(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    with gcs(packages, tmp_path / "gcs") as server:
        use(server.environment, monkeypatch)
        if whose == "of the team":
            assert can_write(server.remote)
            return
        file = write_account(tmp_path / "stranger.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        one = Clone(tmp_path / "one", server.remote)
        assert one.get() is None
        (warning,) = one.warnings
        assert "gs://team refuses these credentials: 401 AuthenticationRequired" in warning
        assert "gcloud auth application-default login" in warning
        assert "PRIVATE KEY" not in warning
