"""Translates Rtn, rounding to nearest before ModelBuilder: ModelBuilder itself does that here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from targets.config.olive.draft import Draft
from targets.config.olive.node import Fields, Node
from targets.config.source_map import KeyPath

RTN = "rtn"
"""Olive's name of the pass, in lower case."""

_DEFAULTS: dict[str, Any] = {"bits": 4, "group_size": 128, "sym": False}
_HEAD, _EMBEDDING = "lm_head", "model.embed_tokens"
_OFF = {
    "quantize_vision": "a model that sees is not built",
    "moe": "experts stay as ModelBuilder has them",
}


@dataclass(frozen=True)
class Rounding:
    """What an ``Rtn`` rounds, and how."""

    kind: Node
    bits: Any
    block_size: Any
    symmetric: Any
    head: int | None
    """Width of the output layer; ``None`` for ModelBuilder's own."""
    embedding: int | None
    """Width of the embedding; ``None`` for ModelBuilder's own."""
    nodes: dict[str, Node]
    """The keys that say so."""


def read_rtn(kind: Node, fields: Fields) -> Rounding:
    """Return what an ``Rtn`` asks for."""
    nodes = {name: node for name in _DEFAULTS if (node := fields.take(name)) is not None}
    values = {**_DEFAULTS}
    for name, node in nodes.items():
        values[name] = node.flag() if name == "sym" else node.number()
    if "bits" in nodes and values["bits"] not in (4, 8):
        nodes["bits"].refuse("weights of 4 or 8 bits can be stored", "write 4 or 8")
    if values["group_size"] == -1:
        nodes["group_size"].refuse(
            "one scale for a whole row: the runtime has blocks of 16 to 256 weights",
            "write a group_size of 32 or 128",
        )
    widths = _overrides(fields.take("overrides"), values)
    parts = {}
    for name, key in (("lm_head", _HEAD), ("embeds", _EMBEDDING)):
        node = fields.take(name)
        rounds = node.flag() if node is not None else False
        if node is not None and rounds is False:
            node.no_effect("ModelBuilder decides")
        elif node is not None and rounds:
            node.translated("ModelBuilder rounds it as well")
        parts[name] = widths.get(key, values["bits"]) if rounds else None
    skipped = fields.take("modules_to_not_convert")
    if skipped is not None and skipped.raw:
        skipped.refuse(
            "some matrices would stay in floats", "name them in nodes_to_exclude of ModelBuilder"
        )
    elif skipped is not None:
        skipped.no_effect("it is empty")
    for name, reason in _OFF.items():
        node = fields.take(name)
        if node is not None and node.flag():
            node.refuse(reason, "remove it")
        elif node is not None:
            node.no_effect("it is off")
    fields.refuse_rest("Rtn")
    return Rounding(
        kind,
        values["bits"],
        values["group_size"],
        values["sym"],
        parts["lm_head"],
        parts["embeds"],
        nodes,
    )


def settle_builder(rounding: Rounding, place: KeyPath, draft: Draft) -> None:
    """Have the builder at ``place`` round as ``rounding`` says."""
    tables = draft.document.get("passes", {})
    by_type = {table.get("type", name): (name, table) for name, table in tables.items()}
    _, gptq = by_type.get("gptq", ("", None))
    rounding.kind.translated('algorithm = "rtn" of model_builder')
    wanted = {"algorithm": "rtn", "block_size": rounding.block_size}
    layers = rounding.bits
    symmetric = rounding.symmetric
    if gptq is None:
        draft.derive((*place, "precision"), f"int{layers}")
    else:
        layers = 8 if gptq.get("precision") == "int8" else 4
        # With zero points, both are stored as they are.
        symmetric = bool(symmetric and gptq.get("symmetric"))
    wanted["symmetric"] = symmetric
    for key, value in wanted.items():
        said = draft.get((*place, key))
        if said not in (None, value):
            rounding.kind.refuse(
                f"it rounds with {key} {json.dumps(value)}, and another pass says "
                f"{json.dumps(said)}",
                "say it alike in both: ModelBuilder has one for all matrices",
            )
        draft.derive((*place, key), value)
    for node in rounding.nodes.values():
        node.translated("ModelBuilder rounds so")
    if rounding.embedding is not None:
        draft.derive((*place, "embedding"), f"int{rounding.embedding}")
    name, mixed = by_type.get("mixed_precision", ("", None))
    if mixed is None and rounding.head not in (None, layers):
        draft.derive((*place, "mixed_precision"), {"last_matmul": f"int{rounding.head}"})
    elif mixed is not None and rounding.head == 4 and mixed.get("choose") != "sensitivity":
        rounding.kind.refuse(
            f"it rounds the output layer to 4 bits, and {mixed.get('choose')} keeps it in 8",
            "write 8 bits for lm_head in overrides",
        )
    elif mixed is not None and rounding.head == 8 and mixed.get("choose") == "sensitivity":
        draft.derive(("passes", name, "output_layer"), "int8")


def _overrides(node: Node | None, values: dict[str, Any]) -> dict[str, Any]:
    """Return the widths that ``overrides`` gives to output layer and embedding, and refuse any
    other."""
    if node is None:
        return {}
    found = {}
    same = {"group_size": values["group_size"], "symmetric": values["sym"]}
    for table in node.fields("overrides").rest():
        for value in table.fields("an override").rest():
            key = value.name
            if table.name in (_HEAD, _EMBEDDING) and key == "bits" and value.raw in (4, 8):
                value.translated("the width that ModelBuilder gives it")
                found[table.name] = value.raw
            elif key in same and value.raw == same[key]:
                value.no_effect("the same as of all")
            else:
                value.refuse(
                    "some matrices would have another width or block size",
                    "give all the same, or choose widths with SelectiveMixedPrecision",
                )
    return found
