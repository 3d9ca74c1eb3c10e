"""Parameters of the ``fetch`` and ``pretrain`` passes. Free of any ML library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from pipeline.contract.frozen import Frozen
from pipeline.contract.space import FORMATS, Shape, SpaceEstimate, Weights, count

_TOKENIZER_ENTRY = 100
"""Approximate size of one token in a tokenizer's file, in bytes."""


class FetchParams(Frozen):
    """A model on the hub: its repository, commit and files."""

    repo: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
    """Name of the repository: ``microsoft/Phi-3-mini-4k-instruct``."""
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Commit of the repository, 40 hexadecimal digits, because branches and tags can change."""
    weights: Literal["safetensors", "any"] = "safetensors"
    """``any`` also fetches pickled weights, which can contain code, if there are no others."""
    trust_remote_code: bool = False
    """Fetch the Python files of the repository too."""
    file: str | None = None
    """The only file to fetch, if the model is in one file."""

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> None:
        """Return ``None``: only the hub knows the size."""


class PretrainParams(Frozen):
    """A Phi-3 shape, a tokenizer size and a training schedule; the defaults take about three
    quarters of a minute on two cores."""

    text: str
    """Text file, or folder of ``.txt`` files, to learn from; blank lines separate paragraphs."""
    vocab_size: int = Field(default=2048, ge=300, le=65536)
    """Tokens of the byte-level BPE tokenizer, including the 256 bytes and the special tokens."""
    hidden_size: int = Field(default=256, ge=32)
    intermediate_size: int = Field(default=768, ge=32)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    """Attention heads, each of size ``hidden_size / heads``."""
    key_value_heads: int | None = Field(default=None, ge=1)
    """Key and value heads (grouped-query attention); as many as ``heads`` by default."""
    context_length: int = Field(default=4096, ge=128)
    """Maximum number of positions."""
    tie_embeddings: bool = False
    """Share the weights of the embedding and of the output layer."""
    steps: int = Field(default=250, ge=1)
    save_steps: int | None = Field(default=None, ge=1)
    """Steps between two snapshots, with which an interrupted training goes on. Default: ten
    minutes. It changes nothing of the result, and no snapshot is kept once there is one."""
    batch_size: int = Field(default=8, ge=1)
    sequence_length: int = Field(default=128, ge=16)
    """Tokens per training sequence."""
    chat_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the sequences written as a chat: a sentence by the user, the next by the assistant.
    They teach the chat's special tokens; the rest is plain text."""
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=40, ge=0)
    weight_decay: float = Field(default=0.1, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _shape_fits(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}"
            )
        if (self.hidden_size // self.heads) % 16:
            # ONNX Runtime's GroupQueryAttention takes no other head size.
            raise ValueError("hidden_size / heads must be a multiple of 16")
        if self.heads % (self.key_value_heads or self.heads):
            raise ValueError(
                f"heads {self.heads} is not a multiple of key_value_heads {self.key_value_heads}"
            )
        if self.sequence_length > self.context_length:
            raise ValueError("sequence_length is longer than context_length")
        return self

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate:
        """Return the size of the checkpoint, which is in fp32."""
        del inputs
        shapes = self._shapes()
        head = self.hidden_size // self.heads
        stored = FORMATS["fp32"] * count(shapes.values())
        weights = Weights(shapes, self.tie_embeddings, stored, self.context_length * head)
        return SpaceEstimate(stored + _TOKENIZER_ENTRY * self.vocab_size, weights=weights)

    def _shapes(self) -> dict[str, Shape]:
        """Return the shapes of Phi-3's matrices; its vectors are negligible."""
        hidden, inner = self.hidden_size, self.intermediate_size
        shared = hidden // self.heads * (self.key_value_heads or self.heads)
        layer: dict[str, Shape] = {
            "qkv_proj": (hidden + 2 * shared, hidden),
            "o_proj": (hidden, hidden),
            "gate_up_proj": (2 * inner, hidden),
            "down_proj": (hidden, inner),
        }
        ends = ("embed_tokens",) if self.tie_embeddings else ("embed_tokens", "lm_head")
        return {
            **{f"{name}.weight": (self.vocab_size, hidden) for name in ends},
            **{
                f"layers.{number}.{name}.weight": shape
                for number in range(self.layers)
                for name, shape in layer.items()
            },
        }
