"""``python -m tests.benchmarks.scale.plain.builder MODEL OUT PRECISION PROVIDER OPTION...``: build.

What the model builder's command line does, with cosines and sines that are the same on every CPU,
as in Quern's pass: without that, the rotary tables differ in the last bit.
"""

from __future__ import annotations

import inspect
import sys
import tempfile

from onnxruntime_genai.models.builder import create_model, parse_extra_options

from pipeline.weights.arithmetic import SameBits


def main(model: str, out: str, precision: str, provider: str, *options: str) -> None:
    """Build into the folder ``out``."""
    with tempfile.TemporaryDirectory() as cache:
        where = (None, model, out, precision, provider, cache)
        if "kv_items" in inspect.signature(parse_extra_options).parameters:  # up to 0.13
            parsed = parse_extra_options(list(options), provider)
        else:
            parsed = parse_extra_options(*where, list(options))
        with SameBits():
            create_model(*where, **parsed)


if __name__ == "__main__":
    main(*sys.argv[1:])
