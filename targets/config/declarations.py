"""Reads what a Python file declares, from its text alone: nothing of it is run.

Values are those that stand there: constants, types, pydantic's ``Field``, classes of such, names
imported from Quern or from a file beside it. Whatever would have to be computed is
:class:`NotDeclared`.
"""

from __future__ import annotations

import ast
import collections.abc
import enum
import importlib
import inspect
import pathlib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from types import MappingProxyType, ModuleType
from typing import Any, Union

import pydantic
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_core import SchemaError

from pipeline.checks.base import BaseCheck
from pipeline.contract.errors import StepError
from pipeline.passes.base import BasePass
from pipeline.run.code_digest import PACKAGE, ScriptCode
from pipeline.scripts.moved import new_import

NOT_DECLARED = "__quern_not_declared__"
"""Attribute of a class that was read: why those of its attributes are unknown that are computed."""

_KNOWN: Mapping[str, Mapping[str, Any]] = {
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
_STEPS = (BasePass, BaseCheck)


class NotDeclared(Exception):
    """A value would have to be computed; the message says where it stands."""


class Declarations:
    """The declarations of a script, and of the files that it imports from its folder."""

    def __init__(self, code: ScriptCode) -> None:
        """Raises :class:`StepError` where a file is no Python, or imports what Quern lacks."""
        self._modules = {file: _Module(file, text, self) for file, text in code.files.items()}
        for module in self._modules.values():
            module.require_imports()

    def module(self, file: str) -> _Module:
        """Return the module of ``file``, whose path is relative to the script's folder."""
        return self._modules[file]

    def imported(self, name: str) -> object:
        """Return the module ``name``: one beside the script, one of Quern, or one that is known."""
        path = name.replace(".", "/")
        for file in (f"{path}/__init__.py", f"{path}.py"):
            if file in self._modules:
                return self._modules[file]
        if name.partition(".")[0] == PACKAGE and not name.endswith("__main__"):
            try:
                return importlib.import_module(name)
            except ImportError as error:
                raise NotDeclared(str(error)) from None
        if name in _KNOWN:
            return MappingProxyType(_KNOWN[name])
        raise NotDeclared(f"{name} is not read")


class _Module:
    """The names that one file binds at its top."""

    def __init__(self, file: str, text: bytes, all_files: Declarations) -> None:
        self.file = file
        self._all = all_files
        self._package = PurePosixPath(file).parts[:-1]
        try:
            self._tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            message = f"{file} cannot be read: {type(error).__name__}: {error}"
            raise StepError(message, cause="bad_input") from None
        self._bound: dict[str, ast.stmt | tuple[ast.stmt, ast.alias]] = {}
        for statement in _flat(self._tree.body):
            for name, node in _bindings(statement):
                self._bound[name] = node
        self._values: dict[str, object] = {}
        self._reading: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._bound

    def classes(self) -> dict[str, object]:
        """Return the classes that the file declares and that could be read, by name."""
        found: dict[str, object] = {}
        for name, node in self._bound.items():
            if isinstance(node, ast.ClassDef):
                with suppress(NotDeclared):
                    found[name] = self.value(name)
        return found

    def require_imports(self) -> None:
        """Raise :class:`StepError` if the file imports a name that Quern has not, or not there."""
        for statement in self._tree.body:
            if isinstance(statement, ast.ImportFrom) and _of_quern(statement.module or ""):
                for alias in statement.names:
                    self._require(str(statement.module), alias.name)

    def _require(self, module: str, name: str) -> None:
        try:
            found = importlib.import_module(module)
            if name == "*" or hasattr(found, name):
                return
            importlib.import_module(f"{module}.{name}")
        except ImportError as error:
            missing = error.name or ""
            if not _of_quern(missing):
                return  # an ML library, which the toolchain has
            if missing == f"{module}.{name}":
                error = ImportError(f"cannot import name '{name}' from '{module}'", name=module)
            place = new_import(error)
            said = "imports what lies elsewhere now" if place else "cannot be imported"
            hint = f"write: {place}" if place else ""
            raise StepError(f"{self.file} {said}: {error}", hint, "bad_input") from None

    def value(self, name: str) -> object:
        """Return the value of ``name``. Raises :class:`NotDeclared`."""
        if name in self._values:
            return self._values[name]
        if name not in self._bound:
            if name in _KNOWN["builtins"]:
                return _KNOWN["builtins"][name]
            raise NotDeclared(f"{self.file} has no '{name}'")
        if name in self._reading:
            raise NotDeclared(f"{self.file}: '{name}' is defined by itself")
        self._reading.add(name)
        try:
            self._values[name] = self._read(self._bound[name])
        finally:
            self._reading.discard(name)
        return self._values[name]

    def _read(self, node: ast.stmt | tuple[ast.stmt, ast.alias]) -> object:
        if isinstance(node, tuple):
            return self._imported(*node)
        if isinstance(node, ast.ClassDef):
            return _class(node, _Scope(self, {}))
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            return _Scope(self, {}).value(node.value)
        raise self.refusal(node)

    def _imported(self, statement: ast.stmt, alias: ast.alias) -> object:
        if isinstance(statement, ast.Import):
            name = alias.name if alias.asname else alias.name.partition(".")[0]
            return self._all.imported(name)
        assert isinstance(statement, ast.ImportFrom)  # noqa: S101
        level = statement.level
        above = self._package[: len(self._package) - level + 1] if level else ()
        base = ".".join((*above, *filter(None, (statement.module,))))
        try:
            return member(self._all.imported(base), alias.name)
        except NotDeclared:
            return self._all.imported(f"{base}.{alias.name}" if base else alias.name)

    def refusal(self, node: ast.AST) -> NotDeclared:
        """Return the error that says where in the file something is computed."""
        return NotDeclared(f"{self.file}:{getattr(node, 'lineno', 1)}")


def member(owner: object, name: str) -> object:
    """Return what ``owner``, a module or a class that was read, has as ``name``."""
    if isinstance(owner, _Module):
        return owner.value(name)
    if isinstance(owner, Mapping):
        found = owner.get(name)
    elif isinstance(owner, (ModuleType, type)) and not name.startswith("_"):
        found = getattr(owner, name, None)
    else:
        found = None
    foreign = isinstance(found, ModuleType) and not _of_quern(found.__name__)
    if found is None or foreign:
        raise NotDeclared(f"'{name}'")
    return found


class _Scope:
    """The names of a class's body so far, and behind them those of its module."""

    def __init__(self, module: _Module, names: dict[str, object]) -> None:
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
                return Union[self.annotation(left), self.annotation(right)]  # noqa: UP007
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
        try:
            return generic[inner[0] if len(inner) == 1 else tuple(inner)]
        except TypeError:
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
            if factory not in _CONTAINERS and not _is(factory, BaseModel):
                raise self.module.refusal(node)
            named["default_factory"] = factory
        if any(callable(one) for one in (*given, *named.values()) if one is not factory):
            raise self.module.refusal(node)
        try:
            return called(*given, **named)
        except (TypeError, ValueError):
            raise self.module.refusal(node) from None


def _class(node: ast.ClassDef, scope: _Scope) -> type:
    bases = []
    for base in node.bases:
        found = scope.value(base.value if isinstance(base, ast.Subscript) else base)
        if found is not typing.Generic:
            bases.append(found)
    if node.decorator_list or not all(isinstance(base, type) for base in bases):
        raise scope.module.refusal(node)
    types = [base for base in bases if isinstance(base, type) and base is not object]
    if any(_is(base, BaseModel) for base in types):
        return _model(node, scope, types)
    if any(_is(base, enum.Enum) for base in types):
        return _enumeration(node, scope, types)
    if all(_is(base, *_STEPS) or hasattr(base, NOT_DECLARED) for base in types):
        return _plain(node, scope, types)
    raise scope.module.refusal(node)


def _plain(node: ast.ClassDef, scope: _Scope, bases: list[type]) -> type:
    """Return a class with the attributes of ``node`` that stand there, and with methods that do
    nothing."""
    inner = _Scope(scope.module, {})
    unknown: dict[str, str] = {}
    for base in reversed(bases):
        unknown.update(getattr(base, NOT_DECLARED, {}))
    body: dict[str, object] = {"__module__": scope.module.file}
    for statement in _flat(node.body):
        for name, bound in _bindings(statement):
            unknown.pop(name, None)
            try:
                if isinstance(bound, ast.ClassDef):
                    body[name] = inner.names[name] = _class(bound, inner)
                elif isinstance(bound, (ast.Assign, ast.AnnAssign)):
                    if bound.value is not None:
                        body[name] = inner.names[name] = inner.value(bound.value)
                else:
                    body[name] = _nothing
                    if _is_read_by_the_plan(name):
                        raise scope.module.refusal(statement)
            except NotDeclared as where:
                if _is_read_by_the_plan(name):
                    unknown[name] = str(where)
    body[NOT_DECLARED] = unknown
    try:
        return type(bases[0])(node.name, tuple(bases), body) if bases else type(node.name, (), body)
    except TypeError:
        raise scope.module.refusal(node) from None


def _model(node: ast.ClassDef, scope: _Scope, bases: list[type]) -> type[BaseModel]:
    """Return a model with the fields of ``node``. What is not declared of them is left open: any
    value, and no default, so that the toolchain decides."""
    inner = _Scope(scope.module, {})
    fields: dict[str, Any] = {}
    options: dict[str, Any] = {}
    try:
        for keyword in node.keywords:
            if keyword.arg is not None:
                options[keyword.arg] = inner.value(keyword.value)
        for statement in node.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id="model_config")], value=value):
                    read = inner.value(value)
                    options.update(read if isinstance(read, dict) else {})
                case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
                    if not _is_class_variable(statement.annotation):
                        fields[name] = _field(statement, inner)
                case ast.ClassDef():
                    inner.names[statement.name] = _class(statement, inner)
        return pydantic.create_model(
            node.name,
            __base__=tuple(bases),
            __module__=__name__,
            __cls_kwargs__=options,
            **fields,
        )
    except (TypeError, ValueError, RuntimeError, NameError, SchemaError):
        raise scope.module.refusal(node) from None


def _field(statement: ast.AnnAssign, scope: _Scope) -> tuple[Any, Any]:
    try:
        kind = scope.annotation(statement.annotation)
    except NotDeclared:
        kind = Any
    if statement.value is None:
        return kind, ...
    try:
        return kind, scope.value(statement.value)
    except NotDeclared:
        return Any, Field(default=None, exclude_if=_is_none)


def _enumeration(node: ast.ClassDef, scope: _Scope, bases: list[type]) -> type:
    inner = _Scope(scope.module, {})
    members = [
        (name, inner.value(bound.value))
        for statement in node.body
        for name, bound in _bindings(statement)
        if isinstance(bound, ast.Assign)
    ]
    kinds = [base for base in bases if not _is(base, enum.Enum)]
    (base,) = (base for base in bases if _is(base, enum.Enum))
    try:
        made: type = base(node.name, members, type=kinds[0] if kinds else None)
    except (TypeError, ValueError):
        raise scope.module.refusal(node) from None
    return made


def _flat(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of ``body`` and of the branches in it."""
    for statement in body:
        match statement:
            case ast.If(body=first, orelse=second):
                yield from _flat([*second, *first])
            case ast.Try(body=first, handlers=handlers):
                for handler in handlers:
                    yield from _flat(handler.body)
                yield from _flat(first)
            case _:
                yield statement


def _bindings(statement: ast.stmt) -> Iterator[tuple[str, Any]]:
    """Yield the names that a statement binds, each with what says its value."""
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name, statement
        case ast.Assign(targets=targets):
            yield from ((one.id, statement) for one in targets if isinstance(one, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name, statement
        case ast.Import(names=names):
            for alias in names:
                yield alias.asname or alias.name.partition(".")[0], (statement, alias)
        case ast.ImportFrom(names=names):
            yield from ((alias.asname or alias.name, (statement, alias)) for alias in names)


def _is_read_by_the_plan(name: str) -> bool:
    """Return whether ``name`` is an attribute of passes or checks that decides how they are
    planned."""
    return any(
        name in step.__annotations__
        or isinstance(inspect.getattr_static(step, name, None), classmethod)
        for step in _STEPS
    )


def _is_class_variable(node: ast.expr) -> bool:
    named = node.value if isinstance(node, ast.Subscript) else node
    name = named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")
    return name == "ClassVar"


def _of_quern(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def _is(value: object, *bases: type) -> bool:
    return isinstance(value, type) and issubclass(value, bases)


def _hashable(value: object) -> Any:
    try:
        hash(value)
    except TypeError:
        raise NotDeclared(repr(value)) from None
    return value


def _is_none(value: object) -> bool:
    return value is None


def _nothing(*_: object) -> None:
    """Stand for a method of the user's, which is not run."""
