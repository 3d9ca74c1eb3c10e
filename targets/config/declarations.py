"""Reads what a Python file declares, from its text alone: nothing of it is run."""

from __future__ import annotations

import ast
import importlib
from contextlib import suppress
from pathlib import PurePosixPath
from types import MappingProxyType

from pipeline.contract.errors import StepError
from pipeline.run.code_digest import PACKAGE, ScriptCode
from pipeline.scripts.moved import new_import
from targets.config.declared_classes import bindings, flat, read_class
from targets.config.declared_values import KNOWN, Module, NotDeclared, Scope, member, of_quern


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
        if name in KNOWN:
            return MappingProxyType(KNOWN[name])
        raise NotDeclared(f"{name} is not read")


class _Module(Module):
    """The names that one file binds at its top."""

    def __init__(self, file: str, text: bytes, all_files: Declarations) -> None:
        self.file = file
        self._all = all_files
        self._package = PurePosixPath(file).parts[:-1]
        try:
            self._tree = ast.parse(text)
            for node in ast.walk(self._tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, int):
                    str(node.value)  # Python bounds the digits of decimal numbers alone
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            message = f"{file} cannot be read: {type(error).__name__}: {error}"
            raise StepError(message, cause="bad_input") from None
        self._bound: dict[str, ast.stmt | tuple[ast.stmt, ast.alias]] = {}
        for statement in flat(self._tree.body):
            for name, node in bindings(statement):
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
            if isinstance(statement, ast.ImportFrom) and of_quern(statement.module or ""):
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
            if not of_quern(missing):
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
            if name in KNOWN["builtins"]:
                return KNOWN["builtins"][name]
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
            return read_class(node, Scope(self, {}))
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            return Scope(self, {}).value(node.value)
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
