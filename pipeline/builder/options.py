"""Determines which ``extra_options`` the installed model builder supports.

``onnxruntime_genai`` silently ignores unknown names, and renamed its quantization options between
0.13 and 0.16. So the names are read from the source of the builder: every constant that it looks up
in ``extra_options``.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.errors import StepError

OPTIONS = "builder_options"
"""Metric of an artifact with the options that the builder was given."""
CHOSEN = "integers_chosen"
"""Metric of an artifact: whether a pass chose its integers by what the model reads."""

_TABLES = frozenset({"extra_options", "kv_pairs"})
"""Names of the dictionaries in which the builder passes its options."""

_FORMER = {
    name: f"int4_{name}"
    for name in (
        "accuracy_level",
        "algo_config",
        "block_size",
        "is_symmetric",
        "nodes_to_exclude",
        "op_types_to_quantize",
    )
}
"""Names up to onnxruntime_genai 0.13."""

_SWITCHES = {
    "prune_lm_head": "prune_lm_head",
    "include_hidden_states": "include_hidden_states",
    "cuda_graph": "enable_cuda_graph",
    "bf16_io": "use_cuda_bf16",
    "fp32_io": "use_webgpu_fp32",
}
"""Parameters that are off by default, and the builder's name for each."""

_NO_QUANTIZED_ROWS = ("dml",)
"""Providers without a kernel that looks up quantized rows, as a shared embedding needs."""

_WINDOWED = "windowed_kv_cache"

RESERVED = {
    "adapter_path": "merge the adapter first: as separate MatMuls it is slower and less exact",
    "config_only": "the pass builds the whole model",
    "dflash2_path": "it names a file that the plan does not know",
    "dspark_path": "it names a file that the plan does not know",
    "exclude_embeds": "the model would take no text: it would be a part of another one",
    "exclude_lm_head": "the model would answer no text: it would be a part of another one",
    "filename": "the file is always model.onnx",
    "hf_details": "the builder fills it in",
    "hf_remote": "use trust_remote_code",
    "hf_token": "the pass reads a local checkpoint only",
    "kv_cache_scale_file": "it names a file that the plan does not know",
}
"""Options that cannot be set in ``extra_options``, and why."""


@cache
def known_options(builder: Path | None = None) -> frozenset[str]:
    """Return the option names that the builder in folder ``builder`` looks up.

    Default: the installed one. Raises :class:`StepError` if there is none.
    """
    folder = builder or _installed()
    names = {
        name
        for file in sorted(folder.rglob("*.py"))
        for name in _looked_up(ast.parse(file.read_bytes(), str(file)))
    }
    return frozenset(name for name in names if name.isidentifier() and not name.startswith("_"))


def requested_options(params: ModelBuilderParams) -> dict[str, str]:
    """Return the builder's options for ``params``, by their current names.

    Raises :class:`StepError` for an option that cannot be set in ``extra_options``.
    """
    options: dict[str, str] = {}
    if params.precision in ("int4", "int8"):
        options["block_size"] = as_text(params.block_size)
        options["is_symmetric"] = as_text(params.symmetric)
        options["algo_config"] = params.algorithm or "default"
        options["op_types_to_quantize"] = "MatMul"
        if params.accuracy_level is not None:
            options["accuracy_level"] = as_text(params.accuracy_level)
        if params.nodes_to_exclude:
            options["nodes_to_exclude"] = ",".join(params.nodes_to_exclude)
        if params.mixed_precision:
            options["matmul_mixed_precision"] = ",".join(
                f"{group}:{width}" for group, width in sorted(params.mixed_precision.items())
            )
    shared = params.shared_embeddings
    if shared is None and params.is_quantized and params.execution_provider in _NO_QUANTIZED_ROWS:
        shared = False
    if shared is not None:
        options["shared_embeddings"] = as_text(shared)
    for name, option in _SWITCHES.items():
        if getattr(params, name):
            options[option] = "true"
    if not params.fuse_qkv:
        options["fuse_qkv"] = "false"
    options |= {"hf_token": "false", "hf_remote": as_text(params.trust_remote_code)}
    for name, value in params.extra_options.items():
        if name in RESERVED:
            raise StepError(f"extra_options: {name}: {RESERVED[name]}", cause="bad_input")
        if name in options:
            raise StepError(
                f"extra_options: {name} has a parameter of its own; use that one",
                cause="bad_input",
            )
        options[name] = as_text(value)
    return options


def required_options(config: Mapping[str, Any], known: frozenset[str]) -> dict[str, str]:
    """Return the options that a model with ``config`` needs, of those in ``known``.

    The builder gives layers with a sliding window a cache as long as the window. In
    onnxruntime_genai 0.18 that fails wherever ``max_length`` is shorter ("KV cache capacity must be
    at least local_window_size"). With a cache of full length the same attention is computed.
    """
    if config.get("sliding_window") and _WINDOWED in known:
        return {_WINDOWED: "false"}
    return {}


def resolve(requested: Mapping[str, str], known: frozenset[str]) -> dict[str, str]:
    """Return ``requested`` under the names that the builder knows.

    Raises :class:`StepError` that names every option the builder would ignore.
    """
    resolved: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in requested.items():
        if name in known:
            resolved[name] = value
        elif _FORMER.get(name) in known:
            resolved[_FORMER[name]] = value
        else:
            near = difflib.get_close_matches(name, known, n=1)
            unknown.append(f"{name} (did you mean '{near[0]}'?)" if near else name)
    if unknown:
        raise StepError(
            f"this onnxruntime_genai does not know the option(s) {', '.join(unknown)}; "
            "it would ignore them silently",
            hint=f"it knows: {', '.join(sorted(known - RESERVED.keys()))}",
            cause="bad_input",
        )
    return resolved


def as_text(value: str | float | bool) -> str:
    """Return an option's value in the format of the builder's command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _installed() -> Path:
    spec = importlib.util.find_spec("onnxruntime_genai")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / "models" / "builder.py").is_file():
            return Path(place) / "models"
    raise StepError("onnxruntime_genai with its model builder is not installed")


def _looked_up(tree: ast.Module) -> Iterator[str]:
    """Yield the constants of ``t["x"]``, ``t.get("x")``, ``t.pop("x")`` and ``"x" in t``."""
    for node in ast.walk(tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and _is_table(node.value):
            key = node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"get", "pop", "setdefault"}
            and _is_table(node.func.value)
            and node.args
        ):
            key = node.args[0]
        elif (
            isinstance(node, ast.Compare)
            and isinstance(node.ops[0], ast.In | ast.NotIn)
            and _is_table(node.comparators[0])
        ):
            key = node.left
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def _is_table(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
    return name in _TABLES
