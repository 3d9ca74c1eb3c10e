"""Files are named by what is in them, and sent as they were then."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from targets.digests import Digests
from targets.errors import PassFailed
from targets.systems.tree import TAR_END, Tree, tree_of


def tree(folder: Path, cache: Path) -> Tree:
    return tree_of(folder, Digests(cache / "digests.sqlite"))


def files(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "a.txt").write_text("a")
    (folder / "b.txt").write_text("b" * 1000)
    return folder


def test_the_same_files_elsewhere_are_the_same(tmp_path: Path) -> None:
    one, other = tree(files(tmp_path, "one"), tmp_path), tree(files(tmp_path, "other"), tmp_path)
    assert one.digest == other.digest
    assert one.size == 1001
    (tmp_path / "other" / "deep" / "__pycache__").mkdir()
    (tmp_path / "other" / "deep" / "__pycache__" / "a.pyc").write_text("compiled")
    assert tree(tmp_path / "other", tmp_path).digest == one.digest


@pytest.mark.parametrize("change", ["content", "name", "another"])
def test_other_files_are_another(change: str, tmp_path: Path) -> None:
    folder = files(tmp_path, "one")
    before = tree(folder, tmp_path).digest
    if change == "content":
        (folder / "b.txt").write_text("c" * 1000)
    elif change == "name":
        (folder / "b.txt").rename(folder / "c.txt")
    else:
        (folder / "c.txt").touch()
    assert tree(folder, tmp_path).digest != before


def test_a_single_file_is_a_tree_of_one(tmp_path: Path) -> None:
    folder = files(tmp_path, "one")
    assert [file.path for file in tree(folder / "b.txt", tmp_path).files] == ["b.txt"]


def test_the_tar_is_one_that_others_read(tmp_path: Path) -> None:
    sent = b"".join(tree(files(tmp_path, "one"), tmp_path).tar("in/x")) + TAR_END
    with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
        members = {member.name: member for member in archive.getmembers()}
        assert sorted(members) == ["in/x/b.txt", "in/x/deep", "in/x/deep/er", "in/x/deep/er/a.txt"]
        content = archive.extractfile("in/x/b.txt")
        assert content is not None
        assert content.read() == b"b" * 1000
    owners = {(member.uid, member.gid, member.mode) for member in members.values()}
    assert owners == {(0, 0, 0o644), (0, 0, 0o755)}


@pytest.mark.parametrize("text", ["c" * 1000, "b" * 999, "b" * 1001])
def test_a_file_that_changes_meanwhile_is_not_sent(text: str, tmp_path: Path) -> None:
    folder = files(tmp_path, "one")
    seen = tree(folder, tmp_path)
    (folder / "b.txt").write_text(text)
    with pytest.raises(PassFailed, match=r"b\.txt was changed while it was sent"):
        b"".join(seen.tar("in"))
