"""Whether the table of exit codes has all there are, and pages name no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

import click

from targets import errors
from targets.cli.options import PROJECT
from tests.support.pages.page import Page

HEAD = "exit code"
SIGNALLED = "128 + N"
_SAID = re.compile(r"(?:exit codes?|ends? with|ended with|ends \w+ with) `?(\d+)`?(?! [a-z%])")


def codes() -> frozenset[str]:
    """Return every code that a session can end with."""
    exit_codes = {0, click.UsageError.exit_code}
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.QuernError):
            exit_codes.add(error.exit_code)
    for file in (PROJECT / "noxfile.py", PROJECT / "nox"):
        exit_codes |= set(_exits(ast.parse(file.read_text("utf-8"))))
    signalled = "128 - code" in (PROJECT / "noxfile.py").read_text("utf-8")
    return frozenset({str(code) for code in exit_codes} | ({SIGNALLED} if signalled else set()))


def _exits(tree: ast.Module) -> Iterator[int]:
    """Yield the numbers that a program exits with."""
    named = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if ast.unparse(call.func) == "sys.exit" and call.args:
            value = ast.unparse(call.args[0])
            number = str(named.get(value, value))
            if number.isdigit():
                yield int(number)


def mistakes(pages: Sequence[Page]) -> Iterator[str]:
    """Yield codes that are in no table, codes of the table that do not exist, and others named."""
    listed = [name for page in pages for name in page.table(HEAD)]
    yield from (
        f"exit code {code} is listed twice" for code in set(listed) if listed.count(code) > 1
    )
    yield from (f"exit code {code} is in no table" for code in sorted(codes() - set(listed)))
    yield from (f"there is no exit code {code}" for code in sorted(set(listed) - codes()))
    for page in pages:
        for code in _SAID.findall(page.prose):
            if code not in codes():
                yield f"{page.path}: there is no exit code {code}"
