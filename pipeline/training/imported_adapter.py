"""Takes over an adapter that was trained elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipeline.contract.step import Reporter
from pipeline.training.adapter import write_settings
from pipeline.training.adapter_fit import (
    ADAPTER_SETTINGS,
    ADAPTER_WEIGHTS,
    adapter_layers,
    adapter_mismatch,
    adapter_settings,
    stored_misfits,
)
from pipeline.training.fingerprint import FINGERPRINT_FILE, check_fingerprint
from pipeline.training.quantization import BASE_QUANTIZATION_FILE

_RECORDS = (FINGERPRINT_FILE, BASE_QUANTIZATION_FILE)
"""What Quern writes beside an adapter that it trains."""
_OF_THE_CALL = ("padding", "truncation")
"""Keys of `tokenizer.json` that say how it was last called, not what it makes of a text."""


def import_adapter(
    folder: Path, base: Path, out_dir: Path, report: Reporter
) -> dict[str, JsonValue]:
    """Copy the adapter in ``folder`` to ``out_dir``, without any path of the machine that made it.

    Raises :class:`StepError` if it cannot be merged, or was made for another model than ``base``.
    """
    settings = adapter_settings(folder)
    layers = adapter_layers(folder)
    for misfit in stored_misfits(folder, base):
        raise adapter_mismatch(misfit)
    check_fingerprint(base, folder)
    for what, read in (("tokenizer", _tokenizer), ("chat template", _chat_template)):
        own = read(folder)
        if own is not None and own != read(base):
            report.warn(
                f"the {what} beside the adapter differs from the model's, which is used: if the "
                "adapter was trained with its own, put that into a copy of the model's folder"
            )
    shutil.copyfile(folder / ADAPTER_WEIGHTS, out_dir / ADAPTER_WEIGHTS)
    for name in _RECORDS:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out_dir / name)
    write_settings(settings, out_dir / ADAPTER_SETTINGS)
    return {"peft_type": str(settings["peft_type"]), "adapted_layers": len(layers)}


def _tokenizer(folder: Path) -> dict[str, Any] | None:
    tokenizer = _json_object(folder / "tokenizer.json")
    return tokenizer and {key: tokenizer[key] for key in tokenizer if key not in _OF_THE_CALL}


def _chat_template(folder: Path) -> Any:
    """Return the chat template, from the file that transformers reads first."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8", errors="replace")
    return (_json_object(folder / "tokenizer_config.json") or {}).get("chat_template")


def _json_object(file: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
