"""A replacement of ``olive.data.registry`` for scripts that were written for Microsoft Olive.

Such scripts use ``from olive.data.registry import Registry`` and register their functions with
decorators. Olive itself is not needed: the config refers to registered functions by their names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

_KINDS = ("dataset", "pre_process", "post_process", "dataloader")
_PACKAGES = ("olive", "olive.data")
_MODULE = "olive.data.registry"

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]


@contextmanager
def olive_registry() -> Iterator[MutableMapping[str, Any]]:
    """Provide ``olive.data.registry`` while the block runs; yield the registered objects by their
    names in lower case. Importing any other ``olive`` module raises an error with the reason."""
    registered: dict[str, Any] = {}
    modules = {name: _module(name) for name in (*_PACKAGES, _MODULE)}
    modules[_MODULE].Registry = _registry(registered)  # type: ignore[attr-defined]
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_olive(name)}
    refusal = _Refusal()
    sys.modules.update(modules)
    sys.meta_path.insert(0, refusal)
    try:
        yield registered
    finally:
        sys.meta_path.remove(refusal)
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def _registry(registered: MutableMapping[str, Any]) -> type:
    """Return a class with a decorator per kind of function, each with an optional name."""

    def decorator_of(name: str | None = None) -> Decorator[Any]:
        def register(function: F) -> F:
            registered[(name or function.__name__).lower()] = function
            return function

        return register

    methods = {f"register_{kind}": staticmethod(decorator_of) for kind in _KINDS}
    return type("Registry", (), methods)


def _module(name: str) -> ModuleType:
    module = ModuleType(name)
    if name in _PACKAGES:
        module.__path__ = []
    return module


def _is_olive(name: str) -> bool:
    return name.partition(".")[0] == "olive"


class _Refusal(MetaPathFinder):
    """Raises an error that says why a module of Olive is not available."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the signature is importlib's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if _is_olive(fullname):
            message = f"Quern has {_MODULE} alone of Olive, so no {fullname}"
            raise ModuleNotFoundError(message, name=fullname)
        return None
