"""The options of a toolchain's model builder, and the models that it can build.

``locked_builder`` reads both from its wheel when the toolchain is locked. So the host, which has no
``onnxruntime_genai``, can check them before any work.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from pipeline.builder.supported import Supported
from pipeline.contract.frozen import Frozen
from targets.errors import EnvironmentUnable

FILE = "builder_options.json"


class BuilderOptions(Frozen):
    """The options of one version of the model builder, and the models that it can build."""

    package: str
    version: str
    options: tuple[str, ...] = Field(min_length=1)
    supported: Supported


def read_builder_options(image_dir: Path) -> BuilderOptions:
    """Return what ``nox -s lock`` has written.

    Raises ``EnvironmentUnable`` if there are none.
    """
    file = image_dir / FILE
    try:
        return BuilderOptions.model_validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise EnvironmentUnable(f"{file} cannot be used: {error}", "run `nox -s lock`") from None
