"""Turns errors of ONNX Runtime into errors of the artifact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.contract.errors import ArtifactError, StepError
from pipeline.process.causes import out_of_memory

RUNNING = "onnxruntime_genai cannot run the model"
"""What is being done, in the message of an error that comes while a model runs."""


@contextmanager
def raising_artifact_errors(doing: str) -> Iterator[None]:
    """Turn errors of the runtime inside the block into :class:`ArtifactError`.

    The runtime's libraries raise ``RuntimeError`` and types of their own for a model that they
    cannot run. A lack of memory is not the artifact's fault and is raised as it is. ``doing`` says
    what was being done.
    """
    try:
        yield
    except (StepError, OSError):
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        text = str(error).strip() or type(error).__name__
        raise ArtifactError(f"{doing}: {text}") from error
