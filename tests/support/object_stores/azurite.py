"""Azurite: Microsoft's stand-in for Azure's blobs, with account keys and signatures of access."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlencode

from filelock import FileLock

from tests.support.capabilities import program
from tests.support.object_stores.server import ObjectServer, free_port, running

ACCOUNT = "teamaccount"
KEY = base64.b64encode(hashlib.sha512(b"the account's key in tests").digest()).decode()
_LOCKED = Path(__file__).with_name("azurite")
_VERSION = "2021-08-06"


@contextmanager
def azurite(packages: Path, folder: Path, *options: str) -> Iterator[ObjectServer]:
    """Run Azurite, whose packages are kept in ``packages``, with further ``options``."""
    main = _installed(packages) / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    port = free_port()
    command: tuple[str | Path, ...] = (
        *(program("shared cache", "node"), main, "--silent", "--disableTelemetry"),
        *("--skipApiVersionCheck", "--inMemoryPersistence"),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port), *options),
    )
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    scheme = "https" if "--cert" in options else "http"
    with running(command, port, folder, environment):
        server = ObjectServer(
            f"az://{ACCOUNT}/team",
            port,
            {
                "AZURE_STORAGE_ENDPOINT": f"{scheme}://127.0.0.1:{port}/{ACCOUNT}",
                "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            },
            folder,
        )
        make_container(server)
        yield server


def make_container(server: ObjectServer, name: str = "team") -> None:
    """Make a container, which no library of ours can do."""
    date = email.utils.formatdate(usegmt=True)
    signed = (
        f"PUT{12 * chr(10)}x-ms-date:{date}\nx-ms-version:{_VERSION}\n"
        f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    )
    headers = {
        "x-ms-date": date,
        "x-ms-version": _VERSION,
        "Authorization": f"SharedKey {ACCOUNT}:{_signature(signed)}",
    }
    authority = server.folder / "ca.pem"
    connection = (
        HTTPSConnection(
            "127.0.0.1", server.port, context=ssl.create_default_context(cafile=str(authority))
        )
        if authority.exists()
        else HTTPConnection("127.0.0.1", server.port)
    )
    connection.request("PUT", f"/{ACCOUNT}/{name}?restype=container", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    connection.close()


def shared_access(rights: str, until: datetime) -> str:
    """Return a signature that gives ``rights``, such as ``rl``, to the account's blobs."""
    expiry = until.strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = (ACCOUNT, rights, "b", "sco", "", expiry, "", "https,http", _VERSION, "", "")
    return urlencode(
        {
            "sv": _VERSION,
            "ss": "b",
            "srt": "sco",
            "sp": rights,
            "se": expiry,
            "spr": "https,http",
            "sig": _signature("\n".join(fields)),
        }
    )


def _signature(text: str) -> str:
    return base64.b64encode(
        hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    ).decode()


def _installed(packages: Path) -> Path:
    made = packages / "azurite"
    packages.mkdir(parents=True, exist_ok=True)
    with FileLock(packages / "azurite.lock"):
        if not made.is_dir():
            partial = made.with_suffix(".partial")
            shutil.copytree(_LOCKED, partial, dirs_exist_ok=True)
            npm = program("shared cache", "npm")
            quiet = ("--silent", "--no-audit", "--no-fund")
            subprocess.run([npm, "ci", "--ignore-scripts", *quiet], cwd=partial, check=True)
            partial.rename(made)
    return made
