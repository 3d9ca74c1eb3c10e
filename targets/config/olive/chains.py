"""Reads ``passes`` and ``pass_flows``: the chains of passes, with their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.contract.suggest import did_you_mean
from targets.config.olive.node import Node
from targets.config.olive.sets import unique

PASSES = (
    *("LoRA", "QLoRA", "DoRA", "LoHa", "LoKr", "LoftQ"),
    *("MergeAdapterWeights", "SelectiveMixedPrecision", "Gptq", "Rtn"),
    *("ModelBuilder", "GraphSurgeries", "ExtractAdapters"),
)
"""Olive's passes that Quern supports, for suggestions."""

BUILDERS = ("modelbuilder", "genaimodelexporter")
"""Names of ModelBuilder, in lower case."""

EXTRACT = "extractadapters"
"""A pass that leaves weights for whatever they were for, in lower case."""

_OF_GRAPHS = ("ModelBuilder", "GraphSurgeries", "ExtractAdapters")

TORCH = (*(name.lower() for name in PASSES if name not in _OF_GRAPHS),)
"""Passes that leave weights for PyTorch, in lower case."""

_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class OlivePass:
    """One pass of a chain."""

    name: str
    """Its key in the Quern config."""
    node: Node


def safe_name(text: str) -> str:
    """Return ``text`` as a valid name in a Quern config; empty if no valid character is in it."""
    return _NAME.sub("-", text).strip("-.")


def read_chains(root: Node) -> Iterator[list[OlivePass]]:
    """Yield each chain of passes: as written, or one for each flow."""
    table = _passes(root)
    flows = root.raw.get("pass_flows")
    if flows in (None, []):
        yield list(table.values())
        return
    listed = Node(flows, ("pass_flows",), root.ledger)
    if not isinstance(flows, list):
        listed.refuse("pass_flows must be a list of lists of passes")
        yield list(table.values())
        return
    listed.honoured()
    for at, flow in enumerate(flows):
        place = Node(flow, ("pass_flows", at), root.ledger)
        names = [str(name) for name in (flow if isinstance(flow, list) else [flow])]
        for name in names:
            if name not in table:
                place.refuse(f"there is no pass '{name}'", did_you_mean(name, table))
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            place.refuse(f"'{name}' is there twice", "give each pass a name of its own")
        yield [table[name] for name in dict.fromkeys(names) if name in table]


def _searched(raw: Any) -> bool:
    """Return whether the file asks for a search."""
    engine = raw.get("engine")
    strategy = engine.get("search_strategy") if isinstance(engine, dict) else None
    return bool(strategy or raw.get("search_strategy"))


def _passes(root: Node) -> dict[str, OlivePass]:
    """Return the passes of the file by the name that ``pass_flows`` calls them by."""
    passes = root.raw.get("passes")
    named: list[tuple[str, Node]] = []
    if isinstance(passes, dict):
        for name, value in passes.items():
            node = Node(value, ("passes", name), root.ledger)
            if isinstance(value, list) and not value:
                node.refuse("a pass needs a type", ", ".join(PASSES))
                continue
            # Olive's search chooses among alternatives; without one it takes the first.
            first, *others = node.items() if isinstance(value, list) else [node]
            for other in others:
                if _searched(root.raw):
                    other.refuse(
                        "a search among passes: Quern searches over the parameters of one",
                        "write one pass",
                    )
                else:
                    other.no_effect("without a search the first alternative is taken")
            named.append((name, first))
    elif isinstance(passes, list):
        for at, value in enumerate(passes):
            inner = value if isinstance(value, dict) else {}
            name = str(inner.get("name") or inner.get("type") or f"pass-{at}")
            named.append((name, Node(value, ("passes", at), root.ledger)))
    elif passes is not None:
        Node(passes, ("passes",), root.ledger).refuse("passes must be an object or a list")
    table: dict[str, OlivePass] = {}
    taken: set[str] = set()
    for name, node in named:
        key = unique(safe_name(name) or "pass", taken)
        label = name if name not in table else key
        table[label] = OlivePass(key, node)
        taken.add(key)
    return table
