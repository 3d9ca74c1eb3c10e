"""Loads an artifact and generates with it through ``onnxruntime_genai``."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.contract.errors import ArtifactError, BeyondCpuError, StepError
from pipeline.evaluation.settings import GREEDY
from pipeline.onnx.adapter_file import adapter_file
from pipeline.onnx.emulation import emulate_vulkan
from pipeline.onnx.errors import RUNNING, raising_artifact_errors
from pipeline.onnx.genai_config import GenAiConfig
from pipeline.onnx.plugin import load_plugin
from pipeline.process.cpus import usable_cpus

if TYPE_CHECKING:
    from pipeline.contract.guidance import Guidance
    from pipeline.contract.step import Inputs
    from pipeline.onnx.reference import Reference

_LOADING = "onnxruntime_genai cannot load the model"
_BEYOND_CPU = re.compile(r"Could not find an implementation.*|\w+ \(CPU\): .*not supported.*")
"""Parts of ONNX Runtime's messages for a node that no provider of the session has a kernel for, and
for one whose CPU kernel lacks what the other providers' have: norms of queries and keys within
``GroupQueryAttention``."""
_GRAMMAR = "Error creating grammar"
_FIRST_TOKENS = 8


class Session:
    """A loaded model folder. Generation is greedy, so that a prompt always has the same answer."""

    def __init__(
        self,
        folder: Path,
        threads: int | None = None,
        cpu: bool = False,
        profile: Path | None = None,
        adapted: bool = True,
        emulated: bool = False,
    ) -> None:
        """Load ``folder``. Raises :class:`ArtifactError` with the runtime's own message, and
        :class:`BeyondCpuError` for a graph that the CPU provider lacks kernels for: in bf16, or
        with the norms of queries and keys that ``GroupQueryAttention`` of CUDA computes.

        ``threads`` replaces ``intra_op_num_threads`` for this session; ``None`` keeps the setting
        of the artifact, but one thread per core (0) becomes one per CPU that this process may use,
        if these are fewer. ``cpu`` runs it on the CPU whatever it was built for, so that results of
        every target can be checked on a machine without its hardware. ``profile`` is the prefix
        of the path of a JSON trace of all kernels, which is complete when the session is deleted.
        An adapter in the folder is active, unless ``adapted`` is false. ``emulated`` runs its
        provider without its device: :mod:`pipeline.onnx.emulation`.
        """
        import numpy as np
        import onnxruntime_genai

        started = time.monotonic()
        if not cpu:
            _load_libraries(folder, emulated)
        with _raising_beyond_cpu(folder, cpu), raising_artifact_errors(_LOADING):
            config = onnxruntime_genai.Config(str(folder))
            if cpu:
                config.clear_providers()
            options: dict[str, int | str] = {}
            threads = _fewer_threads(folder) if threads is None else threads
            if threads is not None:
                options["intra_op_num_threads"] = threads
            if profile is not None:
                options["enable_profiling"] = str(profile)
            if options:
                decoder = {"session_options": options}
                config.overlay(json.dumps({"model": {"decoder": decoder}}))
            self.model: Any = onnxruntime_genai.Model(config)
            self.tokenizer: Any = onnxruntime_genai.Tokenizer(self.model)
            self._adapter = _Adapter.load(folder, self.model) if adapted else None
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
        options = {**GREEDY, "max_length": max_length, "min_length": min_length}
        params.set_search_options(**options)
        return self._generator(params)

    def _generator(self, params: Any) -> Any:
        import onnxruntime_genai

        generator = onnxruntime_genai.Generator(self.model, params)
        if self._adapter is not None:
            generator.set_active_adapter(self._adapter.loaded, self._adapter.name)
        return generator

    def own_generator(
        self,
        max_length: int,
        guidance: Guidance | None = None,
        search: Mapping[str, bool | int | float] | None = None,
    ) -> Any:
        """Return a fresh generator with the artifact's own search settings and those of ``search``,
        for at most ``max_length`` tokens, prompt included. ``guidance`` holds what it generates.

        Raises :class:`StepError` if the runtime cannot follow ``guidance``.
        """
        import onnxruntime_genai

        params = onnxruntime_genai.GeneratorParams(self.model)
        params.set_search_options(**(search or {}), max_length=max_length)
        if guidance is None:
            return self._generator(params)
        params.set_guidance(guidance.type, guidance.data)
        try:
            return self._generator(params)
        except RuntimeError as error:
            if _GRAMMAR not in str(error):
                raise
            why = " ".join(str(error).partition(_GRAMMAR)[2].split()).strip(": ")
            message = f"constrain: the runtime cannot hold answers to it: {why}"
            raise StepError(message, cause="bad_input") from error

    def stream(
        self,
        prompt: Sequence[int],
        max_new_tokens: int,
        never_end: bool = False,
    ) -> Iterator[int]:
        """Yield new tokens one by one, including the end token if there is one.

        ``never_end`` keeps the model from ending early, so that there are ``max_new_tokens``.
        """
        longest = len(prompt) + max_new_tokens
        if max_new_tokens > 0:
            with raising_artifact_errors(RUNNING):
                generator = self.generator(longest, longest if never_end else 0)
            yield from self._generated(generator, prompt, never_end)

    def own_stream(
        self,
        prompt: Sequence[int],
        max_new_tokens: int,
        guidance: Guidance | None = None,
        search: Mapping[str, bool | int | float] | None = None,
    ) -> Iterator[int]:
        """Yield new tokens like :meth:`stream`, from an :meth:`own_generator`."""
        if max_new_tokens > 0:
            with raising_artifact_errors(RUNNING):
                generator = self.own_generator(len(prompt) + max_new_tokens, guidance, search)
            yield from self._generated(generator, prompt)

    def _generated(
        self, generator: Any, prompt: Sequence[int], never_end: bool = False
    ) -> Iterator[int]:
        import numpy as np

        with raising_artifact_errors(RUNNING):
            generator.append_tokens(np.asarray(prompt, dtype=np.int32))
        while not generator.is_done():
            with raising_artifact_errors(RUNNING):
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

        with raising_artifact_errors(RUNNING):
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

        with raising_artifact_errors(RUNNING):
            generator = self.generator(_FIRST_TOKENS + 1)
            generator.append_tokens(np.arange(_FIRST_TOKENS, dtype=np.int32))
            logits = np.asarray(generator.get_output("logits"), dtype=np.float64)
        wrong = int(logits.size - np.count_nonzero(np.isfinite(logits)))
        if wrong:
            return [f"{wrong} of {logits.size} logits are NaN or infinite"]
        return ["all logits are equal"] if np.ptp(logits) == 0 else []


@dataclass(frozen=True)
class _Adapter:
    """The adapter beside a loaded model."""

    loaded: Any
    name: str

    @staticmethod
    def load(folder: Path, model: Any) -> _Adapter | None:
        """Return the adapter in ``folder``, if there is one."""
        import onnxruntime_genai

        file = adapter_file(folder)
        if file is None:
            return None
        loaded = onnxruntime_genai.Adapters(model)
        loaded.load(str(file), file.stem)
        return _Adapter(loaded, file.stem)


def logits_of(inputs: Inputs, reference: Reference, adapted: bool = True) -> list[Any]:
    """Return the artifact's logits for every row of ``reference``, through the CPU provider, with
    the adapter in its folder if it is to be ``adapted``.

    A graph that the CPU cannot run (bf16) is run on its device. Raises :class:`BeyondCpuError` if
    that is absent, and :class:`ArtifactError`.
    """
    try:
        session = Session(inputs["artifact"], inputs.threads, cpu=True, adapted=adapted)
    except BeyondCpuError:
        if inputs.absent_device:
            raise
        session = Session(inputs["artifact"], inputs.threads, adapted=adapted)
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


def _fewer_threads(folder: Path) -> int | None:
    """Return the number of threads where the artifact says one per core and this process may not
    use them all, which ONNX Runtime does not notice; ``None`` elsewhere."""
    usable = usable_cpus()
    return usable if _config(folder).threads == 0 and usable < (os.cpu_count() or 1) else None


def _config(folder: Path) -> GenAiConfig:
    try:
        return GenAiConfig(folder)
    except ValueError as error:
        raise ArtifactError(str(error)) from error


def _load_libraries(folder: Path, emulated: bool) -> None:
    """Load what the provider of ``folder`` needs and the loader does not find: CUDA's libraries
    that were installed as wheels, a plugin.

    https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#preload-dlls
    """
    provider = _config(folder).provider
    if provider == "cuda":
        import onnxruntime

        onnxruntime.preload_dlls()
    if emulated:
        emulate_vulkan()
    load_plugin(provider)
