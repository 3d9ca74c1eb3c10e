"""Finds passes and checks: one per module of ``pipeline.passes`` and ``pipeline.checks``.

A new file adds a new one. No module imports an ML library, so the host uses this registry too. The
user's own passes and checks are loaded by :mod:`pipeline.run.own_steps`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pipeline.checks
import pipeline.passes
from pipeline.checks.base import BaseCheck
from pipeline.contract.kinds import StepKind
from pipeline.contract.suggest import did_you_mean
from pipeline.passes.base import BasePass
from pipeline.run.own_steps import load_own, own_type
from pipeline.scripts.importable import importable

_SHARED = {"base", "adapter"}
"""Modules in these packages that are neither a pass nor a check."""

_REPLACED = {
    ("check", "numerics"): "conversion and quantization took its place: max_logits_error is a key "
    "of [checks.conversion], and [checks.quantization] limits what quantizing costs",
}
"""Replacements of former passes and checks, by kind and name."""


class UnknownStepError(LookupError):
    """No pass or check has that name; the message suggests the nearest one."""

    def __init__(self, kind: StepKind, name: str, known: tuple[str, ...]) -> None:
        self.suggestion = replacement_hint(kind, name, known)
        super().__init__(f"there is no {kind} '{name}'; {self.suggestion}")


def replacement_hint(kind: StepKind, name: str, known: Iterable[str]) -> str:
    """Return a hint what to use instead of a ``name`` that does not exist: its replacement, or the
    nearest of the ``known`` names."""
    return _REPLACED.get((kind, name)) or did_you_mean(name, known)


def pass_types() -> tuple[str, ...]:
    """Return the names of all passes, sorted."""
    return _modules(pipeline.passes)


def check_types() -> tuple[str, ...]:
    """Return the names of all checks, sorted."""
    return _modules(pipeline.checks)


def load_pass(name: str) -> type[BasePass[Any]]:
    """Return the class of the pass ``name``. Raises :class:`UnknownStepError`."""
    if name not in pass_types():
        raise UnknownStepError("pass", name, pass_types())
    pass_class = importlib.import_module(step_module("pass", name)).Pass
    if not (isinstance(pass_class, type) and issubclass(pass_class, BasePass)):
        raise TypeError(f"pipeline.passes.{name}.Pass is not a BasePass")
    return pass_class


def load_check(name: str) -> type[BaseCheck[Any]]:
    """Return the class of the check ``name``. Raises :class:`UnknownStepError`."""
    if name not in check_types():
        raise UnknownStepError("check", name, check_types())
    check_class = importlib.import_module(step_module("check", name)).Check
    if not (isinstance(check_class, type) and issubclass(check_class, BaseCheck)):
        raise TypeError(f"pipeline.checks.{name}.Check is not a BaseCheck")
    return check_class


@contextmanager
def implementation(
    kind: StepKind, type_name: str, code: Path | None
) -> Iterator[type[BasePass[Any]] | type[BaseCheck[Any]]]:
    """Yield the class of the pass or check ``type_name``, to be used while the block runs.

    ``code`` is the folder with its code if it is the user's own. Raises :class:`UnknownStepError`,
    or :class:`pipeline.contract.errors.StepError` if it is the user's own.
    """
    own = own_type(type_name)
    if own is None or code is None:
        yield load_pass(type_name) if kind == "pass" else load_check(type_name)
        return
    with importable(code):
        yield load_own(kind, code / own.file, own.name)


def step_module(kind: StepKind, name: str) -> str:
    """Return the module that holds the pass or check ``name``, for its code digest."""
    package = pipeline.passes if kind == "pass" else pipeline.checks
    return f"{package.__name__}.{name}"


@cache
def _modules(package: ModuleType) -> tuple[str, ...]:
    names = (module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg)
    return tuple(sorted(name for name in names if name not in _SHARED and not name.startswith("_")))
