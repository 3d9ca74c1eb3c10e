"""Generates the JSON schema of build configs for editors, from the models that validate configs.

It is JSON Schema draft 7, which TOML editors support. Rules that a schema cannot express (which
keys exclude each other, whether a file exists) are checked by the build only.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from pipeline.contract.schema import BuildConfig
from pipeline.passes.base import BasePass
from pipeline.run.own_steps import OWN_TYPE, StepClass
from pipeline.run.registry import check_types, load_check, load_pass, pass_types
from targets.config.step_reader import DECIDED_ELSEWHERE
from targets.target import target_names

Schema = dict[str, Any]

_DEFINITIONS = "$defs"


def build_schema() -> Schema:
    """Return the schema of a build config."""
    schema = _schema_of(BuildConfig)
    definitions = schema.pop(_DEFINITIONS)
    del definitions["StepTable"]  # the tables below say more
    for name in chain_passes():
        definitions[f"pass-{name}"] = _step("pass", name, load_pass(name))
    for name in check_types():
        definitions[f"check-{name}"] = _step("check", name, load_check(name))
    definitions["pretrain"] = _parameters(load_pass("pretrain"))
    definitions["evaluation"] = _parameters(load_pass("evaluate"))

    keys = schema["properties"]
    keys["model"]["anyOf"] = [{"type": "string"}, {"$ref": keys["model"].pop("$ref")}]
    _refer_to(definitions["ModelSource"]["properties"]["pretrain"], "pretrain")
    _refer_to(keys["evaluation"], "evaluation")
    keys["passes"] |= _tables("pass", chain_passes())
    keys["checks"] |= _tables("check", check_types())
    keys["targets"]["properties"] = {name: _reference("TargetTable") for name in target_names()}
    keys["targets"]["additionalProperties"] = False
    overlays = definitions["TargetTable"]["properties"]
    overlays["passes"] |= _overlays("pass", chain_passes())
    overlays["checks"] |= _overlays("check", check_types())

    head = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:quern:build-config",
        "title": "Quern build config",
    }
    return {**head, **_draft7(schema), _DEFINITIONS: _draft7(_flattened(definitions))}


def chain_passes() -> tuple[str, ...]:
    """Return the passes that a config may name; the others are added by the planner."""
    return tuple(name for name in pass_types() if _in_chain(load_pass(name)))


def _in_chain(implementation: type[BasePass[Any]]) -> bool:
    if implementation.added_by_planner:
        return False
    return bool(implementation.consumes) and implementation.produces != "predictions"


def _schema_of(model: type[BaseModel]) -> Schema:
    return model.model_json_schema(ref_template=f"#/{_DEFINITIONS}/{{model}}")


def _parameters(step: StepClass) -> Schema:
    """Return the schema of a pass's or check's parameters, without those that are set elsewhere."""
    schema = _schema_of(step.Params)
    schema["description"] = f"{inspect.getdoc(step)} {schema['description']}"
    for name in DECIDED_ELSEWHERE:
        schema["properties"].pop(name, None)
    return schema


def _step(kind: str, name: str, step: StepClass) -> Schema:
    """Return the schema of the table of a pass or check."""
    schema = _parameters(step)
    described = f"Which {kind} this is; needed only where the table has another name."
    schema["properties"]["type"] = {"const": name, "description": described}
    # Parameters without a default get one from the target.
    schema.pop("required", None)
    return schema


def _tables(kind: str, names: Iterable[str]) -> Schema:
    """Return the schema of tables that have the name of their type, or a key ``type``."""
    return {
        "properties": {name: _reference(f"{kind}-{name}") for name in names},
        "additionalProperties": {
            "oneOf": [
                *(_with_condition(f"{kind}-{name}", {"required": ["type"]}) for name in names),
                _own_step(kind),
            ]
        },
    }


def _overlays(kind: str, names: Iterable[str]) -> Schema:
    """Return the schema of tables with parameters for one target, which have no key ``type``.

    A name that is not a type may be that of the user's own pass or check.
    """
    untyped = {"not": {"required": ["type"]}}
    return {
        "properties": {name: _with_condition(f"{kind}-{name}", untyped) for name in names},
        "additionalProperties": {"type": "object", **untyped},
    }


def _own_step(kind: str) -> Schema:
    """Return the schema of the table of a user's own pass or check.

    Its parameters are defined by its class and checked by the build only.
    """
    described = f"A {kind} of your own: `PATH/TO/FILE.py:CLASS`, relative to the config."
    name = {"type": "string", "pattern": OWN_TYPE, "description": described}
    return {"type": "object", "properties": {"type": name}, "required": ["type"]}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/{_DEFINITIONS}/{name}"}


def _with_condition(name: str, condition: Schema) -> Schema:
    return {"allOf": [_reference(name), condition]}


def _refer_to(schema: Schema, name: str) -> None:
    """Make ``schema`` the definition ``name``, with its own description."""
    described = {key: schema[key] for key in ("description",) if key in schema}
    schema.clear()
    schema.update({**_reference(name), **described})


def _flattened(definitions: Mapping[str, Schema]) -> Schema:
    """Move the definitions inside definitions to the top, where references look for them."""
    flat: Schema = {}
    for name, definition in definitions.items():
        outer = {**definition}
        inner = outer.pop(_DEFINITIONS, {})
        for key, schema in {**inner, name: outer}.items():
            if flat.setdefault(key, schema) != schema:
                raise ValueError(f"two different models are called {key}")
    return dict(sorted(flat.items()))


def _draft7(node: Any) -> Any:
    """Convert pydantic's schema ``node`` to draft 7, for TOML.

    Titles and null are removed, descriptions are plain text, ``propertyNames`` restrict names, and
    references have no siblings, which draft 7 would ignore.
    """
    if isinstance(node, list):
        return [_draft7(item) for item in node]
    if not isinstance(node, dict):
        return node
    converted = {key: _keyword(key, value) for key, value in node.items()}
    if isinstance(node.get("title"), str):
        del converted["title"]
    if converted.get("default", "") is None or isinstance(converted.get("default"), dict):
        del converted["default"]
    if {"type": "null"} in converted.get("anyOf", ()):
        options = [option for option in converted.pop("anyOf") if option != {"type": "null"}]
        converted = {**converted, **(options[0] if len(options) == 1 else {"anyOf": options})}
    if "patternProperties" in converted:
        ((pattern, schema),) = converted.pop("patternProperties").items()
        converted.setdefault("additionalProperties", schema)
        converted["propertyNames"] = {**converted.get("propertyNames", {}), "pattern": pattern}
    if "$ref" in converted and len(converted) > 1:
        converted["allOf"] = [{"$ref": converted.pop("$ref")}]
    return converted


def _keyword(key: str, value: Any) -> Any:
    if key == "description" and isinstance(value, str):
        return prose(value)
    return value if key in ("default", "const", "enum") else _draft7(value)


def prose(docstring: str) -> str:
    """Return a docstring as one paragraph of Markdown."""
    return " ".join(docstring.split()).replace("``", "`")
