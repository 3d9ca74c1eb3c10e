"""A workspace on this machine: a stand-in of its control plane, a real service of blobs, and jobs
that run, all behind a proxy that knows the cloud's own names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from obstore.store import AzureStore, ObjectStore

from targets.cli.options import PROJECT
from tests.support.authority import Authority
from tests.support.azure.connect_proxy import connect_proxy
from tests.support.azure.control_plane import (
    COMPUTE,
    GROUP,
    SUBSCRIPTION,
    TENANT,
    WORKSPACE,
    ControlPlane,
    serving,
)
from tests.support.azure.job_runner import JobRunner, Start
from tests.support.gated_builds import Surroundings
from tests.support.object_stores.azurite import ACCOUNT, KEY, azurite, make_container
from tests.support.object_stores.server import ObjectServer, python_packages

_PLANE = (
    "login.microsoftonline.com",
    "management.azure.com",
    "*.api.azureml.ms",
    "*.vault.azure.net",
)
_BLOBS = "*.blob.core.windows.net"
SDK = PROJECT / "requirements-azure.lock"


@dataclass(frozen=True)
class AzureWorld:
    """A workspace that answers."""

    name = "aml"
    ended_there = "somebody ended the job there"

    plane: ControlPlane
    runner: JobRunner
    environment: Mapping[str, str]
    """Variables of somebody who is logged in, and for whom the cloud's names lead here."""
    blobs: ObjectServer
    ca: Path

    @property
    def around(self) -> Surroundings:
        return Surroundings(self.environment)

    def working(self) -> list[Path]:
        """Return the folders for temporary files of the steps that wait."""
        return self.runner.working()

    def left(self) -> list[str]:
        """Return the names of the jobs that wait or run."""
        return self.plane.left()

    def end_jobs(self) -> None:
        """End every job, as somebody else would who may."""
        for name in self.left():
            self.plane.jobs[name].asked_to_end = True

    def container(self, name: str) -> ObjectStore:
        """Return a container of blobs, as its owner sees it."""
        return _container(self.blobs, self.ca, name)

    @property
    def table(self) -> str:
        """Return the system as a config has it."""
        return (
            f'\n[systems.aml]\ntype = "azureml"\nsubscription = "{SUBSCRIPTION}"\n'
            f'resource_group = "{GROUP}"\nworkspace = "{WORKSPACE}"\ncompute = "{COMPUTE}"\n'
            "max_hours = 1\n"
        )


@contextmanager
def azure_world(packages: Path, folder: Path, start: Start) -> Iterator[AzureWorld]:
    """Yield a workspace; ``packages`` keeps Azurite and the SDK, jobs run as ``start`` says."""
    authority = Authority(folder / "authority")
    certificates = authority.server("127.0.0.1", (*_PLANE, _BLOBS))
    ca = certificates / "ca.pem"
    served = folder / "azurite"
    served.mkdir(parents=True)
    shutil.copyfile(ca, served / "ca.pem")
    tls = ("--cert", certificates / "cert.pem", "--key", certificates / "key.pem")
    with azurite(packages, served, *map(str, tls), "--oauth", "basic") as blobs:
        made = {"team"}

        def container(name: str) -> ObjectStore:
            if name not in made:
                made.add(name)
                make_container(blobs, name)
            return _container(blobs, ca, name)

        runner = JobRunner(folder / "jobs", container, start)
        plane = ControlPlane(runner)
        plane.runner_container = lambda name: (container(name), None)[1]
        container("azureml")
        with serving(plane, certificates) as port:
            ports = {_BLOBS.lstrip("*"): blobs.port}
            ports |= {name.lstrip("*"): port for name in _PLANE}

            def port_of(host: str) -> int | None:
                return next((to for end, to in ports.items() if host.endswith(end)), None)

            with connect_proxy(port_of) as proxy:
                sdk = python_packages(SDK, packages)
                yield AzureWorld(plane, runner, _environment(proxy, ca, sdk), blobs, ca)


def _environment(proxy: int, ca: Path, sdk: Path) -> dict[str, str]:
    address = f"http://127.0.0.1:{proxy}"
    return {
        "HTTPS_PROXY": address,
        "https_proxy": address,
        "NO_PROXY": "127.0.0.1",
        "REQUESTS_CA_BUNDLE": str(ca),
        "SSL_CERT_FILE": str(ca),
        "PYTHONDONTWRITEBYTECODE": "",  # without bytecode, the SDK takes half a minute to import
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": "00000000-0000-0000-0000-000000000002",
        "AZURE_CLIENT_SECRET": "client-secret-PLANTED",
        "PYTHONPATH": str(sdk),
    }


def _container(blobs: ObjectServer, ca: Path, name: str) -> ObjectStore:
    return AzureStore(
        name,
        config={
            "account_name": ACCOUNT,
            "account_key": KEY,
            "endpoint": f"https://127.0.0.1:{blobs.port}/{ACCOUNT}",
        },
        client_options={"root_certificate": ca.read_bytes()},
    )
