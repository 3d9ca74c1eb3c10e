"""Identifies the base of an adapter by a digest of its weights, without a path or a name."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

from pipeline.contract.errors import StepError
from pipeline.weights.files import weight_files

FINGERPRINT_FILE = "base_fingerprint.json"
"""File beside an adapter that holds the fingerprint of its base."""

_SAMPLE = 4096


def fingerprint(folder: Path) -> str:
    """Return a SHA-256 over the weights of a checkpoint folder: names, shapes and types of all
    tensors (the safetensors headers) and the first 4 KiB of each; of other formats, the sizes.

    A sample distinguishes two models in milliseconds; the cache computes whole digests.
    """
    digest = hashlib.sha256()
    files = weight_files(folder)
    for path in files:
        with path.open("rb") as file:
            # The format: 8 bytes of header length, the header as JSON, then the data.
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
            for name, entry in sorted(header.items()):
                if name == "__metadata__":
                    continue
                begin, end = entry["data_offsets"]
                digest.update(f"{name} {entry['dtype']} {entry['shape']}\n".encode())
                file.seek(8 + length + begin)
                digest.update(file.read(min(end - begin, _SAMPLE)))
    if not files:
        for path in sorted(folder.glob("*.bin")):
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def save_fingerprint(base: Path, adapter: Path) -> None:
    """Write the fingerprint of ``base`` into the folder ``adapter``."""
    text = json.dumps({"sha256": fingerprint(base)}) + "\n"
    (adapter / FINGERPRINT_FILE).write_text(text, "utf-8")


def check_fingerprint(base: Path, adapter: Path) -> None:
    """Raise :class:`StepError` if ``adapter`` has the fingerprint of another base.

    An adapter that was made elsewhere has none; then only its shapes can be checked.
    """
    path = adapter / FINGERPRINT_FILE
    if not path.is_file():
        return
    if json.loads(path.read_text("utf-8"))["sha256"] != fingerprint(base):
        raise StepError(
            "the adapter was trained over another base model",
            "merge it into the model it was trained over",
            "bad_input",
        )
