"""The process that is timed: what it imports, and what it is told and says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.latency.protocol import (
    AnswerTimes,
    Failed,
    Loaded,
    Message,
    Question,
    Ready,
    WorkerSettings,
    from_line,
    to_line,
)

IMPORTS = """
import sys
import pipeline.latency.worker, pipeline.onnx.session
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_it_imports_nothing_that_takes_longer_than_the_runtime() -> None:
    command = [sys.executable, "-c", IMPORTS]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    imported = done.stdout.split()
    assert "pipeline" in imported
    assert not {"pydantic", "asyncio", "email"} & set(imported)


@pytest.mark.parametrize(
    "message",
    [
        WorkerSettings("model", cpu=True, cpus=(0, 3)),
        Question((1, 2), 3),
        Ready(),
        Loaded(1.5, 2),
        AnswerTimes((0.25, 1e-3), 4),
        Failed("artifact", "a\nline"),
    ],
)
def test_a_message_is_a_line_and_arrives_as_it_was(message: Message) -> None:
    line = to_line(message)
    assert "\n" not in line
    assert from_line(line) == message
