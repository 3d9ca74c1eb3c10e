"""Parameters of the model builder. Free of any ML library."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from pipeline.builder.session_options import SessionOption, SessionValue, problem_with
from pipeline.contract.frozen import Frozen
from pipeline.contract.space import FORMATS, SpaceEstimate, Weights, count

SMALLEST_BLOCK = 16
"""Smallest number of weights that can share a scale."""

_QUANTIZED = ("int4", "int8")
_BITS = {"int4": 4, "int8": 8}
_GRAPH = 200_000
"""Approximate size of a graph without its weights, in bytes."""
_ONLY_QUANTIZED = (
    "block_size",
    "symmetric",
    "accuracy_level",
    "algorithm",
    "mixed_precision",
    "op_types",
    "embedding",
    "nodes_to_exclude",
)


Algorithm = Literal[
    "default", "rtn", "rtn_last", "k_quant", "k_quant_last", "k_quant_mixed", "k_quant_linear"
]
"""The builder's names of the ways to choose scales."""

SearchOption = Literal[
    "do_sample",
    "diversity_penalty",
    "early_stopping",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beams",
    "num_return_sequences",
    "past_present_share_buffer",
    "repetition_penalty",
    "temperature",
    "top_k",
    "top_p",
]
"""Search options of ``genai_config.json``:
https://onnxruntime.ai/docs/genai/reference/config.html"""


class ModelBuilderParams(Frozen):
    """Options of ``onnxruntime_genai``'s model builder. The planner fills in
    ``execution_provider``, and ``precision`` if the config does not set it."""

    precision: Literal["int4", "int8", "fp16", "bf16", "fp32"] = "int4"
    """Type of the weights. Each target allows some of them."""
    execution_provider: str = "cpu"
    """Execution provider that the graph is built for. Set by the target."""
    block_size: Literal[16, 32, 64, 128, 256] = 32
    """Weights that share one scale. 128 is smaller and up to 1.6 times faster to decode than 32,
    but less exact."""
    symmetric: bool = True
    """Quantize around zero; ``false`` keeps a zero point per block."""
    accuracy_level: Literal[1, 2, 3, 4] | None = None
    """Least precise number format allowed for the activations in a quantized product: 1 fp32,
    2 fp16, 3 bf16, 4 int8. Default: 4 on CPU, the kernel's choice elsewhere."""
    algorithm: Algorithm | None = None
    """How scales are chosen. ``default`` and ``rtn``: from the largest weight; ``k_quant``: by
    least squares, as in llama.cpp, which keeps small models and costs 2 % more bytes. ``_last``
    keeps the output layer in int8, ``_mixed`` the most sensitive layers too, ``_linear`` the output
    layer and linear attention. Default: ``k_quant`` for int4; ``default`` for int8, and with
    ``bf16_io``, which ``k_quant`` does not know."""
    mixed_precision: dict[
        Literal["last_matmul", "mixed_layers", "linear_attn"], Literal["int4", "int8"]
    ] = Field(default_factory=dict)
    """Groups of matrices with a width of their own, e.g. ``{ last_matmul = "int8" }``."""
    op_types: tuple[Literal["MatMul", "Gather"], ...] = ("MatMul",)
    """What is quantized: ``MatMul`` means the linear layers, ``Gather`` the embedding, as
    ``embedding = "int4"`` does."""
    embedding: Literal["float", "int8", "int4"] | None = None
    """Width of an embedding that shares no weights with the output layer. Default: ``int8`` for cpu
    and webgpu if the linear layers are quantized, a quarter of the bytes at an error of half a
    percent; elsewhere ``float``. Not for DirectML, which has no kernel for another."""
    nodes_to_exclude: tuple[str, ...] = ()
    """Names of nodes that stay in floating point, e.g. ``/lm_head/MatMul``. Each must exist."""
    shared_embeddings: bool | None = None
    """Store the weights of embedding and output layer once. Default: as in the model; ``true``
    needs a model that ties them."""
    fuse_qkv: bool = True
    """Join the query, key and value projections into one product."""
    prune_lm_head: bool = False
    """Compute only the logits of a prompt's last token: less work, but no log-probabilities of
    whole texts in one run."""
    include_hidden_states: bool = False
    """Also output the last hidden states."""
    cuda_graph: bool = False
    """Record the decoding step as a CUDA graph and replay it: fewer launches, but the cache has a
    fixed length. Only for cuda."""
    bf16_io: bool = False
    """Inputs, outputs and activations in bf16 instead of fp16, for models that overflow in fp16.
    Only for cuda with int4."""
    fp32_io: bool = False
    """Inputs, outputs and activations in fp32 instead of fp16, for GPUs and browsers that do not
    compute in fp16. Only for webgpu, which sets it; ``false`` halves the cache of keys and values,
    and what is not quantized."""
    threads: int | None = Field(default=None, ge=1)
    """Written as ``intra_op_num_threads`` into ``genai_config.json``. Default: ``0`` for a
    CPU, which means one for each core of the machine that runs it, where ONNX Runtime GenAI itself
    takes half of them; not written for other devices."""
    session: dict[SessionOption, SessionValue] = Field(default_factory=dict)
    """Further options of the session that runs the graph, by ONNX Runtime's names:
    ``{ "session.intra_op.allow_spinning" = false }``. Written into ``genai_config.json``."""
    search: dict[SearchOption, bool | int | float] = Field(default_factory=dict)
    """Default options of generation: ``{ max_length = 512, top_k = 10 }``. Written into
    ``genai_config.json``. Without ``do_sample``, sampling is off."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Set by ``[model]``."""
    extra_options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further options of the pinned builder, by its own names. Unknown options are errors."""

    def alternatives(self) -> Iterator[ModelBuilderParams]:
        """Yield all options with which the builder may be called for these parameters."""
        yield self

    @model_validator(mode="before")
    @classmethod
    def _choose(cls, table: Any) -> Any:
        """Fill in what follows from the precision and the target."""
        if not isinstance(table, dict):
            return table
        precision = table.get("precision", cls.model_fields["precision"].default)
        if precision not in _QUANTIZED:
            return table
        exact = precision == "int8" or table.get("bf16_io")
        in_int8 = table.get("execution_provider", "cpu") in ("cpu", "webgpu")
        wide = "int8" if in_int8 else "float"
        chosen = {
            "algorithm": "default" if exact else "k_quant",
            "embedding": "int4" if "Gather" in (table.get("op_types") or ()) else wide,
        }
        return {**table, **{key: value for key, value in chosen.items() if table.get(key) is None}}

    @field_validator("session")
    @classmethod
    def _as_the_runtime_reads(
        cls, session: dict[SessionOption, SessionValue]
    ) -> dict[SessionOption, SessionValue]:
        for name, value in session.items():
            problem = problem_with(name, value)
            if problem:
                raise ValueError(f"{name} {problem}, not {value!r}")
        return session

    @property
    def is_quantized(self) -> bool:
        """Return whether the weights are quantized."""
        return self.precision in _QUANTIZED

    @property
    def session_threads(self) -> int | None:
        """Return what is written as ``intra_op_num_threads``; ``None`` for nothing."""
        return 0 if self.threads is None and self.execution_provider == "cpu" else self.threads

    @property
    def rounding(self) -> str:
        """Return how scales are chosen, whatever is kept in int8: ``default``, ``rtn`` or
        ``k_quant``."""
        algorithm = self.algorithm or "default"
        return next(name for name in ("default", "rtn", "k_quant") if algorithm.startswith(name))

    @property
    def mixes_layers(self) -> bool:
        """Return whether some matrices of the layers have another width than the others."""
        mixed = "mixed_layers" in self.mixed_precision or "linear_attn" in self.mixed_precision
        return mixed or (self.algorithm or "").endswith(("_mixed", "_linear"))

    @property
    def has_zero_points(self) -> bool:
        """Return whether each block has a zero point: always with ``k_quant``."""
        return not self.symmetric or self.rounding == "k_quant"

    @property
    def embedding_bits(self) -> int | None:
        """Return the width of an embedding that shares no weights; ``None`` for floats."""
        return _BITS.get(self.embedding or "")

    @property
    def shares_embedding(self) -> bool:
        """Return whether the embedding of a model that ties it reads the output layer's weights:
        those of an int4 model, unless DirectML, which cannot look them up, or a parameter is
        against it."""
        head = any("lm_head" in name for name in self.nodes_to_exclude)
        usual = self.execution_provider != "dml" and not head
        wanted = usual if self.shared_embeddings is None else self.shared_embeddings
        return self.precision == "int4" and wanted

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the model folder: weights, graph and the files beside them."""
        model = inputs.get("model")
        if model is None or model.weights is None:
            return None
        other_files = model.kept - model.weights.bytes
        return SpaceEstimate(self.stored(model.weights) + _GRAPH + other_files)

    def stored(self, weights: Weights) -> int:
        """Return the size in bytes of the graph's weights, with scales and rotary tables."""
        linear, embedding = dict(weights.linear), weights.embedding
        others = weights.count - count(linear.values()) - count(embedding.values())
        if weights.tied:
            others += count(embedding.values())  # also in `linear`: subtracted twice
        number = self._number
        plain = number * (others + weights.rotary)
        if not self.is_quantized:
            return plain + number * (count(linear.values()) + count(embedding.values()))
        quantized = sum(self._quantized(name, *shape) for name, shape in linear.items())
        if not (weights.tied and self.shares_embedding):
            quantized += sum(self._rows(*shape) for shape in embedding.values())
        return plain + round(quantized)

    @property
    def _number(self) -> int:
        """Return the bytes per unquantized number."""
        if not self.is_quantized:
            return FORMATS[self.precision]
        in_fp32 = self.execution_provider == "cpu" or self.fp32_io
        return FORMATS["fp32" if in_fp32 else "fp16"]

    def _quantized(self, name: str, rows: int, columns: int) -> float:
        """Return the size in bytes of a matrix: its weights, and one scale per block."""
        return self._blocks(rows, columns, self._bits(name), self.has_zero_points)

    def _rows(self, rows: int, columns: int) -> float:
        """Return the size in bytes of an embedding of its own."""
        bits = self.embedding_bits
        if bits is None:
            return self._number * rows * columns
        return self._blocks(rows, columns, bits, bits == _BITS["int4"])

    def _blocks(self, rows: int, columns: int, bits: float, zero_points: bool) -> float:
        blocks = rows * math.ceil(columns / self.block_size)
        zeros = blocks * bits / 8 if zero_points else 0
        return blocks * self.block_size * bits / 8 + blocks * self._number + zeros

    def _bits(self, name: str) -> float:
        last = "lm_head" in name or "(tied)" in name
        wide = (self.algorithm or "").endswith(("_last", "_mixed", "_linear"))
        if last and (wide or self.mixed_precision.get("last_matmul") == "int8"):
            return 8
        mixed = self.algorithm == "k_quant_mixed" or "mixed_layers" in self.mixed_precision
        # About half of the layers keep two of their matrices in int8.
        return _BITS[self.precision] * (1.2 if mixed and self.precision == "int4" else 1)

    @model_validator(mode="after")
    def _no_idle_options(self) -> Self:
        if self.precision not in _QUANTIZED:
            fields = type(self).model_fields
            idle = [
                name
                for name in _ONLY_QUANTIZED
                # A plan holds every parameter, also defaults, so only values count.
                if getattr(self, name) != fields[name].get_default(call_default_factory=True)
            ]
            if idle:
                raise ValueError(
                    f"{', '.join(idle)}: only int4 and int8 are quantized, "
                    f"and precision is {self.precision}"
                )
        if self.mixed_precision and self.algorithm not in ("default", "rtn", "k_quant"):
            raise ValueError(
                f"algorithm {self.algorithm} sets its own mixed_precision; "
                "use default, rtn or k_quant with it"
            )
        if self.execution_provider != "cuda" and (self.cuda_graph or self.bf16_io):
            enabled = [name for name in ("cuda_graph", "bf16_io") if getattr(self, name)]
            raise ValueError(
                f"{', '.join(enabled)}: only the cuda target has it; set it below [targets.cuda]"
            )
        if self.execution_provider != "webgpu" and self.fp32_io:
            raise ValueError(
                "fp32_io: only the webgpu target has it; set it below [targets.webgpu]"
            )
        if "MatMul" not in self.op_types:
            raise ValueError("op_types without MatMul: the linear layers are what is quantized")
        if self.bf16_io and self.rounding == "k_quant":
            raise ValueError(f"algorithm {self.algorithm} has no bf16; with bf16_io use default")
        if self.bf16_io and self.embedding_bits is not None:
            raise ValueError("embedding: with bf16_io it stays in floats; leave it out")
        if self.embedding_bits is not None and self.execution_provider == "dml":
            raise ValueError(
                "embedding: DirectML has no kernel for a quantized one; leave it and Gather out, "
                "or set them below [targets.NAME] of the others"
            )
        if self.bf16_io and self.precision not in _QUANTIZED:
            raise ValueError(f"bf16_io: precision {self.precision} decides the type of the inputs")
        if any("," in name or not name.strip() for name in self.nodes_to_exclude):
            raise ValueError("nodes_to_exclude: each entry is one node name")
        return self
