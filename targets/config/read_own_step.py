"""Reads the classes of the user's own passes and checks, to validate their parameters.

Their code does not run: it runs in the toolchain, which checks the class again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.contract.errors import StepError
from pipeline.contract.kinds import StepKind
from pipeline.run.code_digest import script_code
from pipeline.run.own_steps import OwnStepError, OwnType, StepClass, usable_class
from targets.config.declarations import Declarations
from targets.config.declared_classes import NOT_DECLARED
from targets.config.declared_values import NotDeclared

_AS_TEXT = "planning reads the file and does not run it: write a constant"


def read_own(kind: StepKind, script: Path, own: OwnType) -> StepClass:
    """Return the class that ``own`` names in the file ``script``, as far as it stands there.

    Raises :class:`StepError` with a hint.
    """
    try:
        code = script_code(script)
    except OSError as error:
        raise StepError(f"{script.name} cannot be read: {error.strerror}") from None
    except (RecursionError, MemoryError):
        raise StepError(f"{script.name} cannot be read: it is nested too deeply") from None
    try:
        module = Declarations(code).module(script.name)
        found = module.value(own.name) if own.name in module else None
    except NotDeclared as where:
        raise StepError(f"'{own.name}' cannot be read ({where})", _AS_TEXT) from None
    except (RecursionError, MemoryError):
        raise StepError(f"{script.name} cannot be read: it is nested too deeply") from None
    computed: Mapping[str, str] = getattr(found, NOT_DECLARED, {})
    if computed:
        raise OwnStepError(
            [f"'{own.name}' computes `{name}` ({where})" for name, where in computed.items()],
            _AS_TEXT,
        )
    return usable_class(kind, script.name, own.name, found, module.classes())
