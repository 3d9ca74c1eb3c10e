from __future__ import annotations

from pathlib import Path

import pytest

from targets.atomic import (
    atomic_file,
    remove_leftovers,
    replace_file,
    replace_folder,
    sibling_folder,
)


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
