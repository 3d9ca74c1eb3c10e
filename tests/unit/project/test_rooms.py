"""The order of the folders: `docs/design.md` lists and draws them, and no import breaks it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
DESIGN = PROJECT / "docs" / "design.md"
PACKAGES = ("targets", "pipeline")


@cache
def modules(package: str) -> Mapping[str, Path]:
    """Return the file of each module of ``package`` by dotted name."""
    found = {}
    for path in sorted((PROJECT / package).rglob("*.py")):
        name = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


@cache
def imports(package: str) -> Mapping[str, frozenset[str]]:
    """Return the modules of ``package`` that each of its modules imports, wherever in it."""
    known = modules(package)
    found = {}
    for name, path in known.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: a relative import"
                base = node.module or ""
                names.update((base, *(f"{base}.{alias.name}" for alias in node.names)))
        found[name] = frozenset(names & known.keys()) - {name}
    return found


def room(module: str) -> str:
    """Return the folder, or the module beside the folders, in which ``module`` is."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def arrows(package: str) -> Mapping[str, set[str]]:
    """Return which rooms each room imports from."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, imported in imports(package).items():
        if module != package:
            found[room(module)] |= {room(other) for other in imported if other != package}
    return {name: others - {name} for name, others in found.items()}


def listed(package: str) -> dict[str, str]:
    """Return the rooms of the table of ``package`` with their sentences, the lowest first."""
    text = DESIGN.read_text("utf-8")
    table = re.search(rf"\| `{package}/` \| .*\n\| --- \| --- \|\n((?:\|.*\n)+)", text)
    assert table is not None
    rows = re.findall(r"\| `([\w.]+?)(?:/|\.py)` \| (.*) \|", table[1])
    return dict(reversed(rows))


def drawn(package: str) -> str:
    """Return the picture of ``package``: an arrow for each import that others do not imply."""
    above = arrows(package)
    lines = [
        f"    {name} --> {other}"
        for name in reversed(listed(package))
        for other in sorted(above[name])
        if not any(other in reached(third, above) for third in above[name] - {other})
    ]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def reached(name: str, above: Mapping[str, set[str]]) -> set[str]:
    """Return every room that ``name`` imports from, also through others."""
    return above[name] | {far for other in above[name] for far in reached(other, above)}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_listed_with_what_it_says_of_itself(package: str) -> None:
    said = {}
    for name in arrows(package):
        path = modules(package)[f"{package}.{name}"]
        text = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n\n")[0]
        said[name] = " ".join(text.replace("``", "`").split())
    assert listed(package) == said


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_runs_against_the_order(package: str) -> None:
    order = {name: height for height, name in enumerate(listed(package))}
    against = [
        f"{module} imports {other}"
        for module, imported in imports(package).items()
        for other in imported
        if package not in (module, other) and order[room(module)] < order[room(other)]
    ]
    assert not against


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_through_others(package: str) -> None:
    # A package's own file names its modules; importing one of them runs it first.
    inner = {
        module: {other for other in imported if not module.startswith(f"{other}.")}
        for module, imported in imports(package).items()
    }
    try:
        list(TopologicalSorter(inner).static_order())
    except CycleError as circle:
        pytest.fail(" → ".join(circle.args[1]))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_picture_is_the_codes(package: str) -> None:
    assert drawn(package) in DESIGN.read_text("utf-8"), f"it should be:\n{drawn(package)}"


def test_pipeline_imports_nothing_of_the_host() -> None:
    outside = re.compile(r"^\s*(?:from|import) targets\b", re.MULTILINE)
    assert not [path for path in modules("pipeline").values() if outside.search(path.read_text())]


def test_an_import_against_the_order_would_be_seen() -> None:
    order = list(listed("pipeline"))
    assert order.index("contract") < order.index("checks") < order.index("run")
    assert "passes" in reached("run", arrows("pipeline"))
