"""Stores the facts of the last build of a config, to explain why a step must run again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.contract.sha256 import sha256_of_bytes
from targets.atomic import replace_file
from targets.planner.keys import Facts


class History:
    """The facts of each step at the last build of one config for one target."""

    def __init__(self, cache_root: Path, config: Path, target: str) -> None:
        name = sha256_of_bytes(f"{config}\0{target}".encode())[:16]
        self._file = cache_root / "history" / f"{name}.json"
        try:
            self._last: Mapping[str, Facts] = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # Only the wording of reasons depends on it.
            self._last = {}

    def reason(self, step: str, facts: Facts, changed: Mapping[str, str]) -> str:
        """Return why ``step`` must run. ``changed`` names the step behind each changed input."""
        last = self._last.get(step)
        if last is None:
            return "not built yet"
        reasons = list(_differences(last, facts, changed))
        return "; ".join(reasons) if reasons else "its result is not in the cache"

    def save(self, facts: Mapping[str, Facts]) -> None:
        """Remember ``facts`` as the last build."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._file, json.dumps(facts))


def _differences(last: Facts, now: Facts, producers: Mapping[str, str]) -> Iterator[str]:
    if last["code"] != now["code"]:
        yield "its code changed"
    if last["toolchain"] != now["toolchain"]:
        yield "the toolchain changed"
    if last["seed"] != now["seed"]:
        yield f"seed: {last['seed']} → {now['seed']}"
    if last.get("machine") != now.get("machine"):
        yield "it was measured on another machine"
    if last.get("gpu") != now.get("gpu"):
        yield f"GPU: {last.get('gpu', 'none')} → {now.get('gpu', 'none')}"
    if last.get("cpu") != now.get("cpu"):
        yield f"arithmetic: {last.get('cpu', 'portable')} → {now.get('cpu', 'portable')}"
    yield from _changed_values(_table(last["params"]), _table(now["params"]))
    yield from _data_differences(_table(last["data"]), _table(now["data"]))
    before, after = _table(last["inputs"]), _table(now["inputs"])
    for role, digest in after.items():
        if before.get(role) != digest:
            yield f"{producers[role]} changed" if role in producers else f"{role} changed"


def _data_differences(last: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if last.get("digest") != now.get("digest"):
        yield "the data changed"
    yield from _changed_values(last.get("spec") or {}, now.get("spec") or {})
    for part in ("held_out", "validation"):
        if last.get(part) != now.get(part):
            yield f"the {part.replace('_', '-')} data changed"


def _changed_values(last: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(last.keys() | now.keys()):
        if last.get(key) != now.get(key):
            yield f"{key}: {_short(last.get(key))} → {_short(now.get(key))}"


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _short(value: Any) -> str:
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
