"""Whether the page on steps of one's own has every attribute that a pass or check can set."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence

from pipeline.checks.base import BaseCheck
from pipeline.passes.base import BasePass
from tests.support.pages.page import Page

PAGE = "own-steps.md"
_HEADS = {"attribute of a pass": BasePass, "attribute of a check": BaseCheck}


def mistakes(pages: Sequence[Page]) -> Iterator[str]:
    """Yield attributes that are missing from the tables, and those that do not exist."""
    page = next(page for page in pages if page.path.name == PAGE)
    for head, base in _HEADS.items():
        documented, known = set(page.table(head)), attributes(base)
        yield from (f"{PAGE}: {head}: {name} is missing" for name in sorted(known - documented))
        yield from (f"{PAGE}: {head}: there is no {name}" for name in sorted(documented - known))


def attributes(base: type) -> set[str]:
    """Return the class attributes and methods that ``base`` declares for those that derive."""
    (declared,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
    assert isinstance(declared, ast.ClassDef)
    fields = {
        node.target.id
        for node in declared.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return fields | {"run"}
