"""Checks that a local folder is a model that the passes can load, before any container starts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pipeline.builder.params import ModelBuilderParams
from pipeline.builder.supported import Supported, option_problems, shape_problems, unsupported
from pipeline.contract.errors import StepError
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.reading.json_text import read_json
from pipeline.training.shapes import AdapterShape
from pipeline.weights.files import INDEX_FILE, SINGLE_FILE, StoredTensor, tensors_of, weight_files
from targets.config.paths import is_file, is_folder, is_there

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
_NEEDS_SENTENCEPIECE = "tokenizer.model"
_SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")

_OUTPUT_LAYER = "lm_head.weight"
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
"""Ends of the names that token embeddings have, of shape (tokens, width)."""
_CHUNK = 1 << 20

_OTHER_INPUTS = ("vision_config", "audio_config", "visual")
"""Settings of a config that describe what reads images or sound."""
_NO_LANGUAGE_MODEL = re.compile(
    r"For(Sequence|Token|Image|Audio)Classification$|ForQuestionAnswering$|ForMaskedLM$"
    r"|ForMultipleChoice$|ForPreTraining$|ForConditionalGeneration$|(?<!LMHead)(?<!GLM)Model$"
)
"""Architectures, by transformers' names, of encoders, classifiers and models without a head."""

_NUMBERS = (
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "vocab_size",
)
_TABLES = ("rope_parameters", "rope_scaling")
_MOST = 1 << 40
"""More than any model has of anything."""

_MLFLOW = ("data/model", "model")
"""Subfolders in which MLflow's transformers flavour stores the checkpoint."""


def checkpoint_folder(folder: Path) -> Path:
    """Return the folder of the checkpoint: ``folder``, or a subfolder if it is an MLflow model."""
    if is_file(folder / "MLmodel") and not (folder / "config.json").is_file():
        inside = (folder / place for place in _MLFLOW)
        return next((place for place in inside if (place / "config.json").is_file()), folder)
    return folder


def folder_with_links(folder: Path) -> Path:
    """Return the folder that holds ``folder`` and what its links lead to.

    In the cache of the Hugging Face hub that is the repository's folder: the files of
    ``snapshots/REVISION`` are links to ``blobs``
    (https://huggingface.co/docs/huggingface_hub/guides/manage-cache). Any other is ``folder``.
    """
    for above in folder.parents:
        if above.name == "snapshots" and (above.parent / "blobs").is_dir():
            return above.parent if _links_out_of(folder, folder) else folder
    return folder


def links_out_of(folder: Path) -> list[str]:
    """Return the names of the links of ``folder`` that lead out of what is mounted of it."""
    outside = _links_out_of(folder, folder_with_links(folder))
    return sorted(path.relative_to(folder).as_posix() for path in outside)


def model_folder_problems(
    folder: Path, weights: Literal["safetensors", "any"]
) -> Iterator[tuple[str, str]]:
    """Yield (problem, remedy) for every reason why ``folder`` is not a usable model."""
    if not is_there(folder):
        yield (
            f"there is no '{folder}'",
            "a local model is a folder; a hub model is 'hf:org/name@rev'",
        )
        return
    if not is_folder(folder):
        yield f"'{folder}' is not a folder", "name the folder that holds config.json"
        return
    dangling = sorted(path.name for path in folder.iterdir() if not path.exists())
    if dangling:
        yield (
            f"its links lead nowhere: {', '.join(dangling)}",
            "copy the folder with what it links to, e.g. `cp -rL`",
        )
        return
    if outside := links_out_of(folder):
        yield (
            f"its links lead out of it, where no container sees: {', '.join(outside)}",
            "copy the folder with what it links to, e.g. `cp -rL`",
        )
    config = _json_object(folder / "config.json")
    yield from _config_problems(folder, config)
    try:
        tensors = tensors_of(folder)
    except StepError as error:
        yield str(error), error.hint
        return
    yield from _weight_problems(folder, weights, tensors)
    yield from _tied_problems(config, tensors)
    yield from _tokenizer_problems(folder, tensors)


def adapter_problems(folder: Path, shape: AdapterShape) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what is wrong, what to do) where an adapter is for layers that the model in
    ``folder``, which is usable, does not have.

    Nothing is said before it is loaded of a model with pickled weights, or with a mixture of
    experts: transformers joins those into layers that the files do not have.
    """
    config = _json_object(folder / "config.json") or {}
    if any("expert" in key for key in config):
        return
    tensors = tensors_of(folder)
    if not tensors:
        return
    modules = {name.rpartition(".")[0] for name in tensors}
    linear = sorted(
        {
            name.removesuffix(".weight").rpartition(".")[2]
            for name, tensor in tensors.items()
            if len(tensor.shape) == 2 and not name.endswith(_EMBEDDINGS)
        }
    )
    for key, problem in shape.missing_modules(modules, ("target_modules", "exclude_modules")):
        yield key, problem, f"linear layers of this model: {', '.join(linear)}"


def builder_problems(folder: Path, known: Supported) -> Iterator[tuple[str, str]]:
    """Yield (problem, remedy) for each reason why a model builder that knows ``known`` cannot build
    the model in ``folder``, which is usable, or one that was fine-tuned from it."""
    yield from unsupported(_json_object(folder / "config.json") or {}, known)
    if weight_files(folder):
        yield from shape_problems(Checkpoint(folder))


def builder_option_problems(
    folder: Path, params: ModelBuilderParams
) -> Iterator[tuple[str, str, str]]:
    """Yield (key, problem, remedy) for each of ``params`` that does not fit the model in
    ``folder``, which is usable."""
    yield from option_problems(_json_object(folder / "config.json") or {}, params)


def _config_problems(folder: Path, config: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if not (folder / "config.json").is_file():
        yield "it holds no config.json", "is this a Hugging Face model folder?"
    elif config is None:
        yield "its config.json is not a JSON object", ""
    elif "model_type" not in config:
        yield "its config.json names no model_type", "is this a Hugging Face model folder?"
    elif (quantization := config.get("quantization_config")) is not None:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        yield (
            f"its weights are quantized already ({method or 'quantization_config'})",
            "name the model that was quantized: Quern trains on float weights, and quantizes them",
        )
    else:
        yield from _kind_problems(config)
        yield from _value_problems(config)
    if (folder / "adapter_config.json").is_file():
        yield (
            "it holds an adapter, which transformers would load over the weights",
            "move adapter_config.json and adapter_model.safetensors out of the folder",
        )


def _value_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a problem for each setting that is not of the kind that all who read it expect."""
    for name in (*_NUMBERS, *_TABLES):
        value = config.get(name)
        if value is None:
            continue
        fits = isinstance(value, dict) if name in _TABLES else _is_size(value)
        if not fits:
            kind = "an object" if name in _TABLES else "a whole number above 0"
            yield f"its config.json says {name} = {json.dumps(value)[:80]}, not {kind}", ""


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MOST


def _kind_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a problem with a model that does not go from text to its next token."""
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    other = next((key for key in _OTHER_INPUTS if config.get(key)), None)
    if other is not None:
        yield (
            f"{architecture or config['model_type']} takes more than text: it has a {other}",
            "name a model of text alone, such as the one that it was made from",
        )
    elif config.get("is_encoder_decoder"):
        yield (
            f"{architecture or config['model_type']} has an encoder and a decoder",
            "name a model that has a decoder alone, such as Llama, Qwen or Phi",
        )
    elif _NO_LANGUAGE_MODEL.search(architecture):
        yield (
            f"{architecture} is no causal language model: it gives no next token",
            "name a model whose architecture ends with ForCausalLM",
        )


def _weight_problems(
    folder: Path, weights: Literal["safetensors", "any"], tensors: Mapping[str, StoredTensor]
) -> Iterator[tuple[str, str]]:
    if tensors:
        return
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
        if weights == "safetensors":
            yield (
                "its weights are pickled, which can run code when loaded",
                'convert them to safetensors, or set weights = "any" in [model]',
            )
        return
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    yield (
        f"it holds no weights that transformers loads, only {', '.join(others)}"
        if others
        else "it holds no weights",
        f"expected {SINGLE_FILE}, or {INDEX_FILE} and the files that it names",
    )


def _tied_problems(
    config: Mapping[str, Any] | None, tensors: Mapping[str, StoredTensor]
) -> Iterator[tuple[str, str]]:
    """Yield a problem where config and weights disagree on the output layer: one program would use
    the embedding, another what the file holds."""
    embedding, output = _embedding(tensors), tensors.get(_OUTPUT_LAYER)
    if not config or config.get("tie_word_embeddings") is not True:
        return
    if embedding is not None and output is not None and not _same_bytes(embedding, output):
        yield (
            "its config.json says that the output layer is the embedding (tie_word_embeddings), "
            f"but {output.file.name} holds another {_OUTPUT_LAYER}",
            'set "tie_word_embeddings": false if that tensor is meant, else remove it',
        )


def _tokenizer_problems(
    folder: Path, tensors: Mapping[str, StoredTensor]
) -> Iterator[tuple[str, str]]:
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        if (folder / _NEEDS_SENTENCEPIECE).is_file():
            yield (
                f"its tokenizer is there as {_NEEDS_SENTENCEPIECE} alone",
                "save it as tokenizer.json: AutoTokenizer.from_pretrained(folder).save_pretrained",
            )
        else:
            yield "it holds no tokenizer", f"expected one of {', '.join(_TOKENIZER_FILES)}"
        return
    embedding = _embedding(tensors)
    if embedding is None:
        return
    ids = _token_ids(_json_object(folder / "tokenizer.json") or {})
    for name, token in _special_tokens(_json_object(folder / "tokenizer_config.json") or {}):
        if (number := ids.get(token)) is not None and number >= embedding.shape[0]:
            yield (
                f"its {name} {token!r} has the id {number}, but the model has "
                f"{embedding.shape[0]} tokens",
                "call model.resize_token_embeddings after adding a token, or name another token",
            )


def _special_tokens(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _SPECIAL_TOKENS:
        token = config.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str):
            yield name, text


def _token_ids(tokenizer: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the ids of the tokens that were added to a vocabulary."""
    added = tokenizer.get("added_tokens")
    return {
        str(token["content"]): token["id"]
        for token in (added if isinstance(added, list) else ())
        if isinstance(token, dict) and "content" in token and isinstance(token.get("id"), int)
    }


def _embedding(tensors: Mapping[str, StoredTensor]) -> StoredTensor | None:
    embeddings = [tensor for name, tensor in tensors.items() if name.endswith(_EMBEDDINGS)]
    return embeddings[0] if len(embeddings) == 1 and len(embeddings[0].shape) == 2 else None


def _same_bytes(one: StoredTensor, other: StoredTensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    with one.file.open("rb") as first, other.file.open("rb") as second:
        first.seek(one.begin)
        second.seek(other.begin)
        left = one.end - one.begin
        while left > 0:
            size = min(left, _CHUNK)
            if first.read(size) != second.read(size):
                return False
            left -= size
    return True


def _links_out_of(folder: Path, within: Path) -> list[Path]:
    """Return the links of ``folder`` that lead out of the folder ``within``."""
    real = within.resolve()
    return [path for path in folder.rglob("*") if not path.resolve().is_relative_to(real)]


def _json_object(path: Path) -> Mapping[str, Any] | None:
    """Return the JSON object in ``path``; ``None`` where there is none."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
