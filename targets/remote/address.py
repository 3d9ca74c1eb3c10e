"""The address of a shared cache, and its store with the credentials of the environment.

No credential is read from anywhere else, or kept: the store's library finds them by the rules of
each cloud. Azure's account is part of the address; an endpoint that is not the cloud's own is named
by the cloud's variables (``AZURE_STORAGE_ENDPOINT``, ``AWS_ENDPOINT_URL``).
"""

from __future__ import annotations

import os
import shutil
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

_REQUEST_SECONDS = 30
"""Longest that one request may take: a part of a file."""
_CONNECT_SECONDS = 5

_AZURE = ("AZURE_STORAGE_", "AZURE_CLIENT_", "AZURE_FEDERATED_", "AZURE_MSI_", "MSI_", "IDENTITY_")
"""What the names of variables begin with that give Azure's library credentials."""

ADVICE = {
    "az": "run `az login`, or set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or the "
    "AZURE_CLIENT_ variables; an identity needs the role Storage Blob Data Reader, to push "
    "Contributor",
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_REGION; they "
    "need s3:GetObject and s3:ListBucket, to push s3:PutObject",
    "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
    "file": "make the folder, and let whoever builds read it, and to push write it",
}
"""What to do where the store refuses, by scheme."""


def scheme_of(address: str) -> str:
    """Return what stands before ``://``."""
    return address.partition("://")[0]


def open_store(address: str) -> ObjectStore:
    """Return the store at ``address``, which the config has checked. Asks nothing yet.

    Raises errors of the library, which :mod:`targets.remote.store` translates.
    """
    from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

    scheme, _, place = address.partition("://")
    client, retry = _client(), _retry()
    if scheme == "file":
        return LocalStore(unquote(place))
    if scheme == "az":
        account, container, *prefix = place.split("/", 2)
        cli = not any(name.startswith(_AZURE) for name in os.environ) and shutil.which("az")
        return AzureStore(
            container,
            prefix="/".join(prefix) or None,
            config={"account_name": account, **({"use_azure_cli": True} if cli else {})},
            client_options=client,
            retry_config=retry,
        )
    bucket, _, prefix_text = place.partition("/")
    if scheme == "gs":
        return GCSStore(
            bucket, prefix=prefix_text or None, client_options=client, retry_config=retry
        )
    return S3Store(
        bucket,
        prefix=prefix_text or None,
        config=_aws_profile(),
        client_options=client,
        retry_config=retry,
    )


def _client() -> ClientConfig:
    endpoints = (
        os.environ.get("AZURE_STORAGE_ENDPOINT"),
        os.environ.get("AZURE_ENDPOINT"),
        os.environ.get("AWS_ENDPOINT_URL"),
        os.environ.get("AWS_ENDPOINT"),
    )
    return {
        "timeout": timedelta(seconds=_REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        "allow_http": any((endpoint or "").startswith("http://") for endpoint in endpoints),
    }


def _retry() -> RetryConfig:
    return {
        "max_retries": 3,
        "retry_timeout": timedelta(seconds=_REQUEST_SECONDS),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=3),
            "base": 2,
        },
    }


def _aws_profile() -> S3Config:
    """Return the keys of the AWS profile, which the library does not read; none if variables or the
    machine's own identity give them."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    home = Path("~/.aws").expanduser()
    profiles = ConfigParser(interpolation=None)
    try:
        profiles.read(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials")
    except (OSError, ConfigParserError, UnicodeDecodeError):
        return {}
    name = os.environ.get("AWS_PROFILE", "default")
    profile = dict(profiles[name]) if profiles.has_section(name) else {}
    if not {"aws_access_key_id", "aws_secret_access_key"} <= profile.keys():
        return {}
    found: S3Config = {
        "access_key_id": profile["aws_access_key_id"],
        "secret_access_key": profile["aws_secret_access_key"],
    }
    if "aws_session_token" in profile:
        found["session_token"] = profile["aws_session_token"]
    return found
