"""What lies beside the weights of a checkpoint that Quern writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".index.json", ".gguf")
REWRITTEN = ("config.json", "generation_config.json")
"""Files that transformers writes with the weights."""


def copy_other_files(base: Path, out_dir: Path) -> None:
    """Copy the files that are not weights: tokenizer, chat template, licence, code."""
    for path in other_files(base):
        if path.name not in REWRITTEN or not (out_dir / path.name).exists():
            shutil.copyfile(path, out_dir / path.name)


def other_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a checkpoint that are not weights, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(_WEIGHTS):
            yield path


def remove_paths(out_dir: Path) -> None:
    """Remove the path of this machine that transformers writes into ``config.json``."""
    path = out_dir / "config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings.pop("_name_or_path", None)
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")
