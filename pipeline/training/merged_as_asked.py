"""What a merged model must be: the base, but for what the adapter changes.

Each function returns one sentence per difference; none if there is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.contract.space import is_embedding
from pipeline.evaluation.settings import shipped
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.differences import file_differences, json_differences
from pipeline.training.checkpoint_files import REWRITTEN, other_files
from pipeline.weights.deferred import Deferred
from pipeline.weights.stored import stored_tensors

_ANSWERS = "generation_config.json"
_OF_THE_WRITER = {
    *("_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype"),
    *("transformers_version", "use_cache", "_from_model_config"),
}
"""Settings that decide nothing of what a model computes: who wrote it, with what, in which
format."""
_SMALL = 1e-2
"""A weight below this may be off by the rounding of a number of this size: sums cancel."""
_HEAD, _TIED = "lm_head", "tie_word_embeddings"


def file_problems(merged: Path, base: Path, changed: Collection[str]) -> list[str]:
    """Compare what lies beside the weights: config and settings of answers by what transformers
    reads there, the tokenizer, the chat template and all else by their bytes.

    Embedding and output layer need not be one tensor any more if they are of the layers that are
    ``changed``. Raises whatever transformers raises for a config that it does not know.
    """
    ours, theirs = _config(merged), _config(base)
    if any(is_embedding(layer) or layer.endswith((_HEAD, "wte")) for layer in changed):
        ours = {**ours, _TIED: theirs.get(_TIED)}
    return [
        *(f"config.json: {text}" for text in _differences(ours, theirs)),
        *_of_answers(merged, base),
        *_of_other_files(merged, base),
    ]


def weight_problems(
    merged: Path,
    base: Path,
    changed: Collection[str],
    expected: Mapping[str, Deferred],
    *,
    dequantized: bool,
) -> list[str]:
    """Compare all tensors, in the format of the merged model: those of layers that are not
    ``changed`` with the base's, bit for bit, and others with ``expected``, where they are there,
    within a rounding.

    ``dequantized`` says that the base's matrices were quantized on the way, but for embeddings.
    """
    stored = stored_tensors(base)
    found: list[str] = []
    for name, tensor in stored_tensors(merged).items():
        rounded = dequantized and tensor.dim() > 1 and not is_embedding(name)
        alone = not rounded and not _is_of(name, changed)
        wanted = stored.get(name) if alone else expected.get(name)
        if wanted is not None:
            found += _of_tensor(name, tensor.computed(), wanted.computed(), exact=alone)
    return found


def has_other_names(merged: Path, base: Path) -> bool:
    """Return whether the merged model has tensors under names that the base does not know, but for
    an output layer of its own."""
    names = {name for name in stored_tensors(merged) if not name.startswith(_HEAD)}
    return not names <= stored_tensors(base).keys()


def _of_tensor(name: str, ours: Any, theirs: Any, *, exact: bool) -> Iterator[str]:
    import torch

    if ours.shape != theirs.shape:
        yield f"{name} is of shape {tuple(ours.shape)}, not {tuple(theirs.shape)}"
        return
    theirs = theirs.to(ours.dtype)
    if torch.equal(ours, theirs):  # nearly always: then no copy in fp32 is made
        return
    near = 0.0 if exact else 2 * torch.finfo(ours.dtype).eps
    mine, wanted = ours.float(), theirs.float()
    far = (mine - wanted).abs() > near * wanted.abs().clamp(min=_SMALL)
    if count := int(far.sum()):
        yield f"{name}: {count} of {ours.numel()} weights are others"


def _is_of(name: str, changed: Collection[str]) -> bool:
    """Return whether the tensor ``name`` belongs to a layer of ``changed``, or may share the tensor
    of one: embedding and output layer often are one."""
    layer = name.rpartition(".")[0]
    ends = {_HEAD} if is_embedding(name) else set()
    return not {layer, *ends}.isdisjoint({*changed, *map(_inner, changed)})


def _inner(layer: str) -> str:
    """Return the name of a layer in a checkpoint that was saved without its outer module."""
    return layer.partition(".")[2] or layer


def _config(folder: Path) -> Mapping[str, Any]:
    from transformers import AutoConfig

    found = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return dict(found.to_dict())


def _of_answers(merged: Path, base: Path) -> Iterator[str]:
    from transformers import GenerationConfig

    ours, theirs = Checkpoint(merged), Checkpoint(base)
    if ours.end_ids != theirs.end_ids:
        yield f"answers end at {list(ours.end_ids)}, those of the base at {list(theirs.end_ids)}"
    if (base / _ANSWERS).is_file() and (merged / _ANSWERS).is_file():
        both = (GenerationConfig.from_pretrained(folder).to_dict() for folder in (merged, base))
        yield from (f"{_ANSWERS}: {text}" for text in _differences(*both))
    elif shipped(ours.generation_config) != shipped(theirs.generation_config):
        yield f"{_ANSWERS} says of answers what the base's does not"


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    mine, wanted = (
        {name: value for name, value in one.items() if name not in _OF_THE_WRITER}
        for one in (ours, theirs)
    )
    return json_differences(mine, wanted)


def _of_other_files(merged: Path, base: Path) -> Iterator[str]:
    ours, theirs = (
        {path.name: path for path in other_files(folder) if path.name not in REWRITTEN}
        for folder in (merged, base)
    )
    yield from (f"{name} is missing" for name in sorted(theirs.keys() - ours.keys()))
    yield from (f"{name} should not be there" for name in sorted(ours.keys() - theirs.keys()))
    for name in sorted(ours.keys() & theirs.keys()):
        yield from file_differences(ours[name], theirs[name])
