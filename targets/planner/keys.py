"""The key of a step: the hash of everything that its result depends on."""

from __future__ import annotations

import json

from pydantic import JsonValue

from pipeline.contract.plan import DataInput, SourceInput, StepInput
from pipeline.contract.sha256 import sha256_of_bytes

Facts = dict[str, JsonValue]

# Raise this when the meaning of a fact, or the layout of a cached result, changes.
_KEY_VERSION = 1

# A data set is the same wherever its rows come from: their digest, or the key of the step that
# makes them, says what they are. So do the facts of its parts, whatever those are called.
_PLACE_OF_DATA = {"path", "source", "subset", "part", "code", "held_out", "validation_data"}


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
    machine: str = "",
    cpu: str = "",
    gpu: str = "",
) -> Facts:
    """Return everything that a step's result depends on, as plain JSON.

    ``device`` says whether the target's device is present, for steps that use it. ``machine``
    describes the machine, for steps whose choice depends on its speed. ``cpu`` names the CPU where
    the bytes depend on it, ``gpu`` the model of the one GPU that the step may use.
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
        "data": _data_facts(data),
        "toolchain": toolchain,
        "seed": seed,
        **({} if device is None else {"device": device}),
        **({"machine": machine} if machine else {}),
        **({"cpu": cpu} if cpu else {}),
        **({"gpu": gpu} if gpu else {}),
    }


def _data_facts(data: DataInput | None) -> Facts | None:
    if data is None:
        return None
    parts = {"held_out": data.held_out, "validation": data.validation}
    return {
        "digest": data.digest,
        "spec": data.spec.model_dump(mode="json", exclude=_PLACE_OF_DATA),
        **{role: _data_facts(part) for role, part in parts.items() if part is not None},
    }


def key_of(facts: Facts) -> str:
    """Return the SHA-256 of the canonical JSON of ``facts``."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256_of_bytes(canonical.encode())
