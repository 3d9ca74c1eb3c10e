"""Removes invalid keys from a config, so that the rest of it can be checked.

The first validation finds mistakes of form. To report mistakes of content (missing files, broken
rows, wrong parameters) at the same time, the rest of the file is read without the invalid keys.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)

_ROUNDS = 8


def salvage(document: Mapping[str, Any], model: type[Model]) -> Model | None:
    """Return ``document`` as ``model`` without its invalid keys, or ``None`` if nothing is left."""
    table = copy.deepcopy(dict(document))
    table.setdefault("name", "unnamed")
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(table)
        except ValidationError as error:
            for entry in error.errors():
                loc = entry["loc"]
                _remove(table, loc[:-1] if entry["type"] == "missing" else loc)
            table.setdefault("name", "unnamed")
    return None


def _remove(tree: dict[str, Any], loc: tuple[int | str, ...]) -> None:
    """Delete the deepest part of ``loc`` that exists; for an element of a list, the whole list."""
    path = [part for part in loc if part != "[key]"]
    parent: Any = None
    node: Any = tree
    for part in path:
        if not isinstance(node, dict) or part not in node:
            break
        parent, node, last = node, node[part], part
    if parent is not None:
        del parent[last]
