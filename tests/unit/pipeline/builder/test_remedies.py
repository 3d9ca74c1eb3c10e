"""What is advised if quantization has cost too much."""

from __future__ import annotations

import re
from typing import Any

import tomli
from pydantic import JsonValue

from pipeline.builder.params import ModelBuilderParams
from pipeline.builder.remedies import remedies, with_remedies
from pipeline.contract.result import Verdict


def keys(**built: Any) -> list[str]:
    return [advice.partition(" (")[0] for advice in remedies(built)]


def test_what_costs_least_comes_first() -> None:
    params = ModelBuilderParams(algorithm="default", block_size=128).model_dump(mode="json")
    assert keys(**params) == [
        'algorithm = "k_quant"',
        "block_size = 32",
        'algorithm = "k_quant_last"',
        'algorithm = "k_quant_mixed"',
        'precision = "int8"',
    ]


def test_what_a_build_has_is_not_advised() -> None:
    assert keys(precision="int4", algorithm="k_quant", block_size=32)[0].endswith('_last"')
    assert keys(precision="int4", algorithm="k_quant_mixed") == ['precision = "int8"']
    assert keys(precision="int8", algorithm="default") == []
    assert keys() == []


def test_every_key_can_be_typed() -> None:
    for advice in remedies({"precision": "int4", "block_size": 256}):
        ModelBuilderParams.model_validate(tomli.loads(advice.partition(" (")[0]))
        assert re.search(r" \(.+\)$", advice)


def test_only_a_failed_verdict_on_what_was_lost_gets_advice() -> None:
    lost = Verdict(name="accuracy_loss", status="failed", detail="0.9 before, 0.8 after")
    others = (
        lost.model_copy(update={"status": "passed"}),
        lost.model_copy(update={"name": "valid_answers"}),
    )
    built: dict[str, JsonValue] = {"precision": "int4", "algorithm": "default", "block_size": 32}
    advised, *rest = with_remedies((lost, *others), built)
    assert advised.detail.startswith(
        "0.9 before, 0.8 after; cheapest first, try [passes.gptq] before [passes.model_builder] "
        '(no more bytes, minutes of time), then in it algorithm = "k_quant" (2 % more bytes), '
    )
    (chosen,) = with_remedies((lost,), {**built, "integers_chosen": True})
    assert chosen.detail.startswith(
        "0.9 before, 0.8 after; in [passes.model_builder], cheapest first, try algorithm = "
    )
    assert tuple(rest) == others
    assert with_remedies((lost,), {"precision": "int8"}) == (lost,)
