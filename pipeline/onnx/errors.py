"""What goes wrong with an artifact in use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.failures import out_of_memory
from pipeline.passes.base import StepError


class ArtifactError(StepError):
    """The artifact cannot be used: the runtime refuses to load or to run it."""


@contextmanager
def blamed_on_artifact(doing: str) -> Iterator[None]:
    """Turn what the runtime raises inside the block into :class:`ArtifactError`.

    The runtime's libraries raise ``RuntimeError`` and types of their own for a model they do not
    like. A lack of memory is not the artifact's fault and passes through.
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


class BeyondCpuError(Exception):
    """The CPU provider has no kernel for the graph: only the target's device can prove it."""
