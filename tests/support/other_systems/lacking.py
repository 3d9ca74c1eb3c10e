"""What the standard library lacks on another system, as typeshed says, which mypy brings."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import mypy

STUBS = Path(mypy.__file__).parent / "typeshed" / "stdlib"


@cache
def lacking(platform: str) -> dict[str, list[str]]:
    """Return by module the names that Linux has and ``platform`` (a value of ``sys.platform``) has
    not; those of a class stand behind its name and a dot. A module that it lacks has all."""
    found: dict[str, list[str]] = {}
    for file in sorted(STUBS.rglob("*.pyi")):
        module = ".".join(file.relative_to(STUBS).with_suffix("").parts).removesuffix(".__init__")
        source = file.read_text("utf-8")
        if "sys.platform" in source:
            body = ast.parse(source).body
            names = {*_names(body, sys.platform)} - {*_names(body, platform)}
            if names:
                found[module] = sorted(names)
    return found


def absent(platform: str) -> list[str]:
    """Return the modules of which ``platform`` has nothing."""
    modules = []
    for module, names in lacking(platform).items():
        file = STUBS / f"{module.replace('.', '/')}.pyi"
        if file.is_file():
            body = ast.parse(file.read_text("utf-8")).body
            public = {name for name in _names(body, sys.platform) if not name.startswith("_")}
            if public <= {*names}:
                modules.append(module)
    return modules


def _names(body: list[ast.stmt], platform: str, within: str = "") -> Iterator[str]:
    for node in body:
        match node:
            case ast.If(test=test, body=then, orelse=other):
                yield from _names(then if _holds(test, platform) else other, platform, within)
            case ast.ClassDef(name=name, body=inner):
                yield f"{within}{name}"
                yield from _names(inner, platform, f"{within}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield f"{within}{name}"
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield f"{within}{name}"
            case ast.ImportFrom(names=imported) if within == "":
                yield from (alias.asname for alias in imported if alias.asname)


def _holds(condition: ast.expr, platform: str) -> bool:
    """Return whether a condition of typeshed holds, which is about ``sys`` alone."""
    known = {"sys": SimpleNamespace(platform=platform, version_info=sys.version_info)}
    code = compile(ast.Expression(condition), "typeshed", "eval")
    return bool(eval(code, {"__builtins__": {}, **known}))  # noqa: S307 - of mypy's own package
