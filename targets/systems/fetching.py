"""Brings a finished step from a system in two parts: its result, which says how much comes, then
its output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.contract.plan import OUTPUT_DIR
from pipeline.contract.result import RESULT_FILE, StepResult
from targets.atomic import sibling_folder
from targets.disk import CACHE_REMEDY, Need, require_room

LARGEST_RESULT = 1 << 28

UnpackPart = Callable[[str, Path, int], None]
"""Unpacks a part of the step, by its name there, into a folder; no more than so many bytes."""


def fetch_step(unpack_part: UnpackPart, folder: Path, where: str) -> None:
    """Bring result and output to ``folder``, as one or not at all.

    Raises ``ValidationError`` for a result that is none, and what ``unpack_part`` raises.
    """
    with sibling_folder(folder) as fresh:
        unpack_part(RESULT_FILE, fresh, LARGEST_RESULT)
        result = StepResult.model_validate_json((fresh / RESULT_FILE).read_bytes())
        size = sum(max(0, file.bytes) for file in result.files)
        require_room([Need(folder, size, f"what {where} made of {result.name}", CACHE_REMEDY)])
        unpack_part(OUTPUT_DIR, fresh, size)
        fresh.rename(folder)
