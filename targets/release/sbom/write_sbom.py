"""Writes the SBOM of a release, with the same bytes for the same release."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component
from cyclonedx.model.contact import OrganizationalContact
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.tool import ToolRepository
from pydantic import JsonValue

from targets.release.sbom.components import (
    data_component,
    model_component,
    quern_component,
    release_component,
    supplier,
    toolchain_component,
    wheel_component,
)
from targets.release.sbom.contents import Artifact, Release, ToolchainContents
from targets.release.sbom.document import content_of, document
from targets.release.sbom.model_card import model_card_json

FILE_NAME = "sbom.cdx.json"


def write_sbom(release: Release) -> bytes:
    """Return the SBOM.

    ``components`` are what a user gets and needs: models, data, and the wheels that run them. What
    only made them, the toolchains with all their packages, is in ``formulation``, so that scanners
    do not report it on the model. Its only time is that of the commit, and its serial number is
    derived from its content.
    """
    graph = _Graph()
    root = release_component(release)
    artifacts = [_artifact(graph, artifact) for artifact in release.artifacts]
    root_ref = graph.add(root, artifacts)
    delivered = graph.reached_from(root_ref)
    bom = Bom(
        metadata=BomMetaData(
            component=root,
            supplier=supplier(release.supplier),
            authors=[OrganizationalContact(name=release.supplier)] if release.supplier else None,
            timestamp=release.time,
            tools=ToolRepository(components=[quern_component(release.quern)]),
        ),
        components=[component for ref, component in graph.components.items() if ref != root_ref],
        dependencies=graph.dependencies(),
    )
    content = content_of(bom, release.time)
    # The library says of a component without an edge that it depends on nothing: that is not known.
    content["dependencies"] = [it for it in content["dependencies"] if it["ref"] in graph.made_of]
    # It has no classes for what comes now.
    everything = content["components"]
    for component in everything:
        card = graph.cards.get(component["bom-ref"])
        if card is not None:
            component["modelCard"] = card
    content["components"] = [it for it in everything if it["bom-ref"] in delivered]
    made_with = [it for it in everything if it["bom-ref"] not in delivered]
    if made_with:
        content["formulation"] = [{"components": made_with}]
    return document(content)


class _Graph:
    """The components by reference, and the references of the components on which each depends.

    The dependencies of a component that is not in ``made_of`` are unknown.
    """

    def __init__(self) -> None:
        self.components: dict[str, Component] = {}
        self.made_of: dict[str, set[str]] = {}
        self.cards: dict[str, dict[str, JsonValue]] = {}
        """Model cards by the reference of their component."""

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

    def reached_from(self, root: str) -> set[str]:
        """Return the references of ``root`` and of all on which it depends, itself or through
        others."""
        reached: set[str] = set()
        todo = [root]
        while todo:
            ref = todo.pop()
            if ref not in reached:
                reached.add(ref)
                todo += self.made_of.get(ref, ())
        return reached

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
    runs_on = [graph.add(wheel_component(wheel)) for wheel in artifact.runs_on]
    base = [graph.add(model_component(artifact.base))] if artifact.base else []
    adapter = []
    if artifact.adapter:
        adapter.append(graph.add(model_component(artifact.adapter), [*base, *data]))
    facts = (*artifact.model.facts, *(("made-with", ref) for ref in sorted(toolchains)))
    model = model_component(replace(artifact.model, facts=facts))
    ref = graph.add(model, [*base, *adapter, *data, *runs_on])
    names = (one.name for one in artifact.data)
    graph.cards[ref] = model_card_json(artifact.facts, dict(zip(data, names, strict=True)))
    return ref


def _toolchain(graph: _Graph, toolchain: ToolchainContents) -> str:
    parts = [graph.add(wheel_component(wheel)) for wheel in toolchain.wheels]
    return graph.add(toolchain_component(toolchain), parts)
