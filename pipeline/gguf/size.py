"""What a GGUF file's tensors will be as those of a checkpoint, for estimates."""

from __future__ import annotations

from pipeline.contract.space import Weights
from pipeline.gguf.header import GgufHeader

_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
_NAMES = {_EMBEDDING: "embed_tokens.weight", _OUTPUT: "lm_head.weight"}


def weights_of(header: GgufHeader, size: int) -> Weights:
    """Return the tensors of a file of ``size`` bytes, embedding and output layer by the names that
    they have in a checkpoint."""
    context = int(header.number(f"{header.architecture}.context_length") or 0)
    rotated = int(header.number(f"{header.architecture}.rope.dimension_count") or 0)
    return Weights(
        shapes={_NAMES.get(name, name): tensor.shape for name, tensor in header.tensors.items()},
        tied=_OUTPUT not in header.tensors,
        bytes=size,
        rotary=context * rotated,
    )
