"""Digests of folders."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from pipeline.contract.sha256 import dir_hash
from targets.digests import Digests


def test_the_digest_of_a_folder_is_that_of_sha256sum(tmp_path: Path) -> None:
    """As in-toto defines ``dirHash``, by commands that were not written here."""
    names = ("b.txt", "a/b", "a.b", "a/é", "a/B", "odd\nname", "back\\slash", " blank")
    for name in names:
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"of {name}")
    command = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    said = subprocess.run(
        command, shell=True, cwd=tmp_path / "folder", capture_output=True, text=True, check=True
    ).stdout.partition(" ")[0]
    digests = [hashlib.sha256(f"of {name}".encode()).hexdigest() for name in names]
    assert dir_hash(zip(names, digests, strict=True)) == said
    assert Digests(tmp_path / "digests.db").tree(tmp_path / "folder") == said
