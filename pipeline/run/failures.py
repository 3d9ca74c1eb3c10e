"""Turns the error of a step into an event: its cause, which decides the exit code, and a hint."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from pipeline.contract.errors import Cause, StepError
from pipeline.contract.events import StepFailed
from pipeline.process.causes import causes, out_of_memory

_FULL_DISK = {errno.ENOSPC, errno.EDQUOT}
_FULL_DISK_TEXTS = ("no space left", "disk quota exceeded", "os error 28", "not enough disk space")
_ALMOST_FULL = 1 << 20
"""With fewer free bytes, any failure to write is blamed on a full disk, because some libraries,
such as torch, do not name it as the cause."""

_HINTS: dict[Cause, str] = {
    "disk_full": "free some disk space and run again; finished steps are kept",
    "out_of_memory": "give the build more memory, or a smaller batch size or model",
}


def failure(step: str, error: BaseException, work: Path) -> StepFailed:
    """Return the event for the ``error`` that ended ``step``; ``work`` is the work folder."""
    cause = _cause(error, work)
    hint = error.hint if isinstance(error, StepError) and error.hint else _HINTS.get(cause, "")
    return StepFailed(step=step, cause=cause, message=_message(error), hint=hint)


def _cause(error: BaseException, work: Path) -> Cause:
    chain = list(causes(error))
    if any(isinstance(e, OSError) and e.errno in _FULL_DISK for e in chain):
        return "disk_full"
    texts = [str(e).casefold() for e in chain]
    if any(part in text for text in texts for part in _FULL_DISK_TEXTS):
        return "disk_full"
    if isinstance(error, StepError) and error.cause != "error":
        return error.cause if error.cause in get_args(Cause) else "error"
    if out_of_memory(error):
        return "out_of_memory"
    if isinstance(error, ValidationError):
        return "bad_input"
    if not isinstance(error, StepError) and shutil.disk_usage(work).free < _ALMOST_FULL:
        return "disk_full"
    return "error"


def _message(error: BaseException) -> str:
    if isinstance(error, StepError):
        return str(error)
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'value'}: {item['msg']}"
            for item in error.errors()
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
