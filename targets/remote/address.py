"""The address of a shared cache, and its store with the credentials of the environment.

No credential is read from anywhere else, or kept: the store's library finds them by the rules of
each cloud, and the command lines of clouds give those of who has logged in. Azure's account is part
of the address; an endpoint that is not the cloud's own is named by the cloud's variables
(``AZURE_STORAGE_ENDPOINT``, ``AWS_ENDPOINT_URL``, ``GOOGLE_BASE_URL``).
"""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote

from targets.remote.aws_profile import profile_settings
from targets.runtimes.process_environment import named_ca_bundle

if TYPE_CHECKING:
    from obstore.store import AzureCredentialProvider, ClientConfig, ObjectStore, RetryConfig

_CONNECT_SECONDS = 5
_REQUEST_SECONDS = 600
"""Longest that one request may take, however steadily it gets on."""

_ENDPOINTS = (
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT",
    "GOOGLE_BASE_URL",
)
_AZURE = (
    *("AZURE_STORAGE_", "AZURE_CLIENT_", "AZURE_FEDERATED_", "AZURE_MSI_", "AZURE_IDENTITY_"),
    *("MSI_", "IDENTITY_"),
)
"""What the names of variables begin with that give Azure's library credentials."""
_NO_CREDENTIALS = {
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_ACCOUNT_NAME",
}


def open_store(address: str, patience: float) -> ObjectStore:
    """Return the store at ``address``, which the config has checked. Asks nothing of it yet.

    ``patience`` is how many seconds it may say nothing. Raises errors of the library, which
    :mod:`targets.remote.store` translates, and ``RemoteRefused`` where a login gives no keys.
    """
    from obstore.store import GCSStore, LocalStore, S3Store

    scheme, _, place = address.partition("://")
    client, retry = _client(patience), _retry(patience)
    if scheme == "file":
        return LocalStore(unquote(place))
    if scheme == "az":
        return azure_store(address, patience)
    bucket, _, prefix_text = place.partition("/")
    if scheme == "gs":
        return GCSStore(
            bucket, prefix=prefix_text or None, client_options=client, retry_config=retry
        )
    config, provider = profile_settings(address)
    return S3Store(
        bucket,
        prefix=prefix_text or None,
        config=config,
        client_options=client,
        retry_config=retry,
        credential_provider=provider,
    )


def azure_store(
    address: str, patience: float, provider: AzureCredentialProvider | None = None
) -> ObjectStore:
    """Return the store at ``address``, which begins with ``az://``, with the tokens of ``provider``
    or else the credentials of the environment."""
    from obstore.store import AzureStore

    account, container, *prefix = address.removeprefix("az://").split("/", 2)
    given = provider is not None or _azure_credentials()
    cli = not given and shutil.which("az") is not None
    return AzureStore(
        container,
        prefix="/".join(prefix) or None,
        config={"account_name": account, **({"use_azure_cli": True} if cli else {})},
        client_options=_client(patience),
        retry_config=_retry(patience),
        credential_provider=provider,
    )


def _azure_credentials() -> bool:
    return any(name.startswith(_AZURE) and name not in _NO_CREDENTIALS for name in os.environ)


def _client(patience: float) -> ClientConfig:
    options: ClientConfig = {
        "timeout": timedelta(seconds=_REQUEST_SECONDS),
        "read_timeout": timedelta(seconds=patience),
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
    }
    if any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS):
        options["allow_http"] = True
    bundle = named_ca_bundle()
    if bundle is not None:
        options["root_certificate"] = bundle.read_bytes()
    return options


def _retry(patience: float) -> RetryConfig:
    return {
        "max_retries": 6,
        "retry_timeout": timedelta(seconds=patience),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=3),
            "base": 2,
        },
    }
