"""``python -m tests.benchmarks.peers.programs.gguf_quantize IN OUT TYPE``: what
`llama-quantize` does."""

from __future__ import annotations

import ctypes
import os
import sys

from tests.benchmarks.peers.programs.libllama import FTYPES, library


def main(source: str, out: str, name: str) -> None:
    """Write the file ``out``."""
    llama = library()
    params = llama.llama_model_quantize_default_params()
    params.ftype = FTYPES[name]
    params.allow_requantize = True
    code = llama.llama_model_quantize(os.fsencode(source), os.fsencode(out), ctypes.byref(params))
    sys.exit(int(code))


if __name__ == "__main__":
    main(*sys.argv[1:])
