"""Generates the reference page of build configs from their schema: tables, keys and examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.latency.default_limits import SizedLimit
from pipeline.run.registry import check_types, load_check, load_pass
from pipeline.training.params import FinetuneParams, TrainingLoopParams
from pipeline.verdicts.byte_limits import ByteLimitParams
from targets.config.json_schema import Schema, chain_passes, prose
from targets.target import load_target, target_names

_INTRODUCTION = """\
# Build configs

<!-- Made by `nox -s schema` from the models that validate configs. Do not edit. -->

A build config is a TOML file. Paths in it are relative to it, so it can lie in
[a repository of your own](how-to.md#build-a-config-of-your-own), beside its data. Unknown
keys, wrong types, missing files and broken rows are reported all at once, each with its line,
before anything runs.

For completion in an editor that knows JSON Schema for TOML (Taplo, Even Better TOML), make this the
first line of your config: `#:schema PATH/TO/configs/schema.json`.
"""

_USUAL_LIMITS = """\
Where a config gives none, these limits hold, in milliseconds: per gigabyte (10^9 bytes) of weights
that a token reads, and per token of the longest prompt that is timed. Report and summary show the
limit and what it was computed from. `[limits]` in `targets/TARGET.toml` says where the numbers come
from.

| target | `first_token_ms` | `token_ms` |
| --- | --- | --- |
"""

_TABLE_HEAD = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"

_SHOWN_KEYS = 4
"""Number of keys in a generated example."""

_SHOWN_WHOLE: dict[type, str] = {
    TrainingLoopParams: "lora",
    FinetuneParams: "lora",
    ByteLimitParams: "size",
}
"""For passes or checks whose parameters share a base class, the one whose table lists all keys."""

_HEADER = re.compile(r"^\[(?P<name>[^\[\]]+)\]\s*$")


class ReferencePage:
    """Writes the page; ``examples`` are TOML files in which tables are looked up, best first."""

    def __init__(self, schema: Schema, examples: Sequence[Path]) -> None:
        self._schema = schema
        self._definitions: dict[str, Schema] = schema["$defs"]
        self._blocks = [block for path in examples for block in _blocks(path.read_text("utf-8"))]

    def text(self) -> str:
        """Return the whole page as Markdown."""
        return "\n".join((_INTRODUCTION, *self._sections()))

    def _sections(self) -> Iterator[str]:
        top = self._schema["properties"]
        names = ("name", "seed", "default_targets", "host", "runtime", "model", "skip_checks")
        plain = {name: top[name] for name in names}
        yield "## Top-level keys\n"
        yield self._keys({"properties": plain, "required": self._schema["required"]})
        yield from self._section("## `[model]`", "ModelSource", r"model")
        yield from self._section("### `[model.pretrain]`", "pretrain", r"model\.pretrain")
        yield from self._section("## `[data.NAME]`", "DataSpec", r"data\.[^.]+")
        yield from self._section("### `[data.NAME.split]`", "Split", r"data\.[^.]+\.split")
        yield from self._section(
            "### `[data.NAME.sequences]`", "Sequences", r"data\.[^.]+\.sequences"
        )
        yield from self._section("### `[data.NAME.code]`", "DataCode", r"data\.[^.]+\.code")
        yield f"## Passes\n\n{top['passes']['description']}\n"
        for name in _in_families("pass", chain_passes()):
            yield from self._section(f"### `[passes.{name}]`", f"pass-{name}", rf"passes\.{name}")
        yield from self._section("### `[passes.tune.space]`", "TuneSpace", r"passes\.tune\.space")
        yield "### A pass under another name\n"
        yield self._example(r"passes\.small")
        yield from self._section("## `[evaluation]`", "evaluation", r"evaluation")
        yield f"## Checks\n\n{top['checks']['description']}\n"
        for name in _in_families("check", check_types()):
            yield from self._section(f"### `[checks.{name}]`", f"check-{name}", rf"checks\.{name}")
            if name == "latency":
                yield _usual_limits()
        yield "### Goals of a check\n"
        yield f"{self._definitions['Goal']['description']}\n"
        yield self._keys(self._definitions["Goal"])
        yield from self._further_goals()
        yield from self._section(
            "## `[targets.NAME]`", "TargetTable", r"targets\.[^.]+\.passes\..+"
        )
        yield from self._section("## `[resources]`", "Resources", r"resources")
        yield from self._section("## `[cache]`", "SharedCacheTable", r"cache")
        yield from self._section("## `[toolchain]`", "ToolchainTable", r"toolchain")
        yield from self._section("## `[card]`", "Card", r"card")
        yield from self._section("## `[systems.NAME]`", "DockerSystem", r"systems\.box")
        yield from self._section(
            "### `[systems.NAME]` of Azure Machine Learning", "AzureMLSystem", r"systems\.aml"
        )
        yield from self._section("### `[systems.NAME]` of Slurm", "SlurmSystem", r"systems\.hpc")

    def _further_goals(self) -> Iterator[str]:
        """Yield the keys of goals of single checks that not all goals have."""
        shared = self._definitions["Goal"]["properties"]
        for name in check_types():
            goals = self._definitions[f"check-{name}"]["properties"].get("goals", {"items": {}})
            kind = goals["items"].get("$ref", "").rpartition("/")[2] or "Goal"
            properties = self._definitions[kind]["properties"]
            keys = {key: schema for key, schema in properties.items() if shared.get(key) != schema}
            if keys:
                yield f"Goals of `{name}` also have:\n"
                yield self._keys({"properties": keys})

    def _section(self, heading: str, definition: str, table: str) -> Iterator[str]:
        schema = self._definitions[definition]
        yield f"{heading}\n\n{schema['description']}\n"
        yield self._example(table) or _made_example(heading, schema)
        kind, _, name = definition.partition("-")
        whole = _shown_whole(kind, name)
        if whole is not None:
            yield f"{self._difference(kind, whole, schema)}:\n"
            shared = _keys_of(self._definitions[f"{kind}-{whole}"])
            own_keys = {
                key: key_schema
                for key, key_schema in schema["properties"].items()
                if shared.get(key) != key_schema
            }
            schema = {**schema, "properties": own_keys}
        yield self._keys(schema)

    def _difference(self, kind: str, whole: str, schema: Schema) -> str:
        """Return which keys of the pass or check ``whole`` this table shares, in words."""
        shared = _keys_of(self._definitions[f"{kind}-{whole}"])
        missing = [f"`{key}`" for key in sorted(shared.keys() - schema["properties"].keys())]
        but = f" except {_listed(missing)}" if missing else ""
        section = "passes" if kind == "pass" else "checks"
        return f"All keys of [`{whole}`](#{section}{whole}){but}, and"

    def _example(self, table: str) -> str:
        """Return the first block of a table whose name matches ``table``; empty if there is none.

        ``targets/config/examples.toml`` has those that say more than defaults would.
        """
        blocks = (block for name, block in self._blocks if re.fullmatch(table, name))
        return next((f"```toml\n{block}\n```\n" for block in blocks), "")

    def _keys(self, schema: Schema) -> str:
        required = schema.get("required", ())
        rows = [
            f"| `{name}` | {self._type(key)} | {_default(key, name in required)} "
            f"| {_cell(self._meaning(key))} |\n"
            for name, key in schema["properties"].items()
        ]
        return _TABLE_HEAD + "".join(rows)

    def _meaning(self, key: Schema) -> str:
        if "description" in key or "$ref" not in key:
            return str(key.get("description", ""))
        description = str(self._definitions[key["$ref"].rpartition("/")[2]]["description"])
        return description.partition(". ")[0].rstrip(".") + "."

    def _type(self, key: Schema) -> str:
        """Return the type in words, with its range."""
        if "allOf" in key or "$ref" in key:
            return "table"
        if "const" in key:
            return f"`{json.dumps(key['const'])}`"
        if "enum" in key:
            return ", ".join(f"`{json.dumps(value)}`" for value in key["enum"])
        if "anyOf" in key:
            return " or ".join(dict.fromkeys(self._type(option) for option in key["anyOf"]))
        kind = key.get("type")
        if kind == "array":
            return f"list of {_plural(self._type(key['items']))}"
        if kind == "object":
            return "table"
        words = {"integer": "integer", "number": "number", "string": "string", "boolean": "boolean"}
        return words.get(str(kind), "any value") + _range(key)


def _made_example(heading: str, schema: Schema) -> str:
    """Return an example of the table ``heading``: its first keys with their defaults."""
    keys = [
        f"{name} = {_toml(key['default'])}"
        for name, key in schema["properties"].items()
        if isinstance(key.get("default"), (bool, int, float, str))
    ]
    table = heading.partition("`")[2].partition("`")[0]
    block = "\n".join((table, *keys[:_SHOWN_KEYS]))
    return f"```toml\n{block}\n```\n"


def _usual_limits() -> str:
    """Return the default limits of every target."""
    limits = {name: load_target(name).limits for name in target_names()}
    rows = [
        f"| {name} | {_formula(limit.first_token_ms)} | {_formula(limit.token_ms)} |\n"
        for name, limit in limits.items()
    ]
    return f"{_USUAL_LIMITS}{''.join(rows)}"


def _formula(limit: SizedLimit) -> str:
    parts = [f"{limit.at_least:g}", f"{limit.per_gb:g} per GB"]
    if limit.per_gb_and_prompt_token:
        parts.append(f"{limit.per_gb_and_prompt_token:g} per GB and token")
    return " + ".join(parts)


def _shown_whole(kind: str, name: str) -> str | None:
    """Return the pass or check whose table lists the keys that it shares with ``name``: that of the
    nearest base class of the parameters; ``None`` if there is none."""
    if not name:
        return None
    names, load = (chain_passes(), load_pass) if kind == "pass" else (check_types(), load_check)
    types = {load(other).Params: other for other in names} | _SHOWN_WHOLE
    shown = next((types[base] for base in load(name).Params.__mro__[1:] if base in types), name)
    return None if shown == name else shown


def _in_families(kind: str, names: Sequence[str]) -> list[str]:
    """Return ``names`` sorted, with those that refer to another one right after it."""
    shown_with = {name: _shown_whole(kind, name) for name in names}
    return sorted(
        names, key=lambda name: (shown_with[name] or name, shown_with[name] is not None, name)
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _keys_of(schema: Schema) -> dict[str, Any]:
    return {name: key for name, key in schema.get("properties", {}).items() if name != "type"}


def _plural(kind: str) -> str:
    return f"{kind}s" if kind.isalpha() else kind


def _range(key: Schema) -> str:
    limits = (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
    )
    bounds = [f"{sign} {_number(key[name])}" for name, sign in limits if name in key]
    return f" {', '.join(bounds)}" if bounds else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _default(key: Schema, required: bool) -> str:
    if required:
        return "required"
    return f"`{_toml(key['default'])}`" if "default" in key else ""


def _toml(value: Any) -> str:
    """Return a default value in TOML, which for these types is the same as JSON."""
    return json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    return prose(text).replace("|", "\\|")


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of each table of a TOML file that has keys."""
    name, lines = "", list[str]()
    for line in [*text.splitlines(), "[end]"]:
        header = _HEADER.match(line)
        if header is None:
            lines.append(line)
            continue
        while lines and (not lines[-1].strip() or lines[-1].startswith("#")):
            lines.pop()  # a comment before a header is about the next table
        if name and len(lines) > 1:
            yield name, "\n".join(lines)
        name, lines = header["name"], [line]
