"""Run by a toolchain's Python: makes tokens of a file's training rows, as a step before a training
does, and prints as JSON what that took.

Usage: ``python tokenized_rows.py FILE ROWS OUT``: how many of its training rows are tokenized.
``OUT/tokens`` then has as many rows as there are to train on, those again and again, and
``OUT/model`` a small model with their tokenizer.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow
from transformers import Phi3Config, Phi3ForCausalLM

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.data.look import look
from pipeline.data.parts import load_parts
from pipeline.data.tokenize import Codec, tokenize
from pipeline.training.corpus import train_tokenizer

_VOCABULARY = 16_000
_LEARNT = 5_000
"""Rows of which the tokenizer is made."""
_VALIDATED = 100
_LENGTH = 1024


def main() -> None:
    """Measure, write, and print."""
    file, count, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    tokens = out / "tokens"
    tokens.mkdir(parents=True)
    spec = DataSpec(path=file.name, prompt="{phrase}", completion="{tone}", label="tone")
    parts = load_parts(DataFiles("rows", spec, (file,)))
    rows = sum(look(parts).rows.values())
    texts = [example.text for example in parts.train[:_LEARNT]]
    tokenizer = train_tokenizer(texts, _VOCABULARY, _LENGTH)
    codec = Codec(tokenizer)
    tokenize(parts.train[:256], codec, _LENGTH)  # imports what is used for the first time
    began = time.perf_counter()
    made = tokenize(parts.train[:count], codec, _LENGTH, path=out / "made.arrow")
    made.rows.close()
    seconds = time.perf_counter() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    _repeat(out / "made.arrow", tokens / "training.arrow", len(parts.train))
    validated = tokenize(
        parts.validation[:_VALIDATED], codec, _LENGTH, path=tokens / "validation.arrow"
    )
    validated.rows.close()
    _save_model(tokenizer, out / "model")
    found = {
        "rows": rows,
        "trained": len(parts.train),
        "tokenized": len(made.rows),
        "tokens": sum(made.rows.lengths),
        "seconds": seconds,
        "peak_mb": peak_mb,
    }
    print(json.dumps(found))  # noqa: T201


def _repeat(made: Path, out: Path, count: int) -> None:
    """Write ``count`` rows, those of ``made`` again and again."""
    with pyarrow.ipc.open_stream(pyarrow.memory_map(str(made))) as stream:
        batches = list(stream)
        with pyarrow.ipc.new_stream(str(out), stream.schema) as written:
            while count > 0:
                for batch in batches:
                    written.write_batch(batch[: max(count, 0)])
                    count -= len(batch)


def _save_model(tokenizer: Any, folder: Path) -> None:
    """Write a model of two layers with random weights."""
    end = tokenizer.eos_token_id
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=_LENGTH,
        original_max_position_embeddings=_LENGTH,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    Phi3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
