"""Times an artifact with given settings of its session."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pipeline.builder.session_options import SessionOption, SessionValue, set_session, write_config
from pipeline.latency.measured_process import MeasuredProcess
from pipeline.latency.protocol import WorkerSettings
from pipeline.tuning.trials import Speed

_CONFIG = "genai_config.json"
_WARM_TOKENS = 4


@dataclass(frozen=True)
class SpeedWorkload:
    """The prompt and the length of the answer."""

    prompt: Sequence[int]
    new_tokens: int
    answers: int = 3
    """Answers of each process, after it has warmed up."""


class TimedArtifact:
    """A model folder as it was built, without threads and session options."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._plain = json.loads((folder / _CONFIG).read_text("utf-8"))

    def configure(self, threads: int | None, options: Mapping[SessionOption, SessionValue]) -> None:
        """Write threads and options into the config, in place of those written before."""
        config = json.loads(json.dumps(self._plain))
        set_session(config, threads, options)
        write_config(self.folder / _CONFIG, config)

    @property
    def bytes(self) -> int:
        """Return the size of all its files."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def time(self, work: SpeedWorkload) -> Speed:
        """Return how fast a fresh process answers with its current configuration.

        Raises :class:`pipeline.contract.errors.ArtifactError` if it cannot be loaded or run.
        """
        first: list[float] = []
        token_times: list[float] = []
        settings = WorkerSettings(folder=str(self.folder), cpus=_cpus())
        with MeasuredProcess(settings) as process:
            process.ask(work.prompt, _WARM_TOKENS)
            for _ in range(work.answers):
                spans = process.ask(work.prompt, work.new_tokens).spans_ms
                first.append(spans[0])
                token_times.append(median(spans[1:]))
        # The fastest answer counts: other load on the machine can only slow an answer down.
        prompt, token = min(first), min(token_times)
        return Speed(
            prompt_ms=prompt,
            token_ms=token,
            answer_ms=prompt + token * (work.new_tokens - 1),
            prompt_tokens_per_second=1000 * len(work.prompt) / prompt,
            tokens_per_second=1000 / token,
        )


def _cpus() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
