"""Writes the SBOM of a release, with the same bytes for the same release."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid5

from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6

from targets.release.sbom.components import (
    data_component,
    debian_component,
    model_component,
    python_component,
    quern_component,
    release_component,
    system_component,
    toolchain_component,
    wheel_component,
)
from targets.release.sbom.contents import Artifact, Release, ToolchainContents

FILE_NAME = "sbom.cdx.json"

_SERIALS = UUID("5f1ae5c6-3c0d-5b0e-9d0c-6b4f0b6a4c11")
"""Namespace of the serial numbers of Quern's SBOMs."""


def write_sbom(release: Release) -> bytes:
    """Return the SBOM as CycloneDX 1.6 in JSON, which more tools read than 1.7.

    It contains no time, and its serial number is derived from its content.
    """
    graph = _Graph()
    root = release_component(release)
    artifacts = [_artifact(graph, artifact) for artifact in release.artifacts]
    root_ref = graph.add(root, artifacts)
    bom = Bom(
        metadata=BomMetaData(
            component=root, tools=ToolRepository(components=[quern_component(release.quern)])
        ),
        components=[component for ref, component in graph.components.items() if ref != root_ref],
        dependencies=graph.dependencies(),
    )
    # The library puts the time of now and a random serial number into every document.
    content: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del content["metadata"]["timestamp"], content["serialNumber"]
    # And it says of every component without an edge that it depends on nothing, which is not known.
    content["dependencies"] = [it for it in content["dependencies"] if it["ref"] in graph.made_of]
    serial = uuid5(_SERIALS, json.dumps(content, sort_keys=True))
    head = {name: content.pop(name) for name in ("$schema", "bomFormat", "specVersion")}
    document = {**head, "serialNumber": serial.urn, "version": content.pop("version"), **content}
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


class _Graph:
    """The components by reference, and the references of the components on which each depends.

    The dependencies of a component that is not in ``made_of`` are unknown.
    """

    def __init__(self) -> None:
        self.components: dict[str, Component] = {}
        self.made_of: dict[str, set[str]] = {}

    def add(self, component: Component, made_of: Iterable[str] | None = None) -> str:
        """Add a component and return its reference; ``made_of`` is ``None`` if unknown.

        If two components have the same reference, the choice between them does not depend on order.
        """
        ref = str(component.bom_ref)
        if made_of is not None:
            self.made_of.setdefault(ref, set()).update(made_of)
        known = self.components.get(ref)
        self.components[ref] = component if known is None else min(known, component)
        return ref

    def dependencies(self) -> Iterable[Dependency]:
        """Return ``made_of`` in the form of the library."""
        for ref, parts in self.made_of.items():
            yield Dependency(
                self.components[ref].bom_ref,
                [Dependency(self.components[part].bom_ref) for part in parts],
            )


def _artifact(graph: _Graph, artifact: Artifact) -> str:
    data = [graph.add(data_component(data), []) for data in artifact.data]
    toolchains = [_toolchain(graph, toolchain) for toolchain in artifact.toolchains]
    base = [graph.add(model_component(artifact.base))] if artifact.base else []
    adapter = []
    if artifact.adapter:
        adapter.append(graph.add(model_component(artifact.adapter), [*base, *data]))
    return graph.add(model_component(artifact.model), [*base, *adapter, *data, *toolchains])


def _toolchain(graph: _Graph, toolchain: ToolchainContents) -> str:
    parts = [graph.add(wheel_component(wheel)) for wheel in toolchain.wheels]
    system = toolchain.system
    if system is not None:
        parts.append(graph.add(system_component(system)))
        parts += [graph.add(debian_component(package, system)) for package in system.packages]
        if system.python:
            parts.append(graph.add(python_component(system.python)))
    return graph.add(toolchain_component(toolchain), parts)
