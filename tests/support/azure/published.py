"""Holds answers against the shapes that Azure publishes: those of the SDK's own models, which are
made of the service's specification (``machinelearningservices`` of Azure/azure-rest-api-specs)."""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

_NEVER_ANSWERED = ("secrets",)
"""What can only be written; the published examples leave it out of answers too."""


def faults(model: Any, answer: Any, place: str = "") -> Iterator[str]:
    """Yield what ``answer`` has that ``model`` has not, what it lacks, and values that are none."""
    found = model._deserialize(answer, [])  # of the kind that the answer says
    yield from _faults(found, answer, place)


def _faults(found: Any, answer: Any, place: str) -> Iterator[str]:
    if isinstance(answer, list):
        for index, one in enumerate(answer):
            yield from _faults(found[index], one, f"{place}[{index}]")
        return
    fields = getattr(type(found), "_attr_to_rest_field", None)
    if not isinstance(answer, Mapping):
        return
    if fields is None:  # a plain mapping: of names to whatever they name
        for name, one in answer.items():
            if isinstance(found, Mapping) and name in found:
                yield from _faults(found[name], one, f"{place}.{name}")
        return
    names = {field._rest_name: name for name, field in fields.items()}
    hints = _hints(type(found))
    for name, value in answer.items():
        if name not in names:
            yield f"{place}.{name} is not in {type(found).__name__}"
        elif value is not None:
            yield from _no_member(hints.get(names[name]), value, f"{place}.{name}")
            yield from _faults(getattr(found, names[name]), value, f"{place}.{name}")
    for rest, name in names.items():
        optional = type(None) in typing.get_args(hints.get(name, None))
        answered = rest not in _NEVER_ANSWERED and hints.get(name) is not None
        if answered and not optional and rest not in answer:
            yield f"{place}.{rest} of {type(found).__name__} is missing"


def _hints(model: type) -> dict[str, Any]:
    module = sys.modules[model.__module__]
    package = sys.modules[model.__module__.rpartition(".")[0]]
    return typing.get_type_hints(model, {**vars(module), "_models": package})


def _no_member(hint: Any, value: Any, place: str) -> Iterator[str]:
    """Yield that ``value`` is no member of the enumeration that ``hint`` names."""
    kinds = [one for one in (hint, *typing.get_args(hint)) if isinstance(one, type)]
    members = [one for kind in kinds if issubclass(kind, Enum) for one in kind]
    if members and value not in {member.value for member in members}:
        yield f"{place} is {value!r}"
