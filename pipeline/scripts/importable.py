"""Lets the files of a folder of the user's be imported by name, for a while."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_FOREIGN = "pipeline"
"""The one module name that the user's files cannot replace."""


@contextmanager
def importable(folder: Path | None, files: Iterable[str] | None = None) -> Iterator[None]:
    """Let the modules in ``folder`` be imported by name while the block runs.

    ``files``, relative to ``folder``, are those that may be; by default everything in it. Modules
    of the same names that others have imported are set aside, and back in their place afterwards,
    so that the helpers of two scripts may be called the same. Nothing is written to ``folder``.
    Without a folder nothing changes.
    """
    if folder is None:
        yield
        return
    top = _top_names(folder) if files is None else {file.partition("/")[0] for file in files}
    names = {name.removesuffix(".py") for name in top} - {_FOREIGN}
    aside = _taken(names)
    leave_no_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = leave_no_bytecode
        _taken(names)
        sys.modules.update(aside)


def _top_names(folder: Path) -> set[str]:
    """Return the names of the Python files in ``folder`` and of the folders that hold some."""
    return {
        path.name
        for path in folder.iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.rglob("*.py")))
    }


def _taken(names: set[str]) -> dict[str, ModuleType]:
    """Remove modules with these names, and their submodules, from ``sys.modules``; return them."""
    taken = [name for name in sys.modules if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in taken}
