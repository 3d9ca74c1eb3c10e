"""Olive files of the tests, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from targets.config.olive.context import Context
from targets.config.olive.jsonc import parse
from targets.config.olive.ledger import State
from targets.config.olive.translate import Translation, translate

FILES = Path(__file__).parents[1] / "olive"


def read(name: str) -> Any:
    return parse((FILES / name).read_text())


def translated(raw: Any, system: str | None = None, folder: Path = FILES) -> Translation:
    return translate(raw, folder / "olive-config.json", Context(folder), system)


def document(raw: Any, system: str | None = None) -> dict[str, Any]:
    found = translated(raw, system)
    assert not found.ledger.refusals
    return found.flows[0].document


def refusals(raw: Any) -> dict[str, str]:
    """Return reason and suggestion of each refusal, by key."""
    return {
        ".".join(map(str, item.path)): f"{item.reason} | {item.suggestion}"
        for item in translated(raw).ledger.refusals
    }


def state(found: Translation, *path: str | int) -> tuple[State, str]:
    entry = next(item for item in found.ledger.entries if item.path == path)
    return entry.state, entry.note
