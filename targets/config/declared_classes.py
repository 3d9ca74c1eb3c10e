"""Classes that stand in the text of a Python file, with what of them can be read there.

Their methods do nothing, and names with which Python and pydantic find hooks are left out.
"""

from __future__ import annotations

import ast
import enum
import inspect
import typing
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pydantic
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_core import SchemaError

from pipeline.checks.base import BaseCheck
from pipeline.passes.base import BasePass
from targets.config.declared_values import NotDeclared, Scope, is_class, is_constant

NOT_DECLARED = "__quern_not_declared__"
"""Attribute of a class that was read: why those of its attributes are unknown that are computed."""

_STEPS = (BasePass, BaseCheck)


def read_class(node: ast.ClassDef, scope: Scope) -> type:
    """Return the class that ``node`` declares. Raises :class:`NotDeclared`."""
    bases = []
    for base in node.bases:
        found = scope.value(base.value if isinstance(base, ast.Subscript) else base)
        if found is not typing.Generic:
            bases.append(found)
    if node.decorator_list or not all(isinstance(base, type) for base in bases):
        raise scope.module.refusal(node)
    types = [base for base in bases if isinstance(base, type) and base is not object]
    if any(is_class(base, BaseModel) for base in types):
        return _model(node, scope, types)
    if any(is_class(base, enum.Enum) for base in types):
        return _enumeration(node, scope, types)
    if all(is_class(base, *_STEPS) or hasattr(base, NOT_DECLARED) for base in types):
        return _plain(node, scope, types)
    raise scope.module.refusal(node)


def _plain(node: ast.ClassDef, scope: Scope, bases: list[type]) -> type:
    """Return a class with the attributes of ``node`` that stand there, and with methods that do
    nothing."""
    inner = Scope(scope.module, {})
    unknown: dict[str, str] = {}
    for base in reversed(bases):
        unknown.update(getattr(base, NOT_DECLARED, {}))
    body: dict[str, object] = {"__module__": scope.module.file}
    for statement in flat(node.body):
        for name, bound in bindings(statement):
            if name.startswith("__"):
                continue
            unknown.pop(name, None)
            try:
                if isinstance(bound, ast.ClassDef):
                    body[name] = inner.names[name] = read_class(bound, inner)
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
    except (TypeError, ValueError):
        raise scope.module.refusal(node) from None


def _model(node: ast.ClassDef, scope: Scope, bases: list[type]) -> type[BaseModel]:
    """Return a model with the fields of ``node``. What is not declared of them is left open: any
    value, and no default, so that the toolchain decides."""
    inner = Scope(scope.module, {})
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
                    inner.names[statement.name] = read_class(statement, inner)
        if not is_constant(options):
            raise scope.module.refusal(node)
        model: type[BaseModel] = pydantic.create_model(
            node.name,
            __base__=tuple(bases),
            __module__=__name__,
            __cls_kwargs__=options,
            **fields,
        )
        model.model_rebuild()  # what cannot be validated is refused now, not when it is first used
        return model
    except (TypeError, ValueError, RuntimeError, NameError, SchemaError):
        raise scope.module.refusal(node) from None


def _field(statement: ast.AnnAssign, scope: Scope) -> tuple[Any, Any]:
    try:
        kind = scope.annotation(statement.annotation)
    except NotDeclared:
        kind = Any
    if statement.value is None:
        return kind, ...
    with suppress(NotDeclared):
        value = scope.value(statement.value)
        if is_constant(value) or isinstance(value, FieldInfo):
            return kind, value
    return Any, Field(default=None, exclude_if=_is_none)


def _enumeration(node: ast.ClassDef, scope: Scope, bases: list[type]) -> type:
    inner = Scope(scope.module, {})
    members = [
        (name, inner.value(bound.value))
        for statement in node.body
        for name, bound in bindings(statement)
        if isinstance(bound, ast.Assign) and not name.startswith("_")
    ]
    kinds = [base for base in bases if not is_class(base, enum.Enum)]
    if not is_constant(members) or not {*kinds} <= {str, int, float}:
        raise scope.module.refusal(node)
    (base,) = (base for base in bases if is_class(base, enum.Enum))
    try:
        made: type = base(node.name, members, type=kinds[0] if kinds else None)
    except (TypeError, ValueError):
        raise scope.module.refusal(node) from None
    return made


def flat(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of ``body`` and of the branches in it."""
    for statement in body:
        match statement:
            case ast.If(body=first, orelse=second):
                yield from flat([*second, *first])
            case ast.Try(body=first, handlers=handlers):
                for handler in handlers:
                    yield from flat(handler.body)
                yield from flat(first)
            case _:
                yield statement


def bindings(statement: ast.stmt) -> Iterator[tuple[str, Any]]:
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


def _is_none(value: object) -> bool:
    return value is None


def _nothing(*_: object) -> None:
    """Stand for a method of the user's, which is not run."""
