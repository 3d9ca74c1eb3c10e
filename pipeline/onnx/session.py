"""Loads an artifact and generates with it through ``onnxruntime_genai``."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract.errors import ArtifactError, BeyondCpuError
from pipeline.contract.step import Inputs
from pipeline.evaluation.prefixes import common_prefix
from pipeline.evaluation.scores import Reply
from pipeline.onnx.continued_run import ContinuedRun, log_probabilities
from pipeline.onnx.errors import raising_artifact_errors
from pipeline.onnx.genai_config import GenAiConfig
from pipeline.onnx.reference import Reference

_RUNNING = "onnxruntime_genai cannot run the model"
_LOADING = "onnxruntime_genai cannot load the model"
_BEYOND_CPU = re.compile(r"Could not find an implementation.*|\w+ \(CPU\): .*not supported.*")
"""Parts of ONNX Runtime's messages for a node that no provider of the session has a kernel for, and
for one whose CPU kernel lacks what the other providers' have: norms of queries and keys within
``GroupQueryAttention``."""
_FIRST_TOKENS = 8


class Session:
    """A loaded model folder. Generation is greedy, so that a prompt always has the same answer."""

    def __init__(
        self,
        folder: Path,
        threads: int | None = None,
        cpu: bool = False,
        profile: Path | None = None,
    ) -> None:
        """Load ``folder``. Raises :class:`ArtifactError` with the runtime's own message, and
        :class:`BeyondCpuError` for a graph that the CPU provider lacks kernels for: in bf16, or
        with the norms of queries and keys that ``GroupQueryAttention`` of CUDA computes.

        ``threads`` replaces ``intra_op_num_threads`` for this session; ``None`` keeps the setting
        of the artifact. ``cpu`` runs it on the CPU whatever it was built for, so that the results
        of every target can be checked on a machine without its hardware. ``profile`` is the prefix
        of the path of a JSON trace of all kernels, which is complete when the session is deleted.
        """
        import numpy as np
        import onnxruntime_genai

        started = time.monotonic()
        if not cpu:
            _load_libraries(folder)
        with _raising_beyond_cpu(folder, cpu), raising_artifact_errors(_LOADING):
            config = onnxruntime_genai.Config(str(folder))
            if cpu:
                config.clear_providers()
            options: dict[str, int | str] = {}
            if threads is not None:
                options["intra_op_num_threads"] = threads
            if profile is not None:
                options["enable_profiling"] = str(profile)
            if options:
                decoder = {"session_options": options}
                config.overlay(json.dumps({"model": {"decoder": decoder}}))
            self.model: Any = onnxruntime_genai.Model(config)
            self.tokenizer: Any = onnxruntime_genai.Tokenizer(self.model)
            if cpu and _config(folder).provider != "cpu":
                # What some of its kernels lack, the CPU provider says only when they run.
                self.generator(2).append_tokens(np.zeros(1, dtype=np.int32))
        self.load_seconds = time.monotonic() - started
        self.rewinds = _config(folder).rewinds
        self.end_ids = frozenset(int(token) for token in self.tokenizer.eos_token_ids)

    def generator(self, max_length: int, min_length: int = 0) -> Any:
        """Return a fresh greedy generator for at most ``max_length`` tokens, prompt included.

        No end token is chosen before ``min_length`` tokens.
        """
        import onnxruntime_genai

        params = onnxruntime_genai.GeneratorParams(self.model)
        params.set_search_options(max_length=max_length, min_length=min_length, do_sample=False)
        return onnxruntime_genai.Generator(self.model, params)

    def untouched_generator(self, max_length: int) -> Any:
        """Return a fresh generator with the artifact's own search settings, for at most
        ``max_length`` tokens, prompt included."""
        import onnxruntime_genai

        params = onnxruntime_genai.GeneratorParams(self.model)
        params.set_search_options(max_length=max_length)
        return onnxruntime_genai.Generator(self.model, params)

    def stream(
        self,
        prompt: Sequence[int],
        max_new_tokens: int,
        never_end: bool = False,
        untouched: bool = False,
    ) -> Iterator[int]:
        """Yield new tokens one by one, including the end token if there is one.

        ``never_end`` keeps the model from ending early, so that there are ``max_new_tokens``.
        ``untouched`` leaves the artifact's own search settings as they are.
        """
        import numpy as np

        if max_new_tokens < 1:
            return
        longest = len(prompt) + max_new_tokens
        with raising_artifact_errors(_RUNNING):
            generator = (
                self.untouched_generator(longest)
                if untouched
                else self.generator(longest, longest if never_end else 0)
            )
            generator.append_tokens(np.asarray(prompt, dtype=np.int32))
        while not generator.is_done():
            with raising_artifact_errors(_RUNNING):
                generator.generate_next_token()
                token = int(generator.get_next_tokens()[0])
            yield token
            if token in self.end_ids and not never_end:
                return

    def logits(self, ids: Sequence[int], last: int) -> Any:
        """Return the logits after each of the ``last`` last tokens of ``ids``.

        Shape (last, vocabulary), float64. The tokens before them are run at once, like a prompt.
        """
        import numpy as np

        with raising_artifact_errors(_RUNNING):
            generator = self.generator(len(ids) + 1)
            first = len(ids) - last + 1
            generator.append_tokens(np.asarray(ids[:first], dtype=np.int32))
            rows = [np.array(generator.get_output("logits"), dtype=np.float64)[0, -1]]
            for token in ids[first:]:
                generator.append_tokens(np.asarray([token], dtype=np.int32))
                rows.append(np.array(generator.get_output("logits"), dtype=np.float64)[0, -1])
        return np.stack(rows)

    def first_step_problems(self) -> list[str]:
        """Run a few tokens through the model and return the problems of their logits.

        Several tokens, because the embedding of a padding token may be zero on purpose.
        """
        import numpy as np

        with raising_artifact_errors(_RUNNING):
            generator = self.generator(_FIRST_TOKENS + 1)
            generator.append_tokens(np.arange(_FIRST_TOKENS, dtype=np.int32))
            logits = np.asarray(generator.get_output("logits"), dtype=np.float64)
        wrong = int(logits.size - np.count_nonzero(np.isfinite(logits)))
        if wrong:
            return [f"{wrong} of {logits.size} logits are NaN or infinite"]
        return ["all logits are equal"] if np.ptp(logits) == 0 else []


def logits_of(inputs: Inputs, reference: Reference) -> list[Any]:
    """Return the artifact's logits for every row of ``reference``, through the CPU provider.

    A graph that the CPU cannot run (bf16) is run on its device. Raises :class:`BeyondCpuError` if
    that is absent, and :class:`ArtifactError`.
    """
    try:
        session = Session(inputs["artifact"], inputs.threads, cpu=True)
    except BeyondCpuError:
        if inputs.absent_device:
            raise
        session = Session(inputs["artifact"], inputs.threads)
    logits = []
    for done, row in enumerate(reference.rows, start=1):
        logits.append(session.logits(row.ids, len(row.logits)))
        inputs.report.progress(done, len(reference.rows), "rows")
    return logits


@contextmanager
def _raising_beyond_cpu(folder: Path, cpu: bool) -> Iterator[None]:
    """Distinguish a broken graph from one that the CPU cannot run because it is for another device.

    Turns errors inside the block into :class:`ArtifactError` or :class:`BeyondCpuError`.
    """
    try:
        yield
    except ArtifactError as error:
        lacking = _BEYOND_CPU.search(str(error)) if cpu else None
        if lacking is not None and _config(folder).provider != "cpu":
            why = f"the CPU provider cannot run this graph: {lacking[0]}"
            raise BeyondCpuError(why) from error
        raise


def _config(folder: Path) -> GenAiConfig:
    try:
        return GenAiConfig(folder)
    except ValueError as error:
        raise ArtifactError(str(error)) from error


def _load_libraries(folder: Path) -> None:
    """Load the CUDA libraries that were installed as wheels, which the loader does not find.

    https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#preload-dlls
    """
    if _config(folder).provider == "cuda":
        import onnxruntime

        onnxruntime.preload_dlls()


@dataclass(frozen=True)
class GenAiAnswerer:
    """The :class:`pipeline.evaluation.scores.Answerer` of an artifact."""

    session: Session

    def greedy(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[Reply]:
        """Return the greedy answer to each prompt, cut before the first end token."""
        return [self._reply(list(self.session.stream(ids, max_new_tokens))) for ids in prompts]

    def untouched(self, prompt: Sequence[int], max_new_tokens: int) -> Reply:
        """Return the answer with the artifact's own search settings, cut likewise."""
        return self._reply(list(self.session.stream(prompt, max_new_tokens, untouched=True)))

    def _reply(self, ids: list[int]) -> Reply:
        ended = bool(ids) and ids[-1] in self.session.end_ids
        return Reply(ids[:-1] if ended else ids, ended)

    def logprobs(
        self,
        prompts: Sequence[Sequence[int]],
        continuations: Sequence[Sequence[Sequence[int]]],
    ) -> list[list[list[float]]]:
        """Return the natural log-probability of each token of each continuation of each prompt."""
        if not prompts:
            return []
        size = common_prefix(prompts)
        ends = (len(one) for several in continuations for one in several)
        max_length = max(map(len, prompts)) + max(ends, default=0) + 1
        with raising_artifact_errors(_RUNNING):
            run = ContinuedRun(lambda: self.session.generator(max_length), self.session.rewinds)
            run.after(prompts[0][:size])
            found = []
            for prompt, several in zip(prompts, continuations, strict=True):
                run.back_to(size)
                first = run.after(prompt[size:])[-1:]
                found.append([self._logprobs(run, first, len(prompt), one) for one in several])
            return found

    def _logprobs(
        self, run: ContinuedRun, first: Any, size: int, continuation: Sequence[int]
    ) -> list[float]:
        """Return those of ``continuation`` after the ``size`` tokens of a prompt, after which the
        logits are ``first``."""
        import numpy as np

        run.back_to(size)
        given = continuation[:-1]
        rows = np.concatenate((first, run.after_each(given))) if given else first
        return log_probabilities(rows, continuation)
