"""Functions as users write them for ``script`` checks. Run by a toolchain's Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helper  # type: ignore[import-not-found]
import numpy as np


def folded(text: str) -> str:
    """Post-process an answer."""
    return text.upper()


def overlap(answers: list[str], expected: list[str], fold: bool = False) -> dict[str, Any]:
    """Return figures in both shapes, of NumPy's types."""
    expected_texts = [text.upper() if fold else text for text in expected]
    same = np.mean([a == b for a, b in zip(answers, expected_texts, strict=True)])
    return {"same": same, "rows": {"value": len(answers), "priority": 1}}


def ask(model: Any, device: str, text: str) -> float:
    """Return a number that is 1 only where everything a function gets is right."""
    # Found while the function runs, too.
    from late import TRUE  # type: ignore[import-not-found]

    turns = [{"role": "user", "content": text}]
    right = model.answer(text) == model.ask(turns) == helper.JOY
    graph = Path(model.model_path) / "model.onnx"
    return float(right and TRUE and graph.is_file() and device == "cpu")


def broken(answers: list[str], expected: list[str]) -> float:
    """Raise."""
    raise LookupError(f"{len(answers)} and {len(expected)}")


def words(answers: list[str], expected: list[str]) -> dict[str, str]:
    """Return what is no number."""
    return {"same": f"{len(answers)}/{len(expected)}"}
