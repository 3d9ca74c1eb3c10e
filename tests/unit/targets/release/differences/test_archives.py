"""Archives of equal members still get their difference explained."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from targets.release.differences.archives import compare_archives
from targets.release.differences.compare import compare_files, compare_folders

FILES = {"q/a.json": b'{"a": 1}', "q/b.md": b"text\n"}


def write(path: Path, files: dict[str, bytes] = FILES, **header: Any) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in header.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return path


def said(released: Path, rebuilt: Path) -> list[str]:
    return [
        f"{one.file}, {one.where}: {one.what}"
        for one in compare_archives(released, rebuilt, compare_folders)
    ]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"mode": 0o755}, "mode: 0644 released, 0755 rebuilt"),
        ({"mtime": 7}, "mtime: 0 released, 7 rebuilt"),
        ({"uid": 7}, "owner (uid): 0 released, 7 rebuilt"),
        ({"uname": "me"}, 'owner (uname): "" released, "me" rebuilt'),
        ({"pax_headers": {"comment": "x"}}, 'pax headers: {} released, {"comment": "x"} rebuilt'),
    ],
)
def test_headers(tmp_path: Path, header: dict[str, Any], expected: str) -> None:
    old, new = write(tmp_path / "a.tar"), write(tmp_path / "b.tar", **header)
    assert said(old, new) == [f"{name}, {expected}" for name in FILES]


def test_members_are_compared_by_their_kind(tmp_path: Path) -> None:
    old = write(tmp_path / "a.tar")
    new = write(tmp_path / "b.tar", {"q/a.json": b'{"a": 2}', "q/c": b""})
    assert said(old, new) == [
        "q/b.md, : only released: 5 bytes",
        "q/c, : only rebuilt: 0 bytes",
        "q/a.json, a: 1 released, 2 rebuilt (50 %)",
    ]
    assert {one.file for one in compare_files("x.tar", old, new)} == {
        "x.tar/q/a.json",
        "x.tar/q/b.md",
        "x.tar/q/c",
    }


def test_order_and_what_follows_the_last_member(tmp_path: Path) -> None:
    old = write(tmp_path / "a.tar")
    new = write(tmp_path / "b.tar", dict(reversed(FILES.items())))
    with new.open("ab") as file:
        file.write(b"x" * 9)
    order, end = said(old, new)
    assert order.startswith("a.tar, order: the members stand in another order, from number 1 on")
    assert end.startswith("a.tar, end of the archive: after the last member that can be read: ")
    assert "(9 of them not zero) rebuilt" in end


def test_bytes_that_no_reader_sees_are_located(tmp_path: Path) -> None:
    old, new = write(tmp_path / "a.tar"), tmp_path / "b.tar"
    content = bytearray(old.read_bytes())
    content[512 + 100] = 1  # behind the 8 bytes of q/a.json
    new.write_bytes(content)
    (sentence,) = said(old, new)
    assert (
        "1 of 10,240 bytes differs, the first at offset 612, in what fills up q/a.json" in sentence
    )


def test_damage_and_names_that_lead_outside_are_said(tmp_path: Path) -> None:
    old, new = write(tmp_path / "a.tar"), tmp_path / "b.tar"
    new.write_bytes(old.read_bytes()[:700])
    assert said(old, new)[0].startswith("a.tar, : the rebuilt file cannot be read as tar archive")
    outside = write(tmp_path / "c.tar", {"../evil": b"x"})
    assert "../evil, name: leads outside the archive; it is not unpacked" in said(old, outside)
    assert not (tmp_path.parent / "evil").exists()
