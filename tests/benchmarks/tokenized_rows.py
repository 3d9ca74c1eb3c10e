"""Run by a toolchain's Python: makes training rows of a file, draws batches of them as a training
does, and prints as JSON what that took.

Usage: ``python tokenized_rows.py FILE ROWS``: how many of its training rows are tokenized.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from pathlib import Path

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.data.look import look
from pipeline.data.parts import load_parts
from pipeline.data.tokenize import Codec, tokenize
from pipeline.training.batches import PaddedBatches, PaddedRows
from pipeline.training.corpus import train_tokenizer

_VOCABULARY = 16_000
_LEARNT = 5_000
"""Rows of which the tokenizer is made."""
_BATCHES = 500
_BATCH = 8


def main() -> None:
    """Measure, and print."""
    file, count = Path(sys.argv[1]), int(sys.argv[2])
    spec = DataSpec(path=file.name, prompt="{phrase}", completion="{tone}", label="tone")
    parts = load_parts(DataFiles("rows", spec, (file,)))
    rows = sum(look(parts).rows.values())
    texts = [example.text for example in parts.train[:_LEARNT]]
    codec = Codec(train_tokenizer(texts, _VOCABULARY, 1024))
    tokenize(parts.train[:256], codec, 1024)  # imports what is used for the first time
    began = time.perf_counter()
    made = tokenize(parts.train[:count], codec, 1024)
    seconds = time.perf_counter() - began
    batches, trained = PaddedBatches(0), PaddedRows(made.rows)
    chance = random.Random(0)  # noqa: S311 - an order, no secret
    for _ in range(_BATCHES):
        batches([trained[chance.randrange(len(trained))] for _ in range(_BATCH)])
    found = {
        "rows": rows,
        "tokenized": len(made.rows),
        "tokens": sum(made.rows.lengths),
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
