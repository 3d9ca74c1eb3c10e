"""Loads the classes of the user's own passes and checks, to validate their parameters."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

from pipeline.contract.errors import StepError
from pipeline.contract.kinds import StepKind
from pipeline.run.code_digest import script_code
from pipeline.run.own_steps import OwnType, StepClass, load_own
from pipeline.scripts.importable import importable

_LIGHT = "the host reads only its parameters, without ML libraries: import them inside `run`"


def read_own(kind: StepKind, script: Path, own: OwnType) -> StepClass:
    """Return the class that ``own`` names in the file ``script``.

    Output of the file goes to standard error. Raises :class:`StepError` with a hint.
    """
    try:
        files = script_code(script).files
    except OSError as error:
        raise StepError(f"{script.name} cannot be read: {error.strerror}") from None
    with redirect_stdout(sys.stderr), importable(script.parent, files):
        try:
            return load_own(kind, script, own.name)
        except StepError as error:
            if error.__cause__ is None:
                raise
            missing = isinstance(error.__cause__, ModuleNotFoundError)
            raise StepError(str(error), _LIGHT if missing else "") from error
