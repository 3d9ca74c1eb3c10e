"""The baseline: another artifact to compare with, of an earlier release or another target."""

from __future__ import annotations

from pathlib import Path

from pipeline.contract.errors import StepError
from pipeline.onnx.genai_config import GenAiConfig

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


def require_same_provider(baseline: Path, artifact: Path) -> None:
    """Raise :class:`StepError` if the two were built for different devices. A baseline for the CPU
    is always allowed, because it runs on every machine."""
    theirs, ours = GenAiConfig(baseline).provider, GenAiConfig(artifact).provider
    if theirs not in ("cpu", ours):
        raise StepError(
            f"the baseline was built for {theirs}, the artifact for {ours}: the two cannot run "
            "side by side",
            "compare with an artifact for the CPU or for the same target",
            "bad_input",
        )
