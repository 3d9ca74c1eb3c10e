"""Which members of two archives differ."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from targets.release.differences.archives import compare_archives
from targets.release.differences.compare_files import compare_files, compare_folders

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


@pytest.mark.parametrize("header", [{"mode": 0o755}, {"mtime": 7}, {"uname": "me"}])
def test_an_archive_of_equal_members_still_differs(tmp_path: Path, header: dict[str, Any]) -> None:
    old, new = write(tmp_path / "a.tar"), write(tmp_path / "b.tar", **header)
    (sentence,) = said(old, new)
    assert sentence.startswith("a.tar, bytes: its members hold the same bytes, what is written ")


def test_a_link_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    old = write(tmp_path / "a.tar", {"q/a.json": b""})
    new = write(tmp_path / "b.tar", {"q/a.json": b""}, type=tarfile.SYMTYPE, linkname="/etc")
    assert said(old, new) == ['q/a.json, : a file released, a link to "/etc" rebuilt']


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


def test_damage_and_names_that_lead_outside_are_said(tmp_path: Path) -> None:
    old, new = write(tmp_path / "a.tar"), tmp_path / "b.tar"
    new.write_bytes(old.read_bytes()[:700])
    assert said(old, new)[0].startswith("a.tar, : the rebuilt file cannot be read as tar archive")
    outside = write(tmp_path / "c.tar", {"../evil": b"x"})
    assert "../evil, name: leads outside the archive; it is not unpacked" in said(old, outside)
    assert not (tmp_path.parent / "evil").exists()
