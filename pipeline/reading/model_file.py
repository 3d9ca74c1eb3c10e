"""Reads a JSON file into a pydantic model."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.reading.files import MB, UnreadableError, read_text
from pipeline.reading.json_text import parse_json

Model = TypeVar("Model", bound=BaseModel)

_LARGEST = 512 * MB
"""Largest file, in bytes: a report holds every sample and every answer."""


def read_model(file: Path, model: type[Model]) -> Model:
    """Return the content of ``file``.

    Raises :class:`UnreadableError` with the first mistake in it, and ``OSError`` where it cannot be
    read.
    """
    text = read_text(file, _LARGEST)
    parse_json(text)  # pydantic would take numbers of any length
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        mistake = error.errors()[0]
        key = ".".join(map(str, mistake["loc"]))
        raise UnreadableError(f"{key}: {mistake['msg']}" if key else mistake["msg"]) from None
