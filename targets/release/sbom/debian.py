"""Reads the Debian packages of an image from a container that is created but never started."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable
from email.utils import parseaddr

from docker import DockerClient
from docker.errors import APIError
from docker.models.containers import Container
from requests.exceptions import RequestException

from targets.errors import EnvironmentUnable
from targets.release.sbom.contents import DebianPackage, DebianSystem
from targets.runtimes.docker import RUN_LABEL
from targets.runtimes.driver import new_run_id
from targets.toolchain.engine import reason

_STATUS = "/var/lib/dpkg/status"
_RELEASE = "/usr/lib/os-release"
_INSTALLED = " installed"
_SOURCE = re.compile(r"^(?P<name>\S+)(?: \((?P<version>\S+)\))?$")


def debian_in(client: DockerClient, image: str) -> DebianSystem:
    """Return the system in ``image``, which is a toolchain's or a base, with the same packages.

    Raises ``EnvironmentUnable`` if the engine lacks the image, or if it is not Debian.
    """
    try:
        # Labelled as runs are, so that what a killed driver leaves is removed by the next run.
        container = client.containers.create(
            image, ["true"], network_disabled=True, labels={RUN_LABEL: new_run_id()}
        )
        try:
            status, release = _read(container, _STATUS), _read(container, _RELEASE)
            variables = container.attrs["Config"]["Env"] or []
        finally:
            container.remove(force=True)
    except (APIError, RequestException) as error:
        raise EnvironmentUnable(
            f"cannot read the Debian packages of image {image}: {reason(error)}",
            "make the image with `nox -s images`, or see what `nox -s doctor` says of the engine",
        ) from error
    return parse_system(status, release, variables)


def parse_system(status: str, release: str, variables: Iterable[str]) -> DebianSystem:
    """Return the system described by dpkg's ``status``, os-release and the image's variables.

    The formats are those of deb-control(5), os-release(5) and, for ``PYTHON_VERSION``, Docker's
    official Python images.
    """
    facts = _assignments(release.splitlines())
    return DebianSystem(
        name=facts.get("ID", "debian"),
        version=facts.get("VERSION_ID", ""),
        packages=tuple(_packages(status)),
        python=_assignments(variables).get("PYTHON_VERSION", ""),
    )


def _read(container: Container, path: str) -> str:
    chunks, _ = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        member = archive.extractfile(archive.getmembers()[0])
        return member.read().decode() if member else ""


def _packages(status: str) -> Iterable[DebianPackage]:
    for stanza in re.split(r"\n\s*\n", status):
        fields = dict(re.findall(r"^([A-Za-z-]+): *(.*)$", stanza, re.MULTILINE))
        if not fields.get("Status", "").endswith(_INSTALLED):
            continue
        source = _SOURCE.match(fields.get("Source", ""))
        yield DebianPackage(
            name=fields["Package"],
            version=fields["Version"],
            architecture=fields["Architecture"],
            source=source["name"] if source else fields["Package"],
            source_version=(source and source["version"]) or fields["Version"],
            summary=fields.get("Description", ""),
            maintainer=parseaddr(fields.get("Maintainer", ""))[0],
        )


def _assignments(lines: Iterable[str]) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines)
    return {name: value.strip("\"'") for name, _, value in pairs}
