"""Archives: the same bytes from the same contents, and nothing that could reach outside."""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from targets.errors import CheckFailed
from targets.release.archive import extract, read_file, read_members, write_archive
from targets.release.sums import read_sums, write_sums

FILES: dict[str, Path | bytes] = {
    "tone-1-cpu/model/model.onnx": b"graph" * 500,
    "tone-1-cpu/model/größe.json": b"{}",
    f"tone-1-cpu/{'deep/' * 40}file": b"",
    "tone-1-cpu/report.json": b'{"status": "passed"}\n',
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "tone-1-cpu.tar"
    write_archive(path, FILES)
    return path


def test_same_contents_give_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    on_disk: dict[str, Path | bytes] = {}
    old = os.umask(0o077)
    try:
        for number, (name, content) in enumerate(reversed(FILES.items())):
            assert isinstance(content, bytes)
            on_disk[name] = tmp_path / f"{number}"
            (tmp_path / f"{number}").write_bytes(content)
            os.utime(tmp_path / f"{number}", (number, number))
    finally:
        os.umask(old)
    write_archive(tmp_path / "again.tar", on_disk)
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_what_was_written_is_read(archive: Path, tmp_path: Path) -> None:
    assert {member.path for member in read_members(archive)} == FILES.keys()
    assert read_file(archive, "tone-1-cpu/report.json") == FILES["tone-1-cpu/report.json"]
    with pytest.raises(CheckFailed, match=r"holds no tone-1-cpu/other"):
        read_file(archive, "tone-1-cpu/other")
    extract(archive, tmp_path / "out")
    for name, content in FILES.items():
        assert (tmp_path / "out" / name).read_bytes() == content


Change = Callable[[tarfile.TarInfo], None]


def named(name: str) -> Change:
    def change(info: tarfile.TarInfo) -> None:
        info.name = name

    return change


def typed(kind: bytes, target: str = "") -> Change:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, target, 0

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (named("../evil"), "climbs out"),
        (named("tone-1-cpu/../../evil"), "climbs out"),
        (named("/etc/evil"), "climbs out"),
        (named("tone-1-cpu/./evil"), "plain path"),
        (named("tone-1-cpu//evil"), "plain path"),
        (named("tone-1-cpu\\..\\evil"), "not a name"),
        (named("C:/evil"), "not a name"),
        (named("tone-1-cpu/good"), "twice"),
        (typed(tarfile.SYMTYPE, "/etc/passwd"), "not a plain file"),
        (typed(tarfile.LNKTYPE, "tone-1-cpu/good"), "not a plain file"),
        (typed(tarfile.DIRTYPE), "not a plain file"),
        (typed(tarfile.FIFOTYPE), "not a plain file"),
        (typed(tarfile.CHRTYPE), "not a plain file"),
    ],
)
def test_members_that_reach_outside_are_refused(
    change: Change, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        good = tarfile.TarInfo("tone-1-cpu/good")
        archive.addfile(good)
        info = tarfile.TarInfo("tone-1-cpu/evil")
        info.size = 4
        change(info)
        archive.addfile(info, io.BytesIO(b"evil"))
    out = tmp_path / "out"
    with pytest.raises(CheckFailed, match=reason):
        extract(path, out)
    assert not out.exists()
    assert {found.name for found in tmp_path.iterdir()} == {"evil.tar"}


def test_damage_in_a_file_changes_its_digest_and_elsewhere_nothing_breaks(
    archive: Path, tmp_path: Path
) -> None:
    whole = archive.read_bytes()
    before = read_members(archive)
    chance = random.Random(0)  # noqa: S311 - not for secrets
    damaged = tmp_path / "damaged.tar"
    contents = range(whole.index(b"graph"), whole.index(b"graph") + 2500)
    for offset in [
        *chance.sample(contents, 20),
        *(chance.randrange(len(whole)) for _ in range(300)),
    ]:
        content = bytearray(whole)
        content[offset] ^= 1 << chance.randrange(8)
        damaged.write_bytes(content)
        try:
            after = read_members(damaged)
        except CheckFailed:
            continue
        assert offset not in contents or after != before
        # Where a header does not count, the digest of the whole archive does.
        assert len(after) == len(before)


@pytest.mark.parametrize("length", [0, 1, 511, 700, 2000])
def test_a_truncated_archive_is_no_archive(length: int, archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:length])
    with pytest.raises(CheckFailed, match="not a complete archive"):
        read_members(archive)


def test_sums_are_as_sha256sum_writes_them() -> None:
    digests = {"b/model.onnx": "1" * 64, "a report": "a" * 64}
    content = write_sums(digests)
    assert content.decode().splitlines() == [f"{'a' * 64}  a report", f"{'1' * 64}  b/model.onnx"]
    assert read_sums(content, "SHA256SUMS") == digests


@pytest.mark.parametrize(
    "content",
    [
        b"hello\n",
        b"1" * 63 + b"  short\n",
        b"1" * 64 + b" one space\n",
        (b"1" * 64 + b"  twice\n") * 2,
        b"2" * 64 + b"  b\n" + b"1" * 64 + b"  a\n",  # not sorted
        b"1" * 64 + b"  no end of line",
        b"1" * 64 + b"  a\r\n",
    ],
)
def test_other_sums_are_refused(content: bytes) -> None:
    with pytest.raises(CheckFailed, match="SHA256SUMS"):
        read_sums(content, "SHA256SUMS")
