"""Loads a function or class from the user's Python file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.contract.errors import StepError
from pipeline.contract.suggest import did_you_mean
from pipeline.scripts.moved import new_import
from pipeline.scripts.olive_registry import olive_registry

_REGISTERED = "__olive_registered__"


def find_object(module: ModuleType, name: str) -> Any:
    """Return the object ``name`` of a module that :func:`load_script` returned.

    An object that was registered with ``olive.data.registry`` is also found by its registered name,
    ignoring case. Raises :class:`StepError` if there is no such name.
    """
    registered: dict[str, Any] = vars(module)[_REGISTERED]
    value = getattr(module, name, registered.get(name.lower()))
    if value is None:
        public = [known for known in vars(module) if not known.startswith("_")]
        file = Path(str(module.__file__)).name
        hint = did_you_mean(name, [*public, *registered])
        raise StepError(f"{file} has no '{name}'", hint, cause="bad_input")
    return value


def load_script(script: Path) -> ModuleType:
    """Import the file ``script`` as a module of its own.

    What it imports from a folder has to be :func:`~pipeline.scripts.importable.importable`. Raises
    :class:`StepError`.
    """
    name = f"quern_user_{script.stem}"
    spec = importlib.util.spec_from_file_location(name, script)
    if spec is None or spec.loader is None:
        raise StepError(f"{script.name} is not a Python file", cause="bad_input")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look up a class's module here
    with olive_registry() as registered:
        vars(module)[_REGISTERED] = registered
        try:
            spec.loader.exec_module(module)
        # A user's code may raise anything. A script that calls exit must not end the build as done.
        except (Exception, SystemExit) as error:
            place = new_import(error) if isinstance(error, ImportError) else ""
            if place:
                message = f"{script.name} imports what lies elsewhere now: {error}"
                raise StepError(message, f"write: {place}", "bad_input") from None
            raise StepError(
                f"{script.name} cannot be imported: {type(error).__name__}: {error}",
                "it runs in the step's toolchain, which holds only its locked packages",
                "bad_input",
            ) from error
    return module
