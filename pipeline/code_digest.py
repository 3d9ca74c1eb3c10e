"""The digest of a pass's own code: its module and everything of ``pipeline`` that it imports.

It is part of the pass's key, so a change to the quality check does not retrain a model, and a
change to how data is split does. Nothing is imported to find out: the sources are parsed.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

PACKAGE = "pipeline"


class CodeDigests:
    """Digests of modules below one package folder. Every source is read and parsed once."""

    def __init__(self, root: Path | None = None) -> None:
        """``root`` is the folder that holds the package; default: where this file's package is."""
        self._root = root or Path(__file__).resolve().parent.parent
        self._imports: dict[Path, tuple[Path, ...]] = {}
        self._sources: dict[Path, bytes] = {}

    def digest(self, module: str) -> str:
        """Return SHA-256 over relative path and bytes of ``module`` and all it imports.

        Imports inside functions and relative ones count; so do the ``__init__`` of every package
        on the way. Raises ``ModuleNotFoundError`` if ``module`` is not below the root.
        """
        total = hashlib.sha256()
        for path in self.files(module):
            name = path.relative_to(self._root).as_posix()
            content = hashlib.sha256(self._sources[path]).hexdigest()
            total.update(f"{name}\0{content}\n".encode())
        return total.hexdigest()

    def files(self, module: str) -> tuple[Path, ...]:
        """Return the files that decide what ``module`` does, sorted."""
        start = self._files_of(module)
        if not start:
            raise ModuleNotFoundError(f"no module '{module}' below {self._root}", name=module)
        seen: set[Path] = set()
        waiting = list(start)
        while waiting:
            path = waiting.pop()
            if path not in seen:
                seen.add(path)
                waiting.extend(self._imported_by(path))
        return tuple(sorted(seen))

    def _imported_by(self, path: Path) -> tuple[Path, ...]:
        if path not in self._imports:
            source = self._sources[path] = path.read_bytes()
            parts = path.relative_to(self._root).with_suffix("").parts
            package = parts[:-1]
            self._imports[path] = tuple(
                file
                for name in _imported_names(ast.parse(source, str(path)), package)
                for file in self._files_of(name)
            )
        return self._imports[path]

    def _files_of(self, module: str) -> list[Path]:
        """Return the module's file and its packages' ``__init__``; empty if it is not a module."""
        parts = module.split(".")
        if parts[0] != PACKAGE:
            return []
        base = self._root.joinpath(*parts)
        own = next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p in self), None)
        if own is None:
            return []
        folders = (self._root.joinpath(*parts[:depth]) for depth in range(1, len(parts)))
        return [own, *(folder / "__init__.py" for folder in folders)]

    def __contains__(self, path: Path) -> bool:
        return path in self._present

    @cached_property
    def _present(self) -> frozenset[Path]:
        return frozenset((self._root / PACKAGE).rglob("*.py"))


def code_digest(module: str) -> str:
    """Return the digest of one module of this package (see :meth:`CodeDigests.digest`)."""
    return CodeDigests().digest(module)


def _imported_names(tree: ast.Module, package: tuple[str, ...]) -> Iterator[str]:
    """Yield every dotted name that may be an imported module: ``a.b`` and ``a.b.name``."""
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *(node.module.split(".") if node.module else ())))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements below ``node``; expressions hold no import and are not entered."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            for child in block:
                yield child
                yield from _statements(child)
