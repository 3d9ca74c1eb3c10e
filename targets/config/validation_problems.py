"""Converts pydantic's validation errors to problems with file, line and suggestion."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.contract.suggest import did_you_mean
from targets.config.other_names import other_name
from targets.config.source_map import KeyPath, SourceMap
from targets.errors import Problem

MISSING = "this key is required"


def validation_problems(
    error: ValidationError,
    model: type[BaseModel],
    file: Path,
    source_map: SourceMap,
    place: Callable[[KeyPath], KeyPath] = lambda loc: loc,
) -> Iterator[Problem]:
    """Yield one problem per mistake; ``place`` converts a path in ``model`` to one in the file."""
    messages_at: dict[KeyPath, dict[str, str]] = {}
    for entry in error.errors(include_url=False):
        loc = _as_written(model, tuple(part for part in entry["loc"] if part != "[key]"))
        message, suggestion = entry["msg"], ""
        if entry["type"] == "extra_forbidden":
            message = "unknown key"
            suggestion = _nearest_key(str(loc[-1]), _fields_at(model, loc[:-1]))
        elif entry["type"] == "literal_error" and isinstance(entry["input"], str):
            # What it may be comes last: the list can be long.
            message, expected = f"unknown value {entry['input']!r}", entry["ctx"]["expected"]
            suggestion = _nearest_value(entry["input"], expected)
        elif entry["type"] == "missing":
            message = MISSING
        elif entry["type"] == "value_error":
            message = str(entry["ctx"]["error"])
        elif entry["type"].startswith("union_tag_"):
            loc = (*loc, "type")
            tags = str(entry["ctx"].get("expected_tags", ""))
            known = tags.replace("'", '"').replace(", ", " or ")
            message = f"must be {known}" if known else MISSING
        elif entry["type"] != "model_type":
            message = f"{message}, not {entry['input']!r}"
        messages_at.setdefault(place(loc), {})[message[:1].lower() + message[1:]] = suggestion
    for path, messages in messages_at.items():
        yield Problem(
            message=" or ".join(messages),
            file=file,
            line=source_map.line(path),
            key=source_map.key(path),
            suggestion=next((text for text in messages.values() if text), ""),
        )


def _nearest_key(word: str, known: Sequence[str]) -> str:
    """Return the key that was meant: by the name that others have for it, else by its letters."""
    ours = other_name(word, known)
    return f"did you mean '{ours}'?" if ours else did_you_mean(word, known)


def _nearest_value(word: str, expected: str) -> str:
    """Return the value that was meant, if one is near, and then all that there are."""
    nearest = did_you_mean(word, re.findall(r"'([^']*)'", expected))
    every = f"it can be {expected}"
    return f"{nearest} {every}" if nearest.startswith("did") else every


def causes(found: Iterable[Problem], known: Sequence[Problem]) -> list[Problem]:
    """Return those of ``found`` that do not merely follow from ``known``, by which parts of the
    config are missing."""
    refused = [problem.key for problem in known if problem.key]
    return [
        problem
        for problem in found
        if not known
        or (
            MISSING not in problem.message
            and not any(_is_within(problem.key, key) for key in refused)
        )
    ]


def _is_within(key: str, other: str) -> bool:
    """Return whether one of two keys is the other, or a part of it."""
    shorter, longer = sorted((key, other), key=len)
    return bool(shorter) and (
        longer == shorter or longer.startswith((f"{shorter}.", f"{shorter}["))
    )


def _as_written(model: type[BaseModel], loc: KeyPath) -> KeyPath:
    """Return ``loc`` without the names of a union's members, which pydantic adds."""
    current: Any = model
    written: list[str | int] = []
    for part in loc:
        tagged = _tagged(current, part)
        if tagged is not None:
            current = tagged
            continue
        inner = _step(current, part)
        if isinstance(part, int) or any(_has_keys(option) for option in _options(current)):
            written.append(part)
            current = inner
    return tuple(written)


def _tagged(annotation: Any, part: str | int) -> type[BaseModel] | None:
    """Return the table of a union whose ``type`` is ``part``, where that tells them apart."""
    models = list(_models(annotation))
    if len(models) < 2:
        return None
    kinds = {get_args(model.model_fields["type"].annotation): model for model in models}
    return kinds.get((part,))


def _has_keys(option: Any) -> bool:
    """Return whether a value of this type is a table."""
    origin = get_origin(option)
    return (
        option is Any
        or (isinstance(option, type) and issubclass(option, BaseModel))
        or (isinstance(origin, type) and issubclass(origin, Mapping))
    )


def _fields_at(model: type[BaseModel], loc: KeyPath) -> tuple[str, ...]:
    """Return the keys that the table at ``loc`` below ``model`` may have."""
    current: Any = model
    for part in loc:
        current = _step(current, part)
    return tuple(field for table in _models(current) for field in table.model_fields)


def _step(annotation: Any, part: str | int) -> Any:
    for model in _models(annotation):
        if isinstance(part, str) and part in model.model_fields:
            return model.model_fields[part].annotation
    for option in _options(annotation):
        if isinstance(get_origin(option), type) and issubclass(get_origin(option), Mapping):
            return get_args(option)[1]
        if get_origin(option) in (list, tuple):
            return get_args(option)[0]
    return None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            yield option


def _options(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    elif get_origin(annotation) is Annotated:
        yield from _options(get_args(annotation)[0])
    else:
        yield annotation
