"""Writes the SBOM of what is around a toolchain in its image: Debian packages, and Python.

It is a part of the provenance, not of the release's SBOM: it differs from image to image, and in a
virtual environment the machine's own system is in its place.
"""

from __future__ import annotations

from cyclonedx.model.bom import Bom, BomMetaData

from targets.release.sbom.components import (
    debian_component,
    python_component,
    system_component,
)
from targets.release.sbom.contents import DebianSystem
from targets.release.sbom.document import content_of, document

MEDIA_TYPE = "application/vnd.cyclonedx+json"


def write_system(system: DebianSystem) -> bytes:
    """Return the SBOM of ``system``, without a time."""
    components = [debian_component(package, system) for package in system.packages]
    if system.python:
        components.append(python_component(system.python))
    root = system_component(system)
    content = content_of(Bom(metadata=BomMetaData(component=root), components=components), None)
    # Of no package it is known on which others it depends.
    content.pop("dependencies", None)
    return document(content)
