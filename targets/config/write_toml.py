"""Writes a document as a TOML file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w

_ELSEWHERE = ("hf:", "azureml:")
_HEAD = ("name", "seed", "default_targets", "host", "runtime", "skip_checks")


def to_toml(document: dict[str, Any], comment: str, folder: Path, to: Path) -> str:
    """Return ``document`` as TOML text that begins with ``comment``.

    Its paths are relative to ``folder``; in the text they are relative to ``to``.
    """
    moved = _moved(document, lambda path: _relative(path, folder, to))
    first = {key: moved[key] for key in _HEAD if key in moved}
    ordered = {**first, **{key: value for key, value in moved.items() if key not in first}}
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    return f"{lines}\n{tomli_w.dumps(ordered, multiline_strings=True)}"


def _relative(path: str, folder: Path, to: Path) -> str:
    if path.startswith(_ELSEWHERE) or Path(path).is_absolute():
        return path
    return Path(os.path.relpath((folder / path).absolute(), to.absolute())).as_posix()


def _moved(document: dict[str, Any], move: Callable[[str], str]) -> dict[str, Any]:
    """Return ``document`` with ``move`` applied to every path in it."""
    moved = {**document}
    if "model" in moved:
        moved["model"] = _each(moved["model"], ("source", "onnx"), move)
    for section in ("passes", "checks"):
        if section in moved:
            moved[section] = {name: _step(table, move) for name, table in moved[section].items()}
    if "data" in moved:
        moved["data"] = {name: _data(table, move) for name, table in moved["data"].items()}
    return moved


def _data(table: dict[str, Any], move: Callable[[str], str]) -> dict[str, Any]:
    moved = _each(table, ("path",), move)
    if "code" in moved:
        moved["code"] = _each(moved["code"], ("script", "script_dir"), move)
    return moved


def _step(table: dict[str, Any], move: Callable[[str], str]) -> dict[str, Any]:
    moved = _each(table, ("script", "script_dir"), move)
    script, colon, name = str(moved.get("type", "")).rpartition(":")
    if script.endswith(".py"):
        moved["type"] = f"{move(script)}{colon}{name}"
    return moved


def _each(
    table: dict[str, Any], keys: tuple[str, ...], move: Callable[[str], str]
) -> dict[str, Any]:
    moved = {**table}
    for key in keys:
        value = moved.get(key)
        if isinstance(value, str):
            moved[key] = move(value)
        elif isinstance(value, list):
            moved[key] = [move(item) for item in value]
    return moved
