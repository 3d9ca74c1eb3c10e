"""Reports the progress of long copies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

Say = Callable[[str], None]

_SECONDS = 10


def with_progress(chunks: Iterable[bytes], name: str, size: int, say: Say) -> Iterator[bytes]:
    """Yield ``chunks``, and report every ten seconds how much of about ``size`` bytes is done."""
    done, last = 0, None
    for chunk in chunks:
        last = last or time.monotonic()  # an engine may take long before it sends the first bytes
        yield chunk
        done += len(chunk)
        if time.monotonic() - last >= _SECONDS:
            last = time.monotonic()
            say(f"{name}: {gigabytes(done)} of {gigabytes(size)}")


def gigabytes(size: int) -> str:
    """Return bytes as text: ``1.70 GB``."""
    return f"{size / 1e9:.2f} GB"
