"""Releases whose digests all fit, whatever their files hold: those of a forger without a key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from securesystemslib.dsse import Envelope

from targets.release import layout
from targets.release.statement import BUILD_TYPE, BUILDER, PREDICATE_TYPE, STATEMENT_TYPE
from targets.signatures.envelope import PAYLOAD_TYPE, write_envelope
from tests.attack.surface import Files

BUILD, VERSION, TARGET = "small", "1.0.0", "cpu"
ROOT = layout.stem(BUILD, VERSION, TARGET)
"""The only folder of the archive."""


def release_files(tar: bytes, sbom: bytes) -> Files:
    """Return a release with this archive and this SBOM."""
    archive = {layout.archive_name(BUILD, VERSION, TARGET): tar}
    stated = provenance(statement(archive, {layout.SBOM: sbom}))
    listed = sorted({**archive, layout.SBOM: sbom, layout.PROVENANCE: stated}.items())
    sums = "".join(f"{_sha256(raw)}  {name}\n" for name, raw in listed).encode()
    return {**archive, layout.SBOM: sbom, layout.SUMS: sums, layout.PROVENANCE: stated}


def statement(archives: Files, products: Files) -> dict[str, Any]:
    """Return the statement of a release, about these files."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": _described(archives),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "build": BUILD,
                    "version": VERSION,
                    "config": "small.toml",
                    "targets": [TARGET],
                    "allowUnverified": False,
                    "allowDirty": False,
                    "trainedElsewhere": "",
                    "overrides": {},
                },
                "internalParameters": {
                    "runtime": "venv",
                    "host": TARGET,
                    "threads": 1,
                    "python": {TARGET: "3.11"},
                    "absentDevices": {},
                    "unverified": {},
                    "machine": {"cpu": "a CPU", "cores": 1, "system": "Linux"},
                },
                "resolvedDependencies": [],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"quern": "0.1.0"}},
                "metadata": {"startedOn": "2026-11-29", "finishedOn": "2026-11-29"},
                "byproducts": _described(products),
            },
        },
    }


def provenance(content: Any) -> bytes:
    """Return an envelope around a statement, unsigned, whose own digest fits."""
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    return write_envelope(Envelope(payload, PAYLOAD_TYPE, {}))


def _described(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [{"name": name, "digest": {"sha256": _sha256(raw)}} for name, raw in files.items()]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
