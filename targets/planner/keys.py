"""A step's key: the hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json

from pydantic import JsonValue

from pipeline.plan import DataInput, SourceInput, StepInput

Facts = dict[str, JsonValue]

# Raise this when the meaning of a fact, or the layout of a cached result, changes.
_KEY_VERSION = 1

# A data set is the same wherever its file lies.
_PLACE_OF_DATA = {"path"}


def facts_of(
    *,
    type_name: str,
    code: str,
    params: dict[str, JsonValue],
    inputs: dict[str, StepInput | SourceInput],
    data: DataInput | None,
    toolchain: str,
    seed: int,
    device: bool | None = None,
) -> Facts:
    """Return everything that decides a step's result, as plain JSON.

    ``device`` says whether the target's device is here, for steps that use it.
    """
    return {
        "version": _KEY_VERSION,
        "type": type_name,
        "code": code,
        "params": params,
        "inputs": {
            role: source.key if isinstance(source, StepInput) else source.digest
            for role, source in sorted(inputs.items())
        },
        "data": None
        if data is None
        else {
            "digest": data.digest,
            "spec": data.spec.model_dump(mode="json", exclude=_PLACE_OF_DATA),
        },
        "toolchain": toolchain,
        "seed": seed,
        **({} if device is None else {"device": device}),
    }


def key_of(facts: Facts) -> str:
    """Return the SHA-256 of the canonical JSON of ``facts``."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
