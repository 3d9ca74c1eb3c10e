"""Files with their digests, as they are sent to a system."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from pipeline.contract.sha256 import sha256_of_bytes
from targets.digests import Digests
from targets.errors import PassFailed
from targets.toolchain.context import read_chunks

_COMPILED = "__pycache__"


@dataclass(frozen=True)
class TreeFile:
    """One file of this machine, with its place in a tree."""

    path: str
    source: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class Tree:
    """A folder, or a single file in one, by content."""

    files: tuple[TreeFile, ...]

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 over the names and digests of its files."""
        return digest_of((file.path, file.sha256) for file in self.files)

    @property
    def size(self) -> int:
        """Return the bytes of its files."""
        return sum(file.size for file in self.files)

    def tar(self, folder: str) -> Iterator[bytes]:
        """Yield the entries of a tar with the tree below ``folder``, without the tar's end. All can
        read them, and only root may write.

        Raises ``PassFailed`` if a file is not what it was.
        """
        folders = {parent for file in self.files for parent in PurePosixPath(file.path).parents}
        for parent in sorted(folders - {PurePosixPath()}):
            yield folder_entry(f"{folder}/{parent}")
        for file in self.files:
            yield from _file_entry(f"{folder}/{file.path}", file)


def digest_of(files: Iterable[tuple[str, str]]) -> str:
    """Return the digest of the tree with ``files``: the path and the SHA-256 of each."""
    return sha256_of_bytes(json.dumps([list(file) for file in files]).encode())


def tree_of(source: Path, digests: Digests) -> Tree:
    """Return the file or folder ``source`` as a tree; without bytecode, and with what links lead
    to."""
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.is_file())
        named = [
            (path.relative_to(source).as_posix(), path)
            for path in files
            if _COMPILED not in path.relative_to(source).parts
        ]
    else:
        named = [(source.name, source)]
    found = digests.files(path for _, path in named)
    return Tree(
        tuple(
            TreeFile(name, path, sha256, path.stat().st_size)
            for (name, path), sha256 in zip(named, found, strict=True)
        )
    )


TAR_END = b"\0" * (2 * tarfile.BLOCKSIZE)


def folder_entry(name: str, owner: int = 0) -> bytes:
    """Return the entry of a folder in a tar."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    entry.uid = entry.gid = owner
    return entry.tobuf(tarfile.PAX_FORMAT)


def small_file_entry(name: str, content: bytes, mode: int = 0o644, owner: int = 0) -> bytes:
    """Return the entry of a file with ``content``."""
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = mode, len(content)
    entry.uid = entry.gid = owner
    padding = b"\0" * (-entry.size % tarfile.BLOCKSIZE)
    return entry.tobuf(tarfile.PAX_FORMAT) + content + padding


def _file_entry(name: str, file: TreeFile) -> Iterator[bytes]:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = 0o644, file.size
    yield entry.tobuf(tarfile.PAX_FORMAT)
    digest, size = hashlib.sha256(), 0
    for chunk in read_chunks(file.source):
        size += len(chunk)
        if size > file.size:
            break
        digest.update(chunk)
        yield chunk
    if size != file.size or digest.hexdigest() != file.sha256:
        raise PassFailed(f"{file.source} was changed while it was sent", "run again")
    yield b"\0" * (-entry.size % tarfile.BLOCKSIZE)


def total(trees: Iterable[Tree]) -> int:
    """Return the bytes of ``trees``."""
    return sum(tree.size for tree in trees)
