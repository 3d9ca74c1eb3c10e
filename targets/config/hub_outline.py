"""The outline of a model on the hub: what shows, before it is fetched, whether it can be used."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from pipeline.reading.files import decoded
from pipeline.reading.json_text import parse_json
from pipeline.training.base_params import FetchParams
from pipeline.training.hub import chosen_files
from pipeline.weights.files import INDEX_FILE, MAX_HEADER, weight_files
from targets.config.hub import HubModel, revision_path
from targets.config.hub_requests import ask_hub

_READ = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    INDEX_FILE,
}
"""Files that are read whole; of the others, only whether they are there."""
_SAFETENSORS_PART = 1 << 20
"""Bytes with which the headers of most safetensors files are whole."""
_GGUF_PART = 1 << 25
"""Bytes with which the header of a GGUF file is whole; one of 260,000 tokens has half of it."""
_LARGEST_FILE = 1 << 43
_PLAIN_NAME = re.compile(r"^(?!.*\.\.)[A-Za-z0-9_][\w./+ -]{0,254}$", re.ASCII)


def write_outline(params: FetchParams, folder: Path) -> None:
    """Write into ``folder`` the files that would be fetched: those that describe the model whole,
    its weights as headers with nothing behind them, all others empty.

    A file of weights has its full length, and takes next to no space. Raises :class:`StepError`
    where the repository cannot be used, the errors of requests, and ``ValueError``, ``KeyError`` or
    ``TypeError`` for an answer that is none.
    """
    model = HubModel(params.repo, params.revision)
    siblings = parse_json(decoded(ask_hub(revision_path(model, "model")).body))["siblings"]
    names = [str(item["rfilename"]) for item in siblings]
    chosen = chosen_files([name for name in names if _PLAIN_NAME.match(name)], params)
    if params.file is not None:
        _write_beginning(folder / Path(params.file).name, _address(model, params.file), _GGUF_PART)
        return
    for name in chosen:
        if "/" not in name:
            whole = ask_hub(_address(model, name)).body if name in _READ else b""
            (folder / name).write_bytes(whole)
    for file in weight_files(folder):
        address = _address(model, file.name)
        _write_beginning(file, address, _SAFETENSORS_PART)
        with file.open("rb") as stream:
            length = 8 + int.from_bytes(stream.read(8), "little")
        if _SAFETENSORS_PART < length <= 8 + MAX_HEADER:
            _write_beginning(file, address, length)


def _address(model: HubModel, name: str) -> str:
    return f"/{model.repo}/resolve/{model.revision}/{quote(name)}"


def _write_beginning(file: Path, address: str, length: int) -> None:
    """Write the first ``length`` bytes of ``address``, and leave the rest a hole."""
    answer = ask_hub(address, length)
    with file.open("wb") as stream:
        stream.write(answer.body)
        if answer.total is not None and len(answer.body) < answer.total <= _LARGEST_FILE:
            stream.truncate(answer.total)
