from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from targets.atomic import (
    atomic_file,
    remove_leftovers,
    replace_file,
    replace_folder,
    sibling_folder,
)
from targets.cli.options import PROJECT


class Killed(BaseException):
    pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_only_when_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(Killed), atomic_file(file) as partial:
        partial.write_text("ne")
        assert file.read_text() == "old"
        raise Killed
    assert (file.read_text(), names(tmp_path)) == ("old", ["file"])
    replace_file(file, "näw\n")
    assert (file.read_text("utf-8"), names(tmp_path)) == ("näw\n", ["file"])


def test_a_folder_is_replaced_only_when_whole(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for content in ("first", "second"):
        with sibling_folder(folder) as fresh:
            (fresh / "file").write_text(content)
            assert fresh.parent == folder.parent
            replace_folder(fresh, folder)
        assert ((folder / "file").read_text(), names(tmp_path)) == (content, ["folder"])
    with pytest.raises(Killed), sibling_folder(folder) as fresh:
        (fresh / "file").write_text("third")
        raise Killed
    assert ((folder / "file").read_text(), names(tmp_path)) == ("second", ["folder"])


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "cpu"
    left = []
    for name in ("cpu", "cuda"):
        with sibling_folder(tmp_path / name) as fresh:
            kept = fresh.rename(tmp_path / "kept")
        left.append(kept.rename(fresh))
    (tmp_path / ".cpu.lock").touch()
    remove_leftovers(folder)
    assert names(tmp_path) == sorted([".cpu.lock", left[1].name])


_REMOVE = """
import os, sys
from pathlib import Path
from targets.atomic import remove_tree
folder = Path(sys.argv[1])
if os.geteuid() == 0:  # whom no mode stops
    os.chown(folder, 65534, 65534)
    os.setuid(65534)
inner = folder / "a" / "b"
inner.mkdir(parents=True)
(inner / "file").touch()
(folder / "link").symlink_to(sys.argv[2])
for place, mode in ((inner, 0), (inner.parent, 0o500), (folder, 0o300)):
    place.chmod(mode)
remove_tree(folder)
"""


def test_a_folder_whose_rights_were_taken_is_removed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o500)
    with tempfile.TemporaryDirectory() as open_to_all:
        Path(open_to_all).chmod(0o777)
        folder = Path(open_to_all) / "folder"
        folder.mkdir()
        command = [sys.executable, "-c", _REMOVE, str(folder), str(other)]
        subprocess.run(command, cwd=PROJECT, check=True)
        assert not folder.exists()
    assert other.stat().st_mode & 0o777 == 0o500
