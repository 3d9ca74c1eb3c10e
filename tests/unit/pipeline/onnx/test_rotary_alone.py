"""Tables of positions that are held against nothing but themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.onnx.alone import uneven
from pipeline.onnx.rotary import GraphTable

TURNS = 10000.0 ** -(np.arange(0, 64, 2) / 64)


def table(rows: int, kind: str = "float32", turns: Any = TURNS, size: float = 1.0) -> GraphTable:
    angles = np.outer(np.arange(rows), turns)
    cos, sin = (size * part(angles) for part in (np.cos, np.sin))
    return GraphTable("cos", cos.astype(kind), sin.astype(kind))


def joined(*tables: GraphTable) -> GraphTable:
    return GraphTable(
        "cos", np.concatenate([t.cos for t in tables]), np.concatenate([t.sin for t in tables])
    )


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize(("rows", "size"), [(1, 1.0), (2, 1.0), (4096, 1.0), (131072, 1.19)])
def test_a_table_that_turns_evenly_is_right(rows: int, size: float, kind: str) -> None:
    assert list(uneven(table(rows, kind, size=size))) == []


def test_the_table_for_long_texts_may_follow_that_for_short_ones() -> None:
    factors = np.linspace(1, 60, len(TURNS))
    assert list(uneven(joined(table(4096), table(131072, turns=TURNS / factors)))) == []


def cut(wrong: GraphTable, first: int) -> GraphTable:
    return GraphTable(wrong.name, wrong.cos[first:], wrong.sin[first:])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (joined(table(2048), table(2048)), "position 2048 is position 0 again"),
        (cut(table(4096), 1), "position 0 is turned"),
        (joined(table(2000), cut(table(4096), 2001)), "does not follow from those before"),
        (table(4096, turns=-TURNS), "turn backwards"),
        (GraphTable("cos", table(64).sin, table(64).cos), "position 0 is turned"),
        (joined(table(900), cut(table(1000, turns=TURNS * 1.01), 900)), "position 900 does not"),
    ],
)
def test_one_that_does_not_is_named(wrong: GraphTable, said: str) -> None:
    (problem,) = uneven(wrong)
    assert said in problem
