"""What the model builder's parameters mean where nothing is said."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.builder.options import requested_options
from pipeline.builder.params import ModelBuilderParams
from pipeline.builder.supported import option_problems


@pytest.mark.parametrize(
    ("given", "algorithm", "embedding"),
    [
        ({}, "k_quant", "int8"),
        ({"precision": "int8"}, "default", "int8"),
        ({"precision": "fp32"}, None, None),
        ({"execution_provider": "cuda"}, "k_quant", "float"),
        ({"execution_provider": "cuda", "bf16_io": True}, "default", "float"),
        ({"execution_provider": "dml"}, "k_quant", "float"),
        ({"execution_provider": "webgpu", "fp32_io": True}, "k_quant", "int8"),
        ({"op_types": ["MatMul", "Gather"]}, "k_quant", "int4"),
        ({"algorithm": "rtn", "embedding": "float"}, "rtn", "float"),
    ],
)
def test_what_is_left_open_follows_from_precision_and_target(
    given: dict[str, Any], algorithm: str | None, embedding: str | None
) -> None:
    params = ModelBuilderParams.model_validate(given)
    assert (params.algorithm, params.embedding) == (algorithm, embedding)
    again = ModelBuilderParams.model_validate(params.model_dump(mode="json"))
    assert again == params


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"op_types": ["Gather"]}, "op_types without MatMul"),
        ({"execution_provider": "dml", "embedding": "int8"}, "DirectML has no kernel"),
        ({"execution_provider": "cuda", "fp32_io": True}, "only the webgpu target has it"),
        (
            {"execution_provider": "cuda", "bf16_io": True, "algorithm": "k_quant"},
            "k_quant has no bf16",
        ),
        (
            {"execution_provider": "cuda", "bf16_io": True, "embedding": "int8"},
            "with bf16_io it stays in floats",
        ),
        ({"precision": "fp32", "embedding": "int8"}, "only int4 and int8 are quantized"),
    ],
)
def test_what_cannot_be_built_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ModelBuilderParams.model_validate(given)


def test_what_does_not_fit_the_model_is_refused() -> None:
    shared = ModelBuilderParams(shared_embeddings=True)
    found = [key for key, *_ in option_problems({"tie_word_embeddings": False}, shared)]
    assert found == ["shared_embeddings"]
    assert not [*option_problems({"tie_word_embeddings": True}, shared)]
    found = [key for key, *_ in option_problems({"hidden_size": 24}, ModelBuilderParams())]
    assert found == ["embedding"]
    assert not [*option_problems({"hidden_size": 48}, ModelBuilderParams())]


def test_directml_shares_no_rows_that_it_cannot_look_up() -> None:
    asked = requested_options(ModelBuilderParams(execution_provider="dml"))
    assert asked["shared_embeddings"] == "false"
    assert "shared_embeddings" not in requested_options(ModelBuilderParams())


@pytest.mark.parametrize(
    ("given", "written"),
    [({}, 0), ({"threads": 3}, 3), ({"execution_provider": "cuda"}, None)],
)
def test_an_artifact_for_a_cpu_asks_for_one_thread_per_core(
    given: dict[str, Any], written: int | None
) -> None:
    assert ModelBuilderParams.model_validate(given).session_threads == written
