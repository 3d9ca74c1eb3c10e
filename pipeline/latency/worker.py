"""``python -m pipeline.latency.worker SETTINGS``: the process that answers and is timed.

It is a fresh one, because a process that has trained or answered before has warm caches and another
memory layout, and it is pinned before any library counts the available CPUs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from pipeline.contract.errors import ArtifactError, BeyondCpuError
from pipeline.latency.protocol import (
    AnswerTimes,
    Failed,
    Loaded,
    Question,
    Ready,
    Reply,
    WorkerSettings,
    from_line,
    to_line,
)
from pipeline.latency.token_intervals import token_intervals_ms
from pipeline.process.causes import out_of_memory
from pipeline.process.measure import peak_rss_bytes
from pipeline.process.parent import end_with_parent
from pipeline.process.signals import exit_promptly_on_signal
from pipeline.process.streams import reserve_stdout


def main() -> None:
    """Load the model, and answer every question on standard input."""
    settings: WorkerSettings = from_line(sys.argv[1])
    exit_promptly_on_signal()
    # While another process is measured this one is suspended, and would not notice the end of its
    # input when the measuring process ends.
    end_with_parent(os.getppid(), "SIGKILL")
    if settings.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, settings.cpus)
    with reserve_stdout() as stream:
        try:
            _serve(settings, stream)
        except Exception as error:
            failed = _failed(error)
            if failed is None:
                raise
            _say(stream, failed)


def _serve(settings: WorkerSettings, stream: IO[str]) -> None:
    import numpy  # noqa: F401 - imported now, so that it is not part of loading
    import onnxruntime_genai  # noqa: F401

    from pipeline.onnx.session import Session

    _say(stream, Ready())
    if not sys.stdin.readline():
        return  # it is not needed
    before = peak_rss_bytes()
    session = Session(Path(settings.folder), cpu=settings.cpu)
    _say(stream, Loaded(load_ms=1000 * session.load_seconds, bytes_before=before))
    for line in sys.stdin:
        question: Question = from_line(line)
        spans = token_intervals_ms(session.stream(question.ids, question.tokens, never_end=True))
        _say(stream, AnswerTimes(spans_ms=tuple(spans), peak_bytes=peak_rss_bytes()))


def _failed(error: Exception) -> Failed | None:
    """Return the message for ``error``; ``None`` for an unexpected one."""
    if out_of_memory(error):
        return Failed(cause="memory", message=str(error))
    if isinstance(error, BeyondCpuError):
        return Failed(cause="beyond_cpu", message=str(error))
    return (
        Failed(cause="artifact", message=str(error)) if isinstance(error, ArtifactError) else None
    )


def _say(stream: IO[str], reply: Reply) -> None:
    stream.write(f"{to_line(reply)}\n")
    stream.flush()


if __name__ == "__main__":
    main()
    # Of the libraries' threads and objects nothing has to be put in order, which takes a while.
    sys.stderr.flush()
    os._exit(0)
