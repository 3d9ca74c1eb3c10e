"""What a system sends is unpacked below one name, whatever it says."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from targets.systems.arrival import CutOff, Refused, unpack

LARGEST = 1 << 20


def packed(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar as Python's own library writes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for entry, content in entries:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def file(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    return entry, b""


def special(name: str, kind: bytes, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry, b""


def pieces(content: bytes, size: int = 1000) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("size", [1, 511, 512, 513, 1 << 20])
def test_files_and_folders_arrive(form: int, size: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20
    deep = f"output/{'d' * 60}/{'f' * 60}"  # longer than the 100 bytes of a plain header
    sent = packed(
        folder("output"),
        folder(f"output/{'d' * 60}"),
        file(deep, content),
        file("output/empty", b""),
        form=form,
    )
    unpack(pieces(sent, size), "output", tmp_path, LARGEST)
    assert (tmp_path / deep).read_bytes() == content
    assert (tmp_path / "output/empty").read_bytes() == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output"]


@pytest.mark.parametrize(
    "entries",
    [
        (file("/etc/passwd"),),
        (file("../beside"),),
        (folder("output"), file("output/../../beside")),
        (file("another"),),
        (folder("output"), file("output/a\nb")),
        (folder("output"), special("output/link", tarfile.SYMTYPE, "/etc")),
        (folder("output"), file("output/a"), special("output/b", tarfile.LNKTYPE, "output/a")),
        (folder("output"), special("output/pipe", tarfile.FIFOTYPE)),
        (folder("output"), special("output/disk", tarfile.BLKTYPE)),
        (folder("output"), special("output/terminal", tarfile.CHRTYPE)),
        (folder("output"), file("output/twice"), file("output/twice")),
        (file("output"), file("output/within")),
        (folder("output"), file("output/large", bytes(LARGEST + 1))),
        (folder("output"), *(file(f"output/{n}", bytes(LARGEST // 4)) for n in range(5))),
    ],
)
def test_anything_else_is_refused(
    entries: tuple[tuple[tarfile.TarInfo, bytes], ...], tmp_path: Path
) -> None:
    within = tmp_path / "within"
    within.mkdir()
    with pytest.raises(Refused):
        unpack(pieces(packed(*entries)), "output", within, LARGEST)
    assert [path.name for path in tmp_path.iterdir()] == ["within"]
    assert not any(path.is_symlink() for path in within.rglob("*"))


def test_a_link_that_lies_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("as it was")
    within = tmp_path / "within"
    (within / "output").mkdir(parents=True)
    (within / "output" / "file").symlink_to(tmp_path / "target")
    with pytest.raises(Refused):
        unpack(pieces(packed(file("output/file"))), "output", within, LARGEST)
    assert (tmp_path / "target").read_text() == "as it was"


def changed(content: bytes, at: int, new: bytes) -> bytes:
    """Return a header with other bytes, and the checksum that goes with them."""
    header = bytearray(content[:512])
    header[at : at + len(new)] = new
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content[512:]


@pytest.mark.parametrize(
    "change",
    [
        lambda tar: changed(tar, 124, b"\x80" + b"\xff" * 11),  # a size in base 256
        lambda tar: changed(tar, 124, b"\xff" * 12),  # one below zero
        lambda tar: changed(tar, 156, b"x"),  # as if the content were an extended header
        lambda tar: changed(tar, 156, b"L"),
        lambda tar: changed(tar, 156, b"S"),  # sparse
        lambda _tar: b"no tar at all, but as long" * 100,
    ],
)
def test_headers_of_nonsense_are_refused(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    sent = change(packed(file("output", b"9 size=x\n" + bytes(100_000))))
    with pytest.raises((Refused, CutOff)):
        unpack(pieces(sent), "output", tmp_path, LARGEST)


def test_a_long_header_takes_no_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("output")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    asked = []

    def endless() -> Iterator[bytes]:
        yield header.tobuf(tarfile.GNU_FORMAT)
        while True:
            asked.append(1)
            yield bytes(1 << 20)

    with pytest.raises(Refused, match="a header of"):
        unpack(endless(), "output", tmp_path, LARGEST)
    assert not asked


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 1024 + 512])
def test_what_is_cut_off_is_not_taken_for_whole(kept: int, tmp_path: Path) -> None:
    sent = packed(folder("output"), file("output/file", os.urandom(600)))
    with pytest.raises(CutOff):
        unpack(pieces(sent[:kept]), "output", tmp_path, LARGEST)
