"""The verdict on a graph's tables of rotary positions, for the checks that judge them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.contract.result import Verdict

MAX_ERROR = 0.02
"""Rounding errors are 0.0005 in fp16 and 0.004 in bf16; those of a wrong frequency or position are
0.1 to 2."""


def rotary_verdict(model: Any, tables: Sequence[Any], limit: float) -> Verdict:
    """Compare the tables in the graph ``model`` with those of its checkpoint.

    ``tables`` are :class:`pipeline.onnx.rotary.RotaryTable`; ``limit`` is the largest difference of
    a cosine or sine that passes.
    """
    from pipeline.onnx.rotary import graph_tables, table_error
    from pipeline.verdicts.verdicts import limit_verdict, problem_verdict, unverified

    name = "rotary_table"
    try:
        ours = graph_tables(model)
        if not ours or not tables:
            whose = "the model's are" if ours else "the graph has none whose"
            return unverified(name, f"{whose} tables of positions not known")
        apart, place = table_error(ours, tables)
    except (ValueError, OSError, IndexError) as error:
        return problem_verdict(name, [f"the tables of positions cannot be read: {error}"], "")
    positions = sum(len(table.positions) for table in tables)
    detail = f"largest difference: {place}; {positions} positions"
    return limit_verdict(name, apart, "<=", limit, "", detail)
