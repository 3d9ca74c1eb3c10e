"""Reads whole files: regular ones, up to a limit, and never more of them than their size says.

A link may lead to a device or to a file of the kernel that never ends, and a pipe may wait for
ever for somebody to write.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

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


@contextmanager
def opened(file: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular ``file`` to be read; yield it with its size.

    Raises :class:`UnreadableError` for anything else, and ``OSError`` where it cannot be opened.
    """
    # O_NONBLOCK: opening a pipe would wait for its other end.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb", MB) as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("it is no regular file")
        yield stream, status.st_size


def read_bytes(file: Path, most: int) -> bytes:
    """Return the content of ``file``, of at most ``most`` bytes.

    Raises :class:`UnreadableError` for a larger file and for anything but a regular one, and
    ``OSError`` where it cannot be opened.
    """
    with opened(file) as (stream, size):
        if size > most:
            raise UnreadableError(_too_large("it", size, most))
        return stream.read(size)


def read_lines(
    file: Path, most: int, begin: int = 0, end: int | None = None
) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file of any size, each with the byte at which it begins.

    Only ``\\n`` ends a line, of which it is no part. A line has at most ``most`` bytes. ``begin``
    and ``end`` are those of some of its lines. Raises as :func:`read_text`, and when it comes to
    the line.
    """
    with opened(file) as (stream, size):
        stream.seek(begin)
        end, number = min(size, size if end is None else end), 0
        while begin < end and (content := stream.readline(min(most + 1, end - begin))):
            number += 1
            if len(content) > most:
                raise UnreadableError(_too_large("a line", end - begin, most), number)
            try:
                text = content.decode() if begin else decoded(content)
            except UnicodeDecodeError as error:
                message = f"byte 0x{content[error.start]:02x} is not UTF-8"
                raise UnreadableError(message, number) from None
            yield begin, text[:-1] if text.endswith("\n") else text
            begin += len(content)


def _too_large(what: str, size: int, most: int) -> str:
    return f"{what} has {size:,} bytes; at most {most:,} are read"


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
