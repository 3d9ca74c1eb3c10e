"""Asks a model that optimum-intel exported through OpenVINO GenAI."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import openvino
import openvino_genai

from pipeline.onnx.continued_run import log_probabilities
from tests.benchmarks.peers.programs.answering import Asked, chunks, main


class OpenVino:
    """The model in a pipeline as its users make it. Text is read through the runtime below it, with
    the same settings, since the pipeline gives no logits."""

    def __init__(self, model: Path, asked: Asked) -> None:
        self._file = model / "openvino_model.xml"
        self._threads = {"INFERENCE_NUM_THREADS": asked.threads}
        self._pipeline = openvino_genai.LLMPipeline(str(model), "CPU", **self._threads)

    def times(self, prompt: Sequence[int], new: int) -> Iterator[float]:
        """Answer with ``new`` tokens."""
        clock = _Clock()
        config = openvino_genai.GenerationConfig(
            max_new_tokens=new, ignore_eos=True, do_sample=False
        )
        ids = np.asarray([prompt], dtype=np.int64)
        given = openvino_genai.TokenizedInputs(
            openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids))
        )
        self._pipeline.generate(given, config, clock)
        yield from clock.times

    def logprobs(self, text: Sequence[int]) -> Sequence[float]:
        """Read ``text``."""
        request = self._compiled.create_infer_request()
        read, rows = 0, []
        for part in chunks(text):
            ids = np.asarray([part], dtype=np.int64)
            given = {
                "input_ids": ids,
                "attention_mask": np.ones((1, read + len(part)), dtype=np.int64),
                "position_ids": np.arange(read, read + len(part), dtype=np.int64)[None],
                "beam_idx": np.zeros(1, dtype=np.int32),
            }
            rows.append(np.array(request.infer(given)["logits"][0], dtype=np.float64))
            read += len(part)
        return log_probabilities(np.concatenate(rows)[:-1], text[1:])

    @cached_property
    def _compiled(self) -> openvino.CompiledModel:
        return openvino.Core().compile_model(self._file, "CPU", self._threads)


class _Clock(openvino_genai.StreamerBase):  # type: ignore[misc]  # has no types
    """Notes when tokens come."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def write(self, tokens: int | Sequence[int]) -> openvino_genai.StreamingStatus:
        """Note the time of ``tokens``."""
        now = time.perf_counter()
        self.times += [now] * (1 if isinstance(tokens, int) else len(tokens))
        return openvino_genai.StreamingStatus.RUNNING

    def end(self) -> None:
        """Do nothing: all tokens were noted."""


if __name__ == "__main__":
    main(OpenVino)
