"""Makes the base's root file system from locked packages, without root rights and without dpkg.

The same lock gives the same bytes. No script of a package is run: the few relevant files that
scripts would create are created here.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from targets.errors import EnvironmentUnable
from targets.toolchain.debian.deb import BadPackage, Deb, read_deb
from targets.toolchain.debian.fetch import fetch as fetch_with_apt
from targets.toolchain.debian.packages import Package, PackageLock
from targets.toolchain.rootfs import LEFT_OUT, STATUS, Rootfs, keep

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Links to the folder of the same name in ``/usr``: https://wiki.debian.org/UsrMerge."""

_FOLDERS = ("opt", "usr/local", "usr/local/bin", "usr/local/lib")
"""Folders that scripts of packages would create and that images use."""

_COPIES = {
    "etc/passwd": "usr/share/base-passwd/passwd.master",
    "etc/group": "usr/share/base-passwd/group.master",
    "etc/nsswitch.conf": "usr/share/libc-bin/nsswitch.conf",
}
"""Files that scripts of packages would copy, with their sources."""

_PERMISSIONS = 0o7777


Fetch = Callable[
    [Sequence[Package], Mapping[str, Sequence[str]], Path], Iterator[tuple[Package, bytes]]
]
"""Function of packages, mirrors and a folder to use, which yields the packages with their content.
"""


def assemble_rootfs(
    lock: PackageLock,
    mirrors: Mapping[str, Sequence[str]],
    epoch: int,
    folder: Path,
    name: str,
    fetch: Fetch = fetch_with_apt,
) -> Rootfs:
    """Make ``NAME.tar`` in ``folder`` and ``NAME.packages``, the list of Debian versions in it.

    ``fetch`` gets the packages from ``mirrors``. No file is newer than ``epoch``, in seconds since
    1970. Raises ``EnvironmentUnable`` if a package cannot be fetched or is invalid.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        partial = Path(scratch) / "rootfs.tar"
        packages = sorted(lock.package, key=lambda package: package.name)
        write_rootfs(fetch(packages, mirrors, Path(scratch)), epoch, partial)
        return keep(partial, folder / f"{name}.tar")


def write_rootfs(packages: Iterable[tuple[Package, bytes]], epoch: int, tar: Path) -> None:
    """Unpack ``packages``, each with the content of its file, into the root file system ``tar``.

    Raises ``EnvironmentUnable`` for a package with a path or link that leads out of the root.
    """
    status = []
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        tree = _Tree(archive, epoch)
        for package, content in packages:
            try:
                deb = read_deb(content)
                tree.unpack(deb)
            except (BadPackage, tarfile.TarError) as error:
                raise EnvironmentUnable(
                    f"{package.name} {package.version} cannot be unpacked: {error}",
                    "run `nox -s lock -- --base`",
                ) from None
            status.append(_installed(deb))
        tree.finish("\n".join(status))


def _installed(deb: Deb) -> str:
    """Return the package's paragraph of dpkg's status file."""
    name, _, fields = deb.control.partition("\n")
    return f"{name}\nStatus: install ok installed\n{fields}\n"


class _Tree:
    """The root file system, written in order: every folder before the files in it."""

    def __init__(self, archive: tarfile.TarFile, epoch: int) -> None:
        self._archive = archive
        self._epoch = epoch
        self._folders = {PurePosixPath()}
        self._files: set[PurePosixPath] = set()
        self._copied: dict[str, bytes] = {}

    def unpack(self, deb: Deb) -> None:
        """Add the files of a package. Raises ``BadPackage`` if one leads out of the root."""
        with tarfile.open(fileobj=io.BytesIO(deb.data), mode="r:") as data:
            for member in data:
                if not any(fnmatchcase(f"/{_inside(member.name)}", one) for one in LEFT_OUT):
                    self._take(member, data)

    def finish(self, status: str) -> None:
        """Add the files that scripts of the packages would have created."""
        for path in map(PurePosixPath, _FOLDERS):
            self._folder(path)
        for name, source in _COPIES.items():
            if source in self._copied:
                self._write(PurePosixPath(name), self._copied[source])
        self._write(PurePosixPath(STATUS), status.encode())

    def _take(self, member: tarfile.TarInfo, data: tarfile.TarFile) -> None:
        path = self._merged(_inside(member.name))
        if member.isdir() and path in self._folders:
            return
        if path.parent not in self._folders:
            raise BadPackage(f"{member.name} lies in no folder")
        if path in self._files or path in self._folders:
            raise BadPackage(f"{member.name} is there already")
        self._archive.addfile(*self._entry(path, member, data))
        (self._folders if member.isdir() else self._files).add(path)

    def _entry(
        self, path: PurePosixPath, member: tarfile.TarInfo, data: tarfile.TarFile
    ) -> tuple[tarfile.TarInfo, io.BytesIO]:
        """Return the entry for ``member``: its type, permissions, owner IDs and content."""
        entry = tarfile.TarInfo(f"./{path}")
        entry.type, entry.mode = member.type, member.mode & _PERMISSIONS
        entry.uid, entry.gid = member.uid, member.gid
        entry.mtime = max(0, min(int(member.mtime), self._epoch))
        content = b""
        if member.isreg() and not member.issparse():  # a sparse file may be endless
            entry.type = tarfile.REGTYPE
            file = data.extractfile(member)
            content = file.read() if file else b""
            if str(path) in _COPIES.values():
                self._copied[str(path)] = content
        elif member.issym():
            entry.linkname = _link(path, member.linkname)
        elif member.islnk():
            target = self._merged(_inside(member.linkname))
            if target not in self._files:
                raise BadPackage(f"{member.name} is a link to {member.linkname}, which is no file")
            entry.linkname = f"./{target}"
        elif not member.isdir():
            raise BadPackage(f"{member.name} is neither file, folder nor link")
        entry.size = len(content)
        return entry, io.BytesIO(content)

    def _merged(self, path: PurePosixPath) -> PurePosixPath:
        """Return the location of ``path`` in a merged ``/usr``; add the link that leads there."""
        if not path.parts or path.parts[0] not in _MERGED:
            return path
        top = PurePosixPath(path.parts[0])
        if top not in self._files:
            self._folder(PurePosixPath("usr"))
            self._folder("usr" / top)
            self._add(top, tarfile.SYMTYPE, 0o777, link=f"usr/{top}")
            self._files.add(top)
        return "usr" / path

    def _folder(self, path: PurePosixPath) -> None:
        if path not in self._folders:
            self._add(path, tarfile.DIRTYPE, 0o755)
            self._folders.add(path)

    def _write(self, path: PurePosixPath, content: bytes) -> None:
        if path.parent not in self._folders or path in self._files:
            raise EnvironmentUnable(
                f"/{path} cannot be made: the packages of the base are not those it needs",
                "run `nox -s lock -- --base`",
            )
        self._add(path, tarfile.REGTYPE, 0o644, content)
        self._files.add(path)

    def _add(
        self, path: PurePosixPath, kind: bytes, mode: int, content: bytes = b"", link: str = ""
    ) -> None:
        entry = tarfile.TarInfo(f"./{path}")
        entry.type, entry.mode, entry.linkname = kind, mode, link
        entry.mtime, entry.size = self._epoch, len(content)
        self._archive.addfile(entry, io.BytesIO(content))


def _inside(name: str) -> PurePosixPath:
    """Return ``name`` as a path from the root. Raises ``BadPackage`` if it leads out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise BadPackage(f"{name!r} leads out of the root")
    return path


def _link(path: PurePosixPath, target: str) -> str:
    """Return the ``target`` of the symbolic link at ``path``.

    Raises ``BadPackage`` if it leads out of the root.
    """
    depth = 0 if target.startswith("/") else len(path.parent.parts)
    for part in PurePosixPath(target).parts:
        depth += {"..": -1, "/": 0}.get(part, 1)
        if depth < 0:
            raise BadPackage(f"{path} is a link to {target}, which leads out of the root")
    return target
