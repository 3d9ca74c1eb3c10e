"""Reads the data sets of a file by name, and recognizes those of made-up inputs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from dataclasses import dataclass

from pipeline.contract.suggest import did_you_mean
from targets.config.olive.components import BATCH, LOAD, POST, PRE, read_components
from targets.config.olive.node import Node
from targets.config.source_map import dotted

DUMMY = {
    "dummydatacontainer": 1,
    "transformersdummydatacontainer": 128,
    "transformerspromptdummydatacontainer": 8,
    "transformerstokendummydatacontainer": 1,
}
"""Containers of made-up inputs, and the prompt tokens Olive gives each by default."""


@dataclass(frozen=True)
class OliveDataSet:
    """One entry of ``data_configs``, or one written in place."""

    name: str
    node: Node


def read_data_sets(node: Node | None) -> dict[str, OliveDataSet]:
    """Return the data sets of the file by name: a list of tables, or a table of them."""
    if node is None:
        return {}
    sets: dict[str, OliveDataSet] = {}
    keyed = isinstance(node.raw, dict)
    entries = list(node.fields("data_configs").rest()) if keyed else node.items()
    taken: set[str] = set()
    for at, entry in enumerate(entries):
        if not isinstance(entry.raw, dict):
            entry.refuse("a data set must be an object", "give name and load_dataset_config")
            continue
        raw = entry.raw
        name = str(raw.get("name") or (entry.name if keyed else f"data-{at}"))
        data = OliveDataSet(unique(_safe(name), taken), entry)
        taken.add(data.name)
        # The oldest files refer to a data set by its key, later ones by its name.
        for key in dict.fromkeys((name, entry.name) if keyed else (name,)):
            if key in sets and sets[key].node is not entry:
                entry.refuse(f"two data sets are called '{key}'", "names must differ")
            sets.setdefault(key, data)
    return sets


def used_set(node: Node, sets: dict[str, OliveDataSet]) -> OliveDataSet | None:
    """Return the data set that ``node`` names, or describes in place: then it joins ``sets``."""
    if isinstance(node.raw, dict):
        description = f"written at {dotted(node.path)}"
        if description not in sets:
            name = str(node.raw.get("name") or node.name.removesuffix("_data_config") or "data")
            taken = {data.name for data in sets.values()}
            sets[description] = OliveDataSet(unique(_safe(name), taken), node)
        return sets[description]
    if node.refuse_placeholder():
        return None
    known = sets.get(str(node.raw))
    if known is None:
        node.refuse(
            f"there is no data set '{node.raw}' in data_configs", did_you_mean(str(node.raw), sets)
        )
    return known


def _safe(name: str) -> str:
    """Return ``name`` as the name of a data set of a Quern config."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "data"


def unique(name: str, taken: Collection[str]) -> str:
    """Return ``name``, with a number behind it if it is taken."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(text for text in itertools.chain([name], numbered) if text not in taken)


def dummy_prompt(data: OliveDataSet) -> int | None:
    """Return the prompt tokens of a container of made-up inputs; ``None`` for real data."""
    raw = data.node.raw if isinstance(data.node.raw, dict) else {}
    default = DUMMY.get(str(raw.get("type", "")).lower())
    if default is None:
        return None
    fields = data.node.fields("a data set")
    for name in ("name", "type"):
        part = fields.take(name)
        if part is not None:
            part.translated("prompts of made-up tokens")
    components = read_components(fields)
    load = components[LOAD]
    length = load.take("seq_len")
    shapes = load.take("input_shapes")
    size = default
    if length is not None:
        size = int(length.number() or default)
        if not length.placeholder:
            length.translated("checks.latency.prompt_tokens")
    elif shapes is not None and isinstance(shapes.raw, list) and shapes.raw:
        first = shapes.raw[0]
        last = first[-1] if isinstance(first, list) and first else None
        size = last if isinstance(last, int) else default
        shapes.translated("checks.latency.prompt_tokens")
    for part in [
        *load.rest(),
        *(node for name in (PRE, POST, BATCH) for node in components[name].rest()),
    ]:
        part.no_effect("the runtime makes every input but the prompt by itself")
    fields.refuse_rest("a data set of made-up inputs")
    return max(size, 1)
