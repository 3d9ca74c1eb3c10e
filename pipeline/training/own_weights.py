"""Transformers' model with the weights of an artifact: only its graph and the runtime are between
the two, no rounding of weights.

What rounding does to predictions depends on the model: one that guesses guesses otherwise after it.
What a graph does wrongly shows beside this model whatever the weights are.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.contract.space import count, is_embedding
from pipeline.onnx.adapter_file import adapter_file, read_adapter
from pipeline.onnx.adapter_inputs import branches
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.dequantize import Matrix, embedding, matrices
from pipeline.onnx.graph import OnnxModel
from pipeline.onnx.origins import Origin, Origins
from pipeline.training.streamed import deferred_model, streamed
from pipeline.weights.deferred import Deferred
from pipeline.weights.files import weight_files
from pipeline.weights.stored import stored_tensors

_HEAD = "lm_head.weight"
_EXACT = 8
"""Bits per weight from which on an embedding is the checkpoint's, so that the graph's is compared
with it: by half a percent they are the same."""

Rows = tuple[Matrix, Origin, Callable[[], Any] | None]
"""Rows of a matrix, and what an adapter adds to it, if one does."""


def with_weights_of(artifact: OnnxModel, checkpoint: Path) -> Any:
    """Return the model of ``checkpoint`` in fp32 with the matrices of ``artifact`` in place of its
    own, and what the adapter beside it adds to them. Its layers have their weights only while they
    run.

    Raises ``ValueError`` where it cannot have them: a matrix is of unknown origin or stored in
    another way, or transformers knows no such model.
    """
    from transformers import AutoConfig

    if not weight_files(checkpoint):
        raise ValueError("the checkpoint's weights are pickled")
    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)
    stored = stored_tensors(checkpoint)
    weights = {name: tensor.to(torch.float32) for name, tensor in stored.items()}
    known = Checkpoint(checkpoint)
    replaced = _by_tensor(artifact, known)
    table = next(iter(known.tensors.embedding), None)
    if table is not None and _HEAD not in stored and _HEAD in replaced:
        # One tensor there, and two that are rounded apart here, or only one that is.
        weights[_HEAD] = weights[table]
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
    for name, rows in replaced.items():
        weights[name] = Deferred.of(weights[name].like, _reader(weights[name], rows))
    return streamed(deferred_model(config, weights)).eval()


def _by_tensor(artifact: OnnxModel, checkpoint: Checkpoint) -> dict[str, Sequence[Rows]]:
    """Return which rows of which matrices stand for each of the checkpoint's tensors."""
    origins = Origins(checkpoint)
    found: dict[str, list[Rows]] = defaultdict(list)
    known = 0
    added = _added(artifact)
    for matrix in matrices(artifact):
        for origin in origins.of(matrix.name, matrix.shape[0]):
            if checkpoint.shapes[origin.tensor][1] == matrix.shape[1]:
                name = _HEAD if is_embedding(origin.tensor) else origin.tensor
                found[name].append((matrix, origin, added.get(matrix.name)))
                known += origin.count * matrix.shape[1]
    if known != count(checkpoint.linear.values()):
        raise ValueError("not all matrices of the graph are known to be some of the checkpoint's")
    look_up = embedding(artifact)
    if look_up is not None and look_up.bits < _EXACT:
        (table,) = checkpoint.tensors.embedding
        rows = look_up.shape[0]
        found[table].append((look_up, Origin("embedding", 0, rows, table, 0), None))
    return dict(found)


def _added(artifact: OnnxModel) -> dict[str, Callable[[], Any]]:
    """Return what the adapter beside ``artifact`` adds to its matrices, by their names."""
    file = adapter_file(artifact.path.parent)
    if file is None:
        return {}
    weights = read_adapter(file)
    return {
        branch.matrix.name: functools.partial(branch.change, artifact, weights)
        for branch in branches(artifact)
    }


def _reader(stored: Deferred, rows: Sequence[Rows]) -> Callable[[], torch.Tensor]:
    def read() -> torch.Tensor:
        tensor = stored.computed().clone()
        for matrix, origin, added in rows:
            part = slice(origin.tensor_first, origin.tensor_first + origin.count)
            ours = torch.from_numpy(matrix.rows(origin.first, origin.count))
            tensor[part] = ours[:, : tensor.shape[1]]  # the last block of a row may be longer
            if added is not None:
                change = added()[origin.first : origin.first + origin.count]
                tensor[part] += torch.from_numpy(change).to(tensor.dtype)
        return tensor

    return read
