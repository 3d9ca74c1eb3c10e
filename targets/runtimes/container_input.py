"""Gives a container what a pipe holds as its standard input, through the engine."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from typing import IO, Any

from docker.models.containers import Container

_PIECE = 1 << 16


def fed(container: Container, stdin: IO[bytes] | None) -> AbstractContextManager[Any]:
    """Attach to the standard input of ``container``, which has not started yet, and let it have
    what ``stdin`` holds until the block ends."""
    if stdin is None:
        return nullcontext()
    attached = container.attach_socket(params={"stdin": 1, "stream": 1})
    # docker-py wraps the sockets of most connections in readers that cannot write.
    writer = getattr(attached, "_sock", attached)
    threading.Thread(target=_copy, args=(stdin, writer), daemon=True).start()
    return closing(writer)


def _copy(stdin: IO[bytes], writer: Any) -> None:
    with suppress(OSError, ValueError):  # the container or the pipe is gone
        while piece := stdin.read1(_PIECE):  # type: ignore[attr-defined]
            writer.sendall(piece)
