"""``python -m tests.benchmarks.peers.programs.text_ids CHECKPOINT TEXT``: print the token ids of a
file, by transformers' tokenizer of the checkpoint, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer


def main(checkpoint: str, text: str) -> None:
    """Print them."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ids = tokenizer(Path(text).read_text("utf-8"), add_special_tokens=False)["input_ids"]
    sys.stdout.write(f"\n{json.dumps(ids)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
