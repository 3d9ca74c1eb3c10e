"""Reads whole files: regular ones, up to a limit, and never more of them than their size says.

A link may lead to a device or to a file of the kernel that never ends, and a pipe may wait for
ever for somebody to write.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

MB = 1 << 20

_NO_TEXT = {
    b"\x1f\x8b": "packed with gzip",
    b"\x28\xb5\x2f\xfd": "packed with Zstandard",
    b"PK\x03\x04": "a ZIP archive, or a workbook of Excel",
    b"PAR1": "a Parquet file",
}
"""How files begin that somebody may have named like a text."""


class UnreadableError(ValueError):
    """A file does not hold what it should. The message is for its author."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        """Counted from 1; ``None`` where no line is to blame."""


def read_bytes(file: Path, most: int) -> bytes:
    """Return the content of ``file``, of at most ``most`` bytes.

    Raises :class:`UnreadableError` for a larger file and for anything but a regular one, and
    ``OSError`` where it cannot be opened.
    """
    # O_NONBLOCK: opening a pipe would wait for its other end.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("it is no regular file")
        if status.st_size > most:
            raise UnreadableError(f"it has {status.st_size:,} bytes; at most {most:,} are read")
        return stream.read(status.st_size)


def read_text(file: Path, most: int) -> str:
    """Return the text of ``file``, in UTF-8 with or without a byte order mark.

    Raises as :func:`read_bytes`, and :class:`UnreadableError` with the line that is not UTF-8.
    """
    return decoded(read_bytes(file, most))


def decoded(content: bytes) -> str:
    """Return UTF-8 ``content`` as text. Raises :class:`UnreadableError`."""
    for begin, kind in _NO_TEXT.items():
        if content.startswith(begin):
            raise UnreadableError(f"the file is {kind}, not text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Without the mark, the decoder counts from behind it.
        at = error.start + len(content) - len(error.object)
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise UnreadableError("the file is UTF-16, not UTF-8") from None
        line = 1 + content.count(b"\n", 0, at)
        raise UnreadableError(f"byte 0x{content[at]:02x} is not UTF-8", line) from None
