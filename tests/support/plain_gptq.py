"""Reads a checkpoint of the ``gptq`` pass by the readers of others, and says what they find.

Usage: ``python plain_gptq.py ROUNDED OUT``, run by a toolchain's Python in the project's root. The
model builder of GenAI reads the format by itself: ``OUT/model.onnx`` is what it makes of
``ROUNDED``, with no module of Quern's taking part.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from onnxruntime_genai.models.builder import create_model, parse_extra_options


def main(rounded: Path, out: Path) -> None:
    """Build."""
    with tempfile.TemporaryDirectory() as cache:
        source = (None, str(rounded), str(out), "int4", "cpu", cache)
        pairs = ["hf_token=false", "windowed_kv_cache=false"]
        create_model(*source, **parse_extra_options(*source, pairs))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
