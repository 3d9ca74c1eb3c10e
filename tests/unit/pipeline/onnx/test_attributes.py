"""What a graph's norms do is held against what the model's do."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from pipeline.onnx.attributes import Architecture, attribute_problems
from pipeline.onnx.graph import OnnxModel


@pytest.fixture
def graph(tmp_path: Path) -> OnnxModel:
    """Return a graph with a norm that subtracts the mean and one that does not."""
    helper = onnx.helper
    nodes = [
        helper.make_node(operator, ["x", "weight"], [name], name, epsilon=1e-5)
        for operator, name in (
            ("SkipLayerNormalization", "centred"),
            ("SkipSimplifiedLayerNormalization", "plain"),
        )
    ]
    model = helper.make_model(helper.make_graph(nodes, "norms", [], []))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    return OnnxModel(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("subtract", "problems"),
    [
        (True, ["plain: it subtracts no mean, the model's the mean"]),
        (False, ["centred: it subtracts a mean, the model's none"]),
        (None, []),
    ],
)
def test_a_norm_of_another_kind_is_named(
    graph: OnnxModel, subtract: bool | None, problems: list[str]
) -> None:
    wanted = Architecture({}, frozenset({1e-5}), subtract)
    assert attribute_problems(graph, wanted) == problems


def test_another_epsilon_is_named(graph: OnnxModel) -> None:
    found = attribute_problems(graph, Architecture({}, frozenset({1e-6})))
    assert found == [
        f"{name}: epsilon is 1e-05, the model's is 1e-06" for name in ("centred", "plain")
    ]
