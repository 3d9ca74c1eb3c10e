"""Olive files of the tests, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from targets.config.olive.context import Context
from targets.config.olive.jsonc import parse
from targets.config.olive.ledger import State
from targets.config.olive.translate import Translation, translate

FILES = Path(__file__).parents[1] / "olive"


def read_olive_file(name: str) -> Any:
    return parse((FILES / name).read_text())


def translated(raw: Any, system: str | None = None, folder: Path = FILES) -> Translation:
    return translate(raw, folder / "olive-config.json", Context(folder), system)


def document(raw: Any, system: str | None = None) -> dict[str, Any]:
    translation = translated(raw, system)
    assert not translation.ledger.refusals
    return translation.flows[0].document


def refusals(raw: Any) -> dict[str, str]:
    """Return reason and suggestion of each refusal, by key."""
    return {
        ".".join(map(str, item.path)): f"{item.reason} | {item.suggestion}"
        for item in translated(raw).ledger.refusals
    }


def state(translation: Translation, *path: str | int) -> tuple[State, str]:
    entry = next(item for item in translation.ledger.entries if item.path == path)
    return entry.state, entry.note
