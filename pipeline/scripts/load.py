"""Finds a function or class in a Python file of the user's."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.passes.base import StepError
from pipeline.suggest import did_you_mean


def load_object(script: Path, name: str, script_dir: Path | None = None) -> Any:
    """Return what ``name`` is in the file ``script``.

    ``script_dir`` is searched for what the script imports. Raises :class:`StepError` where the
    script cannot be imported or has no such name.
    """
    module = load_script(script, script_dir)
    found = getattr(module, name, None)
    if found is None:
        public = [known for known in vars(module) if not known.startswith("_")]
        raise StepError(
            f"{script.name} has no '{name}'", did_you_mean(name, public), cause="bad_input"
        )
    return found


def load_script(script: Path, script_dir: Path | None = None) -> ModuleType:
    """Import the file ``script`` as a module of its own. Raises :class:`StepError`."""
    name = f"quern_user_{script.stem}"
    spec = importlib.util.spec_from_file_location(name, script)
    if spec is None or spec.loader is None:
        raise StepError(f"{script.name} is no Python file", cause="bad_input")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # what dataclasses and pickle look a class's module up in
    with _importable(script_dir):
        try:
            spec.loader.exec_module(module)
        # Whatever a user's code raises; a script that exits must not end the build as done.
        except (Exception, SystemExit) as error:
            raise StepError(
                f"{script.name} cannot be imported: {type(error).__name__}: {error}",
                "it runs in the step's toolchain, which holds only its locked packages",
                "bad_input",
            ) from error
    return module


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
