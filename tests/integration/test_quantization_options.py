"""Whatever the options of quantization ask for loads, and computes what the model computes.

Small models with random weights, one that ties embedding and output layer and one that does not.
The right logits are those of transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.support.warm_process import warm_output

Cases = Mapping[str, Mapping[str, Any]]

_FAR = {"int4": 0.45, "int8": 0.05}
"""Relative errors of logits that quantization of random weights explains; those of a model with
another embedding, or without scales, are about 1."""
_BESIDE = 0.05
"""The same, to transformers with the artifact's weights: the runtime rounds only activations, and
an embedding may be rounded to eight bits."""

# The graphs of the first three did not load, and of the others the builder crashed.
ODD: Mapping[str, Mapping[str, Any]] = {
    "asymmetric": {"algorithm": "default", "symmetric": False},
    "wide_output": {"algorithm": "default", "mixed_precision": {"last_matmul": "int8"}},
    "wide_asymmetric": {
        "algorithm": "default",
        "symmetric": False,
        "mixed_precision": {"last_matmul": "int8"},
    },
    "odd_blocks": {"algorithm": "k_quant", "block_size": 32},
    "half_blocks": {"algorithm": "rtn", "symmetric": False, "block_size": 64},
    "one_block": {"algorithm": "k_quant", "block_size": 128},
    "small_embedding": {"embedding": "int4"},
    "int8": {"precision": "int8"},
}
ALGORITHMS = ("default", "rtn", "rtn_last", "k_quant", "k_quant_last", "k_quant_mixed")
EVERY: Mapping[str, Mapping[str, Any]] = {
    **{
        f"{algorithm}-{symmetric}-{size}": {
            "algorithm": algorithm,
            "symmetric": symmetric,
            "block_size": size,
        }
        for algorithm, symmetric, size in product(
            ALGORITHMS, (True, False), (16, 32, 64, 128, 256)
        )
    },
    "linear": {"algorithm": "k_quant_linear"},
    **{
        f"{algorithm}-{group}-{symmetric}": {
            "algorithm": algorithm,
            "symmetric": symmetric,
            "mixed_precision": {group: "int8"},
        }
        for algorithm, group, symmetric in product(
            ("default", "rtn", "k_quant"),
            ("last_matmul", "mixed_layers", "linear_attn"),
            (True, False),
        )
    },
    **{
        f"{algorithm}-int8-{symmetric}": {
            "precision": "int8",
            "algorithm": algorithm,
            "symmetric": symmetric,
        }
        for algorithm, symmetric in product(("default", "rtn", "k_quant"), (True, False))
    },
    **{f"accuracy-{level}": {"accuracy_level": level} for level in (1, 2, 3, 4)},
    **{f"apart-{width}": {"shared_embeddings": False, "embedding": width}
       for width in ("float", "int8", "int4")},
    **{f"embedding-{width}": {"embedding": width} for width in ("float", "int8", "int4")},
    "gather": {"op_types": ["MatMul", "Gather"]},
    "gather-default": {"op_types": ["MatMul", "Gather"], "algorithm": "default"},
    "excluded": {"nodes_to_exclude": ["/lm_head/MatMul"]},
    "excluded-apart": {"nodes_to_exclude": ["/lm_head/MatMul"], "shared_embeddings": False},
    "not_fused": {"fuse_qkv": False},
    "pruned": {"prune_lm_head": True},
}  # fmt: skip


def found(python: Path, checkpoint: Path, out: Path, cases: Cases) -> Mapping[str, Any]:
    """Return what `quantization_options.py` finds of ``cases``, with and without tied weights."""
    both = {
        f"{name}-{'tied' if tied else 'apart'}": {"tied": tied, "params": params}
        for name, params in cases.items()
        for tied in (True, False)
    }
    script = "tests.support.quantization_options"
    warm_output(python, script, checkpoint, out, json.dumps(both))
    read: Mapping[str, Any] = json.loads((out / "found.json").read_text())
    assert read.keys() == both.keys()
    return read


def assert_right(results: Mapping[str, Any], cases: Cases) -> None:
    wrong = {}
    for name, result in results.items():
        params = cases[name.rpartition("-")[0]]
        limit = _FAR[str(params.get("precision", "int4"))]
        if not (result.get("distance", 9) < limit and result["beside"] < _BESIDE):
            wrong[name] = result
    assert not wrong


def test_odd_options_build_what_loads(toolchain_python: Path, tiny: Path, tmp_path: Path) -> None:
    results = found(toolchain_python, tiny / "checkpoint", tmp_path, ODD)
    assert_right(results, ODD)
    # Nothing was done the long way round, and the embedding's floats are gone.
    assert not [name for name, result in results.items() if result["warnings"]]
    assert results["small_embedding-apart"]["bytes"] < results["odd_blocks-apart"]["bytes"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_option_builds_what_loads(toolchain_python: Path, tiny: Path, tmp_path: Path) -> None:
    assert_right(found(toolchain_python, tiny / "checkpoint", tmp_path, EVERY), EVERY)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_option_of_the_older_builder_builds_what_loads(
    directml_python: Path, tiny: Path, tmp_path: Path
) -> None:
    cases = {
        f"{algorithm}-{symmetric}-{shared}": {
            "execution_provider": "dml",
            "algorithm": algorithm,
            "symmetric": symmetric,
            "shared_embeddings": shared,
        }
        for algorithm in ALGORITHMS
        for symmetric in (True, False)
        for shared in (None, False)
    }
    assert_right(found(directml_python, tiny / "checkpoint", tmp_path, cases), cases)
