"""Values that stand in the text of a Python file: what an expression names, without running it.

These are constants, types, pydantic's ``Field``, and names from elsewhere. Whatever would have to
be computed is :class:`NotDeclared`. Functions may be named, and are never called nor handed to
anything that would call them.
"""

from __future__ import annotations

import ast
import collections.abc
import enum
import pathlib
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Union

import pydantic
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from pipeline.run.code_digest import PACKAGE

KNOWN: Mapping[str, Mapping[str, Any]] = {
    "typing": {
        name: getattr(typing, name)
        for name in (
            *("Annotated", "Any", "ClassVar", "Dict", "FrozenSet", "Generic", "Iterable", "List"),
            *("Literal", "Mapping", "Optional", "Sequence", "Set", "Tuple", "Union"),
        )
    },
    "collections.abc": {
        name: getattr(collections.abc, name)
        for name in ("Collection", "Iterable", "Mapping", "Sequence", "Set")
    },
    "pathlib": {"Path": pathlib.Path, "PurePosixPath": pathlib.PurePosixPath},
    "enum": {"Enum": enum.Enum, "IntEnum": enum.IntEnum},
    "abc": {"ABC": object},
    "pydantic": {
        name: getattr(pydantic, name)
        for name in (
            *("BaseModel", "ConfigDict", "Field", "JsonValue", "NonNegativeFloat"),
            *("NonNegativeInt", "PositiveFloat", "PositiveInt", "StrictBool", "StrictFloat"),
            *("StrictInt", "StrictStr", "StringConstraints"),
        )
    },
    "builtins": {
        kind.__name__: kind
        for kind in (bool, bytes, dict, float, frozenset, int, list, object, set, str, tuple)
    },
}
"""All that a file can name beside Quern's own modules: nothing here does anything."""

_CONTAINERS = (dict, frozenset, list, set, tuple)
_CALLABLE = (Field, pydantic.ConfigDict, pydantic.StringConstraints, *_CONTAINERS)
_METADATA = (FieldInfo, pydantic.StringConstraints)


class NotDeclared(Exception):
    """A value would have to be computed; the message says where it stands."""


class Module(ABC):
    """The names that one file binds at its top."""

    file: str

    @abstractmethod
    def value(self, name: str) -> object:
        """Return the value of ``name``. Raises :class:`NotDeclared`."""

    def refusal(self, node: ast.AST) -> NotDeclared:
        """Return the error that says where in the file something is computed."""
        return NotDeclared(f"{self.file}:{getattr(node, 'lineno', 1)}")


def member(owner: object, name: str) -> object:
    """Return what ``owner``, a module or a class that was read, has as ``name``."""
    if isinstance(owner, Module):
        return owner.value(name)
    if isinstance(owner, Mapping):
        found = owner.get(name)
    elif isinstance(owner, (ModuleType, type)) and not name.startswith("_"):
        found = getattr(owner, name, None)
    else:
        found = None
    foreign = isinstance(found, ModuleType) and not of_quern(found.__name__)
    if found is None or foreign:
        raise NotDeclared(f"'{name}'")
    return found


class Scope:
    """The names of a class's body so far, and behind them those of its module."""

    def __init__(self, module: Module, names: dict[str, object]) -> None:
        self.module = module
        self.names = names

    def value(self, node: ast.expr) -> object:
        """Return the value of an expression. Raises :class:`NotDeclared`."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name() | ast.Attribute():
                return self._named(node)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.Tuple(elts=elements):
                return tuple(map(self.value, elements))
            case ast.List(elts=elements):
                return [self.value(element) for element in elements]
            case ast.Set(elts=elements):
                return {_hashable(self.value(element)) for element in elements}
            case ast.Dict(keys=keys, values=values) if None not in keys:
                read = [_hashable(self.value(key)) for key in keys if key is not None]
                return dict(zip(read, map(self.value, values), strict=True))
            case ast.Subscript() | ast.BinOp(op=ast.BitOr()):
                return self.annotation(node)
            case ast.Call(func=function, args=arguments, keywords=keywords):
                return self._call(node, self.value(function), arguments, keywords)
        raise self.module.refusal(node)

    def _named(self, node: ast.Name | ast.Attribute) -> object:
        try:
            if isinstance(node, ast.Attribute):
                return member(self.value(node.value), node.attr)
            return self.names[node.id] if node.id in self.names else self.module.value(node.id)
        except NotDeclared:
            raise self.module.refusal(node) from None

    def annotation(self, node: ast.expr) -> Any:
        """Return the type that an annotation names. Raises :class:`NotDeclared`.

        No text is left in it: pydantic would run that.
        """
        match node:
            case ast.Constant(value=None):
                return None
            case ast.Constant(value=str() as text):
                try:
                    return self.annotation(ast.parse(text, mode="eval").body)
                except (SyntaxError, ValueError):
                    raise self.module.refusal(node) from None
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                both = self.annotation(left), self.annotation(right)
                return self._subscripted(node, Union, both)
            case ast.Name() | ast.Attribute():
                found = self.value(node)
                if found is not None and not isinstance(found, (str, bytes, int, float, tuple)):
                    return found
            case ast.Subscript(value=generic, slice=index):
                return self._generic(node, self.value(generic), index)
        raise self.module.refusal(node)

    def _generic(self, node: ast.expr, generic: Any, index: ast.expr) -> Any:
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        if generic is typing.Literal:
            inner: list[Any] = [self.value(part) for part in parts]
        elif generic is typing.Annotated:
            inner = [self.annotation(parts[0]), *(self.value(part) for part in parts[1:])]
            if not all(isinstance(one, _METADATA) for one in inner[1:]):
                raise self.module.refusal(node)
        else:
            inner = [
                ...
                if isinstance(part, ast.Constant) and part.value is ...
                else self.annotation(part)
                for part in parts
            ]
        return self._subscripted(node, generic, inner[0] if len(inner) == 1 else tuple(inner))

    def _subscripted(self, node: ast.expr, generic: Any, inner: object) -> Any:
        try:
            return generic[inner]
        except Exception:  # whatever it is that stands there
            raise self.module.refusal(node) from None

    def _call(
        self,
        node: ast.expr,
        function: object,
        arguments: list[ast.expr],
        keywords: list[ast.keyword],
    ) -> object:
        called: Callable[..., object] | None = next(
            (one for one in _CALLABLE if one is function), None
        )
        named = {keyword.arg: self.value(keyword.value) for keyword in keywords if keyword.arg}
        if called is None or len(named) < len(keywords):
            raise self.module.refusal(node)
        given = [self.value(argument) for argument in arguments]
        factory = named.pop("default_factory", None)
        if factory is not None:
            if factory not in _CONTAINERS and not is_class(factory, BaseModel):
                raise self.module.refusal(node)
            named["default_factory"] = factory
        others = [value for name, value in named.items() if name != "default_factory"]
        if not all(map(is_constant, (*given, *others))):
            raise self.module.refusal(node)
        try:
            return called(*given, **named)
        except (TypeError, ValueError):
            raise self.module.refusal(node) from None


def is_constant(value: object) -> bool:
    """Return whether ``value`` is plain data, of which nothing can be called."""
    if isinstance(value, dict):
        return all(map(is_constant, (*value, *value.values())))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(is_constant, value))
    return value is None or isinstance(value, (str, bytes, int, float, enum.Enum, pathlib.PurePath))


def is_class(value: object, *bases: type) -> bool:
    """Return whether ``value`` is a class that derives from one of ``bases``."""
    return isinstance(value, type) and issubclass(value, bases)


def of_quern(module: str) -> bool:
    """Return whether ``module`` is one of this package's, which the host may import."""
    return module.partition(".")[0] == PACKAGE


def _hashable(value: object) -> Any:
    if not is_constant(value) or isinstance(value, (dict, list, set)):
        raise NotDeclared(repr(value))
    return value
