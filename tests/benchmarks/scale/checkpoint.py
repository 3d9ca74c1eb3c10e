"""Makes a checkpoint of the size of Phi-3-mini with random weights. Run by a toolchain's Python.

Usage: ``python -m tests.benchmarks.scale.checkpoint OUT [--layers N]`` writes the folder ``OUT``:
bf16 weights in shards, configs and a tokenizer. Weights do not matter for time and memory. They are
written one tensor at a time, so that the model is never whole in memory, and are always the same.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from math import prod, sqrt
from pathlib import Path

import torch
from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM

from pipeline.training.corpus import (
    END_OF_TEXT,
    END_OF_TURN,
    ROLE_TOKENS,
    read_paragraphs,
    train_tokenizer,
)

LAYERS = 32
SHARD_BYTES = 2_000_000_000
SEED = 0
TEXT = Path(__file__).parents[3] / "configs" / "base"
"""What the tokenizer is made of."""

_ITEM_BYTES = 2
_ALIGNMENT = 8
_SPREAD = 0.02
"""Standard deviation of most matrices, and of norms around 1."""
_ADDED = ("o_proj.weight", "down_proj.weight")
"""What these matrices give is added to the residual stream."""

Shapes = Mapping[str, tuple[int, ...]]


def main() -> None:
    """Write the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, default=LAYERS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_checkpoint(arguments.out, arguments.layers)


def write_checkpoint(out: Path, layers: int = LAYERS) -> None:
    """Write weights, configs and tokenizer into ``out``."""
    config = phi3_mini(layers)
    write_tokenizer(out, config)
    config.save_pretrained(out)
    GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=[config.eos_token_id, config.eos_token_id + 1],
        pad_token_id=config.pad_token_id,
    ).save_pretrained(out)
    write_weights(out, shapes_of(config), config.num_hidden_layers)


def phi3_mini(layers: int) -> Phi3Config:
    """Return the config of Phi-3-mini-4k with that many layers. Its first two tokens end a text and
    a turn, as :func:`~pipeline.training.corpus.train_tokenizer` numbers them."""
    return Phi3Config(
        vocab_size=32064,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=32,
        max_position_embeddings=4096,
        original_max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        architectures=["Phi3ForCausalLM"],
        dtype="bfloat16",
    )


def write_tokenizer(out: Path, config: Phi3Config) -> None:
    """Write a tokenizer as the shipped base model has it. Numbers that the text does not fill are
    placeholders, so that whatever a random model says can be decoded."""
    size = config.vocab_size
    tokenizer = train_tokenizer(read_paragraphs(TEXT), size, config.max_position_embeddings)
    names = [END_OF_TEXT, END_OF_TURN, *ROLE_TOKENS]
    assert tokenizer.convert_tokens_to_ids(names) == list(range(len(names)))
    tokenizer.save_pretrained(out)
    model = json.loads((out / "tokenizer.json").read_text("utf-8"))
    placeholders = {f"<placeholder{number}>": number for number in range(len(tokenizer), size)}
    model["model"]["vocab"] |= placeholders
    rewrite(out / "tokenizer.json", model)
    settings = json.loads((out / "tokenizer_config.json").read_text("utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # as transformers 4 calls it
    rewrite(out / "tokenizer_config.json", settings)


def shapes_of(config: Phi3Config) -> Shapes:
    """Return the shape of every weight, without making any."""
    with torch.device("meta"):
        model = Phi3ForCausalLM(config)
    return {name: tuple(weight.shape) for name, weight in model.named_parameters()}


def write_weights(out: Path, shapes: Shapes, layers: int) -> None:
    """Write random bf16 weights of those shapes as safetensors shards with their index.

    As in GPT-2 (section 2.3 of
    https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf),
    what is added to the residual stream gets smaller with the number of additions, and embeddings
    are as PyTorch makes them: layers refine what a token is, as those of a trained model do. With
    one spread for all, the error of int4 grew with every layer.
    """
    generator = torch.Generator().manual_seed(SEED)
    shards = list(shards_of(shapes))
    places = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        places.update(dict.fromkeys(shard, file))
        write_shard(out / file, shard, generator, layers)
    total = sum(map(size_of, shapes.values()))
    index = {"metadata": {"total_size": total}, "weight_map": places}
    rewrite(out / "model.safetensors.index.json", index)


def shards_of(shapes: Shapes) -> Iterator[Shapes]:
    """Yield the weights in their order, as many at a time as fit a shard."""
    shard: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if shard and sum(map(size_of, shard.values())) + size_of(shape) > SHARD_BYTES:
            yield shard
            shard = {}
        shard[name] = shape
    yield shard


def write_shard(path: Path, shapes: Shapes, generator: torch.Generator, layers: int) -> None:
    """Write one file in the form of https://github.com/huggingface/safetensors#format: the length
    of the header in 8 bytes, the header as JSON, the tensors."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + size_of(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            mean = 1.0 if len(shape) == 1 else 0.0
            weight = torch.empty(shape, dtype=torch.bfloat16)
            weight.normal_(mean, _spread_of(name, layers), generator=generator)
            file.write(memoryview(weight.view(torch.uint8).numpy()).cast("B"))


def _spread_of(name: str, layers: int) -> float:
    if name.endswith("embed_tokens.weight"):
        return 1.0
    return _SPREAD / sqrt(2 * layers) if name.endswith(_ADDED) else _SPREAD


def rewrite(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON as Hugging Face's libraries do."""
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def size_of(shape: tuple[int, ...]) -> int:
    """Return the bytes of a weight."""
    return prod(shape) * _ITEM_BYTES


if __name__ == "__main__":
    main()
