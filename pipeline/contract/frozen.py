"""The pydantic base that every plan, config and report model of Quern shares."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Frozen(BaseModel):
    """An immutable model that refuses keys it does not know: nothing is silently ignored.

    What validates and writes one is built when it is first used: a command uses few of them.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), defer_build=True
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema with the docstrings of the fields. They are added here, because
        pydantic's ``use_attribute_docstrings`` would read them at every start of the program."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in field_docstrings(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema


def field_docstrings(cls: type) -> dict[str, str]:
    """Return the docstrings of the annotated fields of ``cls`` and its bases, from their source."""
    docstrings: dict[str, str] = {}
    for part in reversed(cls.__mro__):
        if part.__module__.partition(".")[0] in ("pydantic", "builtins", "typing", "abc"):
            continue
        try:
            source = inspect.getsource(part)
        except (OSError, TypeError):
            continue  # a class without source: it was made at run time
        (tree,) = ast.parse(textwrap.dedent(source)).body
        assert isinstance(tree, ast.ClassDef)  # noqa: S101
        for field, text in pairwise(tree.body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(said))),
                ):
                    docstrings[name] = inspect.cleandoc(said)
    return docstrings
