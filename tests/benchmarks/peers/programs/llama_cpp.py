"""Asks a GGUF file through llama.cpp."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.onnx.continued_run import log_probabilities
from tests.benchmarks.peers.programs.answering import Asked, chunks, main
from tests.benchmarks.peers.programs.libllama import Batch, library


class LlamaCpp:
    """The model in a context with llama.cpp's defaults."""

    def __init__(self, model: Path, asked: Asked) -> None:
        self._library = library()
        loaded = self._library.llama_model_load_from_file(
            os.fsencode(model), self._library.llama_model_default_params()
        )
        assert loaded, f"{model} cannot be loaded"
        params = self._library.llama_context_default_params()
        params.n_ctx = asked.room
        params.n_threads = params.n_threads_batch = asked.threads
        self._context = self._library.llama_init_from_model(loaded, params)
        assert self._context, f"{model} gets no context"
        vocabulary = self._library.llama_model_get_vocab(loaded)
        self._width = self._library.llama_vocab_n_tokens(vocabulary)

    def times(self, prompt: Sequence[int], new: int) -> Iterator[float]:
        """Answer with ``new`` tokens."""
        self._forget()
        given = prompt
        for _ in range(new):
            self._run(given, every=False)
            given = [int(np.argmax(self._rows(self._library.llama_get_logits_ith, -1, rows=1)))]
            yield time.perf_counter()

    def logprobs(self, text: Sequence[int]) -> Sequence[float]:
        """Read ``text``."""
        self._forget()
        rows = []
        for part in chunks(text):
            self._run(part, every=True)
            found = self._rows(self._library.llama_get_logits, rows=len(part))
            rows.append(found.astype(np.float64))
        return log_probabilities(np.concatenate(rows)[:-1], text[1:])

    def _forget(self) -> None:
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)

    def _run(self, ids: Sequence[int], every: bool) -> None:
        """Run ``ids`` after those before, with logits after ``every`` one or the last."""
        wanted = [every] * (len(ids) - 1) + [True]
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        batch = Batch(n_tokens=len(ids), token=tokens, logits=(ctypes.c_int8 * len(ids))(*wanted))
        code = self._library.llama_decode(self._context, batch)
        assert code == 0, f"llama_decode: {code}"

    def _rows(self, function: Any, *index: int, rows: int) -> np.ndarray[Any, Any]:
        """Return logits where the library has them, valid until it runs again."""
        return np.ctypeslib.as_array(function(self._context, *index), (rows, self._width))


if __name__ == "__main__":
    main(LlamaCpp)
