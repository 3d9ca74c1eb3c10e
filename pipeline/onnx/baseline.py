"""The baseline: another artifact to compare with, of an earlier release or another target."""

from __future__ import annotations

from pathlib import Path

from pipeline.contract.errors import StepError

_MODEL_DIR = "model"


def baseline_folder(path: Path) -> Path:
    """Return the model folder of a baseline: ``path`` itself, or the ``model/`` in it.

    Raises :class:`StepError` if neither is a model folder.
    """
    for folder in (path, path / _MODEL_DIR):
        if (folder / "genai_config.json").is_file():
            return folder
    raise StepError(
        "the baseline is not an ONNX Runtime GenAI model folder",
        "give what a build wrote, as dist/tone/cpu, or a folder with a genai_config.json",
        "bad_input",
    )
