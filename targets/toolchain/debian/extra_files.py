"""Single files of Debian packages that a toolchain has beside its wheels, in image and environment.

``images/TARGET/files.toml`` names them; ``files.PLATFORM.lock`` pins their packages like those of
the base. Nothing that the packages depend on is taken: only files that need none of it are named.
They lie in ``lib/PACKAGE/`` below the prefix of the toolchain's Python.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tomli
import tomli_w
from pydantic import Field

from pipeline.contract.frozen import Frozen
from pipeline.contract.sha256 import sha256_of_file
from targets.atomic import replace_file
from targets.errors import EnvironmentUnable
from targets.toolchain.debian.deb import BadPackage, read_deb
from targets.toolchain.debian.fetch import fetch as fetch_with_apt
from targets.toolchain.debian.mirrors import mirrors
from targets.toolchain.debian.own_mirror import debians_mirrors
from targets.toolchain.debian.own_mirror import fetch as fetch_from_debian
from targets.toolchain.debian.package_lock import changes_of, resolve_alone
from targets.toolchain.debian.packages import Package, PackageLock, read_lock
from targets.toolchain.lock import LockChange
from targets.toolchain.toolchain import Toolchain

_HEADER = "# Made by `nox -s lock` from {recipe} for {platform}.\n# Do not edit.\n"
RECIPE = "files.toml"


class FilesRecipe(Frozen):
    """``files.toml``: the packages, and the paths of their files that are taken."""

    suite: str = Field(pattern=r"^[a-z]+$")
    packages: Mapping[str, tuple[str, ...]] = Field(min_length=1)


def lock_files(toolchain: Toolchain, upgrade: bool) -> tuple[LockChange, ...]:
    """Write the lock of the packages whose files ``toolchain`` has, and return what changed.

    A lock of the same packages is kept unless ``upgrade``. They are those of the release itself,
    which stay on its mirrors, and not of its updates. Raises ``EnvironmentUnable`` on a host that
    is not Debian.
    """
    recipe = _recipe(toolchain)
    if recipe is None:
        return ()
    file, names = toolchain.files_lock, tuple(sorted(recipe.packages))
    before = read_lock(file) if file.exists() else None
    if before and before.fits(recipe.suite, names) and not upgrade:
        return ()
    packages = resolve_alone(recipe.suite, names, toolchain.platform)
    locked = PackageLock(suite=recipe.suite, requested=names, package=packages)
    text = tomli_w.dumps(locked.model_dump(mode="json"))
    header = _HEADER.format(recipe=RECIPE, platform=toolchain.platform)
    replace_file(file, f"{header}\n{text}")
    return changes_of(before, locked)


def extra_files(toolchain: Toolchain, cache: Path, say: Callable[[str], None]) -> dict[str, bytes]:
    """Return the content of each file by its path below ``lib/``; empty for most toolchains.

    Packages are fetched once, and checked against the lock whenever they are read. Raises
    ``EnvironmentUnable`` if one cannot be had, or lacks a file.
    """
    recipe = _recipe(toolchain)
    files: dict[str, bytes] = {}
    if recipe is not None:
        for package, deb in extra_packages(toolchain, cache, say).items():
            files |= _files_of(package, deb, recipe.packages[package.name])
    return files


def extra_packages(
    toolchain: Toolchain, cache: Path, say: Callable[[str], None]
) -> dict[Package, Path]:
    """Return the packages whose files ``toolchain`` has, each with its file in ``cache``.

    Raises ``EnvironmentUnable`` if one cannot be had.
    """
    locked = _locked(toolchain)
    if locked is None:
        return {}
    folder = cache / "packages"
    _fetch_missing(locked, folder, say)
    return {package: _kept(package, folder) for package in locked.package}


def locked_packages(toolchain: Toolchain) -> tuple[str, ...]:
    """Return the SHA-256 of the packages whose files ``toolchain`` has."""
    locked = _locked(toolchain)
    return () if locked is None else tuple(package.sha256 for package in locked.package)


def _locked(toolchain: Toolchain) -> PackageLock | None:
    recipe = _recipe(toolchain)
    if recipe is None or not toolchain.files_lock.exists():
        return None
    locked = read_lock(toolchain.files_lock)
    if not locked.fits(recipe.suite, tuple(sorted(recipe.packages))):
        raise EnvironmentUnable(
            f"{toolchain.files_lock} is not of the packages in {RECIPE}", "run `nox -s lock`"
        )
    return locked


def _recipe(toolchain: Toolchain) -> FilesRecipe | None:
    file = toolchain.image_dir / RECIPE
    if not file.exists():
        return None
    return FilesRecipe.model_validate(tomli.loads(file.read_text(encoding="utf-8")))


def _kept(package: Package, folder: Path) -> Path:
    return folder / f"{package.sha256}.deb"


def _fetch_missing(locked: PackageLock, folder: Path, say: Callable[[str], None]) -> None:
    missing = [
        package
        for package in locked.package
        if not _kept(package, folder).exists()
        or sha256_of_file(_kept(package, folder)) != package.sha256
    ]
    if not missing:
        return
    say(f"fetching {', '.join(f'{package.name} {package.version}' for package in missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    places = mirrors(locked.suite)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if all(package.release in places for package in missing):
            fetched = fetch_with_apt(missing, places, Path(scratch))
        else:
            fetched = fetch_from_debian(missing, debians_mirrors(locked.suite), Path(scratch))
        for package, content in fetched:
            partial = Path(scratch) / "partial"
            partial.write_bytes(content)
            partial.replace(_kept(package, folder))


def _files_of(package: Package, deb: Path, paths: Sequence[str]) -> dict[str, bytes]:
    try:
        data = read_deb(deb.read_bytes()).data
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            return {
                f"{package.name}/{path.rpartition('/')[2]}": _content(archive, path)
                for path in paths
            }
    except (BadPackage, tarfile.TarError, KeyError) as error:
        raise EnvironmentUnable(
            f"{package.name} {package.version} has not the files of {RECIPE}: {error}",
            "correct the file, and run `nox -s lock`",
        ) from None


def _content(archive: tarfile.TarFile, path: str) -> bytes:
    member = archive.getmember(f"./{path}")
    file = archive.extractfile(member)
    if file is None or not member.isreg() or member.issparse():  # a sparse file may be endless
        raise BadPackage(f"{path} is no plain file")
    return file.read()
