"""Converts values of other libraries to JSON, for the rows of ``rows.jsonl``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import JsonValue

from pipeline.data.load import no_text


def jsonable(value: Any) -> JsonValue:
    """Return ``value`` as a JSON value.

    Arrays and tensors become lists, dates ISO 8601 text, NaN becomes null. Raises ``ValueError``
    with the type of any other value, such as bytes or an image, and for what :func:`no_text` finds.
    """
    if isinstance(value, str) and (found := no_text(value)):
        raise ValueError(found)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise ValueError("infinity, which JSON does not have")
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {str(name): jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID, timedelta)):
        return str(value)
    if callable(getattr(value, "tolist", None)):  # NumPy arrays and scalars, PyTorch tensors
        return jsonable(value.tolist())
    raise ValueError(f"{type(value).__name__}, which is neither text nor numbers")
