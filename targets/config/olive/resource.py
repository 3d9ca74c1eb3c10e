"""Reads Olive's resource paths: text, or a table with a location."""

from __future__ import annotations

from dataclasses import dataclass

from targets.config.olive.context import nested
from targets.config.olive.node import Fields, Node

_LOCAL = ("local_file", "local_folder", "string_name")
_URI = {
    "azureml_model": ("models/{name}", "versions/{version}"),
    "azureml_registry_model": ("registries/{registry_name}", "models/{name}", "versions/{version}"),
    "azureml_datastore": ("datastores/{datastore_name}", "paths/{relative_path}"),
    "azureml_job_output": ("jobs/{job_id}", "outputs/{output_name}", "paths/{relative_path}"),
}
"""How Azure ML itself writes where each kind of resource lies."""


_KEYS = (
    "registry_name",
    "name",
    "version",
    "datastore_name",
    "relative_path",
    "job_id",
    "output_name",
)


@dataclass(frozen=True)
class Resource:
    """Where something lies: a path, or a URI of Azure ML that a local copy must stand in for."""

    node: Node
    """What the place is named by."""
    place: str


def read_resource(node: Node) -> Resource | None:
    """Return the resource that ``node`` names; ``None`` if it was refused.

    The caller records how :attr:`Resource.node` is treated; everything else is recorded here.
    """
    if not isinstance(node.raw, dict):
        text = node.word()
        return None if text is None else Resource(node, text)
    fields = nested(node.fields("a resource"), "config")
    kind = fields.take("type")
    if kind is None:
        node.refuse("neither a path nor a resource with a type")
        return None
    name = str(kind.raw).lower()
    if name in _LOCAL:
        place = fields.take("path", "name")
        kind.translated("a path on this machine")
        fields.refuse_rest(f"a {name}")
        text = place.word() if place is not None else None
        return None if place is None or text is None else Resource(place, text)
    if name in _URI:
        return Resource(kind, _azure(fields, name))
    kind.refuse(f"there is no resource type '{kind.raw}'", f"known: {', '.join((*_LOCAL, *_URI))}")
    return None


def _azure(fields: Fields, name: str) -> str:
    """Return the URI of a resource of Azure ML."""
    values: dict[str, str] = {}
    for key in _KEYS:
        part = fields.take(key)
        if part is not None:
            values[key] = str(part.raw)
            part.translated("part of the azureml: address; a local copy stands in for it")
    for key in ("azureml_client", "datastore_url"):
        part = fields.take(key)
        if part is not None:
            part.no_effect("Azure ML is not asked from here; a local copy stands in for it")
    fields.refuse_rest(f"a resource of type {name}")
    parts = (pattern.format_map({**dict.fromkeys(_KEYS, ""), **values}) for pattern in _URI[name])
    return "azureml://" + "/".join(part for part in parts if not part.endswith("/"))
