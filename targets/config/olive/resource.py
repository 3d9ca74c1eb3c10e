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
_CLIENT = ("subscription_id", "resource_group", "workspace_name")
_WORKSPACE = (
    "subscriptions/{subscription_id}/resourcegroups/{resource_group}/workspaces/{workspace_name}/"
)


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
    """Where something lies: a path, or a URI of Azure ML."""

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
            part.translated("part of the azureml: address, whose bytes are fetched")
    client = fields.take("azureml_client")
    workspace = {} if client is None or name.endswith("registry_model") else _workspace(client)
    part = fields.take("datastore_url")
    if part is not None:
        part.no_effect("datastore_name and relative_path say where it is")
    fields.refuse_rest(f"a resource of type {name}")
    parts = (pattern.format_map({**dict.fromkeys(_KEYS, ""), **values}) for pattern in _URI[name])
    whole = "/".join(part for part in parts if not part.endswith("/"))
    return "azureml://" + (_WORKSPACE.format_map(workspace) if len(workspace) == 3 else "") + whole


def _workspace(client: Node) -> dict[str, str]:
    """Return subscription, group and workspace of a client, if it names all of them."""
    if not isinstance(client.raw, dict):
        client.no_effect("the workspace is that of the system")
        return {}
    found = {}
    for part in client.fields("azureml_client").rest():
        if part.name in _CLIENT and (text := part.word()) is not None:
            found[part.name] = text
            part.translated("part of the azureml: address")
        else:
            part.no_effect("the login is that of the environment")
    return found
