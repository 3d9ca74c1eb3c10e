"""Checks that a local folder is a model that the passes can load, before any container starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
_INDEX = "model.safetensors.index.json"


_MLFLOW = ("data/model", "model")
"""Subfolders in which MLflow's transformers flavour stores the checkpoint."""


def checkpoint_folder(folder: Path) -> Path:
    """Return the folder of the checkpoint: ``folder``, or a subfolder if it is an MLflow model."""
    if (folder / "MLmodel").is_file() and not (folder / "config.json").is_file():
        inside = (folder / place for place in _MLFLOW)
        return next((place for place in inside if (place / "config.json").is_file()), folder)
    return folder


def model_folder_problems(
    folder: Path, weights: Literal["safetensors", "any"]
) -> Iterator[tuple[str, str]]:
    """Yield (problem, remedy) for every reason why ``folder`` is not a usable model."""
    if not folder.exists():
        yield (
            f"there is no '{folder}'",
            "a local model is a folder; a hub model is 'hf:org/name@rev'",
        )
        return
    if not folder.is_dir():
        yield f"'{folder}' is not a folder", "name the folder that holds config.json"
        return
    yield from _config_problems(folder / "config.json")
    yield from _weight_problems(folder, weights)
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        yield "it holds no tokenizer", f"expected one of {', '.join(_TOKENIZER_FILES)}"


def onnx_folder_problems(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (problem, remedy) if ``folder`` cannot be an ONNX Runtime GenAI model."""
    advice = "name the folder that holds genai_config.json"
    if not folder.is_dir():
        yield f"there is no folder '{folder}'", advice
        return
    try:
        config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
        graph = config["model"]["decoder"]["filename"]
    except FileNotFoundError:
        yield f"'{folder}' holds no genai_config.json", advice
    except (ValueError, KeyError, TypeError) as error:
        yield f"its genai_config.json names no decoder: {error!r}", "build the folder again"
    else:
        if not (folder / str(graph)).is_file():
            yield f"'{folder}' lacks its graph {graph}", "copy the whole folder"


def _config_problems(path: Path) -> Iterator[tuple[str, str]]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield "it holds no config.json", "is this a Hugging Face model folder?"
        return
    except ValueError as error:
        yield f"its config.json is not valid JSON: {error}", ""
        return
    if not isinstance(config, dict) or "model_type" not in config:
        yield "its config.json names no model_type", "is this a Hugging Face model folder?"


def _weight_problems(
    folder: Path, weights: Literal["safetensors", "any"]
) -> Iterator[tuple[str, str]]:
    index = folder / _INDEX
    if index.is_file():
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        missing = sorted(name for name in shards if not (folder / name).is_file())
        if missing:
            yield f"weight shards are missing: {', '.join(missing)}", "copy the whole folder"
        return
    if any(folder.glob("*.safetensors")):
        return
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
        if weights == "safetensors":
            yield (
                "its weights are pickled, which can run code when loaded",
                'convert them to safetensors, or set weights = "any" in [model]',
            )
        return
    yield "it holds no weights", "expected *.safetensors"
