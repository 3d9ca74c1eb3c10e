"""Adds to the wheel what lets a type checker see the types behind `import quern`.

At run time Quern's packages are found as `targets` and `pipeline`, since `quern` puts the folder
that holds them on Python's path. A type checker knows nothing of that: for it, each module that
`quern.api` leads to stands in the wheel once more as a stub, with the names that the modules have
inside `quern`.
"""

from __future__ import annotations

import ast
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("targets", "pipeline")
_IMPORT = re.compile(rf"^(\s*)(from|import) ({'|'.join(PACKAGES)})(?=[.\s])", re.MULTILINE)


class StubsHook(BuildHookInterface[Any]):
    """Writes the stubs, and has hatchling include them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the stubs to a wheel; an editable one leads to the clone, which needs none."""
        if version != "standard":
            return
        self._folder = tempfile.TemporaryDirectory()
        for path, text in stubs(Path(self.root)):
            stub = Path(self._folder.name) / path
            stub.parent.mkdir(parents=True, exist_ok=True)
            stub.write_text(text, encoding="utf-8")
            build_data["force_include"][str(stub)] = path

    def finalize(self, *_: object) -> None:
        """Remove what was written."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def stubs(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the path in the wheel and the text of each stub."""
    waiting, seen = [root / "quern" / "api.py"], set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        source = file.read_text(encoding="utf-8")
        waiting += _imported(root, ast.parse(source))
        text = _IMPORT.sub(r"\1\2 quern.\3", source)
        if text != source:
            path = file.relative_to(root)
            inside = path if path.parts[0] == "quern" else Path("quern") / path
            yield inside.with_suffix(".pyi").as_posix(), text


def _imported(root: Path, module: ast.Module) -> Iterator[Path]:
    """Yield the files of Quern's modules that ``module`` imports, at its top or for types."""
    for node in _top(module.body):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            path = root.joinpath(*name.split("."))
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if name.partition(".")[0] in PACKAGES and file.is_file():
                    yield file


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _top([*node.body, *node.orelse])
