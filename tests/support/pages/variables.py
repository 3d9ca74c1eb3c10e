"""Whether the table of environment variables has all that are read, and no others."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from targets.cli.options import PROJECT
from tests.support.pages.page import Page

HEAD = "variable"
_NAME = re.compile(r"^[A-Z][A-Z0-9_]*$")
_NOT_TOLD = {
    *("PATH", "SYSTEMROOT", "COMSPEC", "OPENBLAS_CORETYPE"),
    *("QUERN_GIVEN_GPUS", "QUERN_MACHINE", "QUERN_REACHED", "RANK", "LOCAL_RANK"),
    "LLAMA_CPP",
}
"""What every process has, a toolchain sets (``targets/*.toml``), or one process of a step or a
benchmark tells those that it starts; nobody sets them for Quern."""
_IN_FAMILIES = ("PIP_",)
"""Libraries that make the names of their variables while they run: what these begin with."""


def variables() -> frozenset[str]:
    """Return the variables that Quern's own code reads."""
    files = [*(PROJECT / "targets").rglob("*.py"), *(PROJECT / "pipeline").rglob("*.py")]
    files += [*(PROJECT / "tests" / "benchmarks").rglob("*.py")]
    return frozenset(name for file in files for name in read_in(file)) - _NOT_TOLD


def read_in(file: Path) -> Iterator[str]:
    """Yield the variables that one module reads."""
    text = file.read_text("utf-8")
    if "environ" not in text and "envvar" not in text:
        return
    module = ".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
    yield from read_text(text, module)


def read_text(text: str, module: str) -> Iterator[str]:
    """Yield the variables that the source of ``module`` reads."""
    tree = ast.parse(text)
    for function in _functions(tree):
        for node in ast.walk(function):
            if isinstance(node, ast.keyword) and node.arg == "envvar":
                yield from _names(node.value, function, module)
            elif isinstance(node, ast.Call) and _is_environment(node.func, (".get", ".getenv")):
                yield from _names(node.args[0], function, module)
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
                if _is_environment(node, ()):
                    yield from _names(node.slice, function, module)
            elif isinstance(node, ast.Compare) and _is_environment(node.comparators[0], None):
                yield from _names(node.left, function, module)


def _functions(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield functions, and the statements outside of any."""
    for node in tree.body:
        parts = node.body if isinstance(node, ast.ClassDef) else [node]
        yield from parts


def _is_environment(node: ast.expr, calls: tuple[str, ...] | None) -> bool:
    """Return whether ``node`` is the environment, one of its methods, or an item of it."""
    text = ast.unparse(node)
    if calls is None:
        return text in ("os.environ", "environ", "environment")
    if calls:
        owner, dot, method = text.rpartition(".")
        if text == "os.getenv":
            return True
        return f"{dot}{method}" in calls and owner in ("os.environ", "environ", "environment")
    return text.startswith("os.environ[")


def _names(node: ast.expr, function: ast.AST, module: str) -> Iterator[str]:
    """Yield the variables that an expression can name: it says so, or takes them from a constant of
    the module that the function refers to."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
        return
    names = {part.id for part in ast.walk(function) if isinstance(part, ast.Name)}
    constants = vars(importlib.import_module(module))
    for value in (constants.get(name) for name in sorted(names)):
        texts = (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()
        yield from (text for text in texts if isinstance(text, str) and _NAME.match(text))


def mistakes(pages: Sequence[Page]) -> Iterator[str]:
    """Yield variables that are read and not told of, told of and not read, or told of twice."""
    documented: dict[str, tuple[str, ...]] = {}
    for page in pages:
        for name, row in page.table(HEAD).items():
            if name in documented:
                yield f"{page.path}: {name} is listed twice"
            documented[name] = row
    read = variables()
    yield from (f"{name} is read, and in no table" for name in sorted(read - documented.keys()))
    for name, row in documented.items():
        if name in read:
            continue
        libraries = re.findall(r"`([^`]+)`", row[1])
        if not any(_reads(library, name) for library in libraries):
            yield f"nothing reads {name}"
    known = read | documented.keys()
    for page in pages:
        for span in page.spans:
            name = span.partition("=")[0]
            ours = re.match(r"^(QUERN|HF|DOCKER|SSL)_[A-Z_]+$", name)
            if ours and name not in known:
                yield f"{page.path}: {name} is in no table of variables"


def _reads(library: str, name: str) -> bool:
    """Return whether the installed ``library`` has the name of the variable in its sources."""
    spec = importlib.util.find_spec(library.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return False
    families = [family for family in _IN_FAMILIES if name.startswith(family)]
    names = families or [name]
    folders = map(Path, spec.submodule_search_locations)
    texts = (
        file.read_text("utf-8", errors="replace")
        for folder in folders
        for file in folder.rglob("*.py")
    )
    return any(re.search(rf"[\"']{text}", source) for source in texts for text in names)
