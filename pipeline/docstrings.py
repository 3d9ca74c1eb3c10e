"""What the docstrings below a class's fields say, read from its source when it is asked for."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise


def field_docstrings(cls: type) -> dict[str, str]:
    """Return the docstring of each annotated field of ``cls`` and its bases that has one."""
    found: dict[str, str] = {}
    for part in reversed(cls.__mro__):
        if part.__module__.partition(".")[0] in ("pydantic", "builtins", "typing", "abc"):
            continue
        try:
            source = inspect.getsource(part)
        except (OSError, TypeError):
            continue  # made while the program runs
        (tree,) = ast.parse(textwrap.dedent(source)).body
        assert isinstance(tree, ast.ClassDef)  # noqa: S101
        for field, text in pairwise(tree.body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(said))),
                ):
                    found[name] = inspect.cleandoc(said)
    return found
