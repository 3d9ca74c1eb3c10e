"""Packages that some steps need beside those of their toolchain: wheels, locked as it is.

``images/NAME/`` has what they are, and a lock for each platform, without what every toolchain of
that platform has anyway. Their wheels are an input of those steps, whose processes unpack them
(:mod:`pipeline.process.packages`). So no image and no environment has them, and no other step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.contract.sha256 import sha256_of_file
from pipeline.run.registry import check_types, load_check
from targets.atomic import link_or_copy, sibling_folder
from targets.disk import CACHE_REMEDY, Need
from targets.errors import EnvironmentUnable
from targets.toolchain.lock import LockChange, lock
from targets.toolchain.requirements import read_lock
from targets.toolchain.toolchain import Room, Toolchain
from targets.toolchain.wheelhouse import Wheelhouse

_ROOM = Room(wheels=0.1)
"""Gigabytes of the wheels of a set, at most."""


@dataclass(frozen=True)
class PackageSet:
    """One of these sets, for the platform of a toolchain."""

    name: str
    """The folder in ``images/``."""
    toolchain: Toolchain
    """The set as a toolchain has its packages: requirements, and a lock for the platform."""

    @property
    def root(self) -> str:
        """Return the name of the plan's root with the wheels."""
        return f"packages@{self.name}"  # no name of a pass or a data set holds an @

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the lock, which has those of the wheels.

        Raises ``EnvironmentUnable`` if there is none for the platform.
        """
        if not self.toolchain.lock.is_file():
            raise EnvironmentUnable(
                f"there are no packages of {self.name} for {self.toolchain.platform}",
                f"leave out the check {self.name} there, or use `--runtime docker`",
            )
        return sha256_of_file(self.toolchain.lock)

    def folder(self, cache: Path) -> Path:
        """Return the folder with its wheels and no others; it need not be there yet."""
        return cache / "package-sets" / f"{self.name}-{self.digest[:16]}"

    def needs(self, cache: Path) -> tuple[Need, ...]:
        """Return the disk space for the wheels that have to be fetched."""
        if self.folder(cache).is_dir():
            return ()
        lacks = Wheelhouse(cache / "wheels").lacks(self.toolchain)
        return (Need(cache, lacks, f"the packages of {self.name}", CACHE_REMEDY),)

    def ensure(self, cache: Path, say: Callable[[str], None]) -> None:
        """Make :meth:`folder`; missing wheels are fetched. Raises ``EnvironmentUnable``."""
        folder = self.folder(cache)
        if folder.is_dir():
            return
        wheels = Wheelhouse(cache / "wheels").ensure(self.toolchain, say)
        with sibling_folder(folder) as fresh:
            for wheel in wheels:
                link_or_copy(wheel.path, fresh / wheel.path.name)
            with suppress(OSError):  # another build was faster
                fresh.rename(folder)


def package_set(name: str, toolchain: Toolchain) -> PackageSet:
    """Return the set ``name`` for steps that run with ``toolchain``."""
    folder = toolchain.image_dir.parent / name
    as_one = replace(
        toolchain,
        image_dir=folder,
        environment={},
        requirements="requirements.in",
        parent=None,
        room=_ROOM,
    )
    return PackageSet(name, as_one)


def set_names() -> tuple[str, ...]:
    """Return the names of all sets that a check needs."""
    return tuple(sorted({load_check(name).packages for name in check_types()} - {""}))


def package_sets(toolchain: Toolchain) -> tuple[PackageSet, ...]:
    """Return all sets that there are for the platform of ``toolchain``."""
    sets = (package_set(name, toolchain) for name in set_names())
    return tuple(one for one in sets if one.toolchain.lock.is_file())


def lock_package_set(
    packages: PackageSet, toolchains: Iterable[Toolchain], upgrade: bool
) -> tuple[LockChange, ...]:
    """Write the lock of ``packages`` and return what changed. Not in it is what all ``toolchains``
    have, and what ``overrides.txt`` beside the requirements leaves out.

    Raises ``EnvironmentUnable`` as :func:`~targets.toolchain.lock.lock` does.
    """
    locked = [{str(pin.name) for pin in read_lock(one.lock)} for one in toolchains]
    had = sorted(set.intersection(*locked))
    own = packages.toolchain.image_dir / "overrides.txt"
    left_out = "".join(f'{name} ; python_version < "3"\n' for name in had)
    return lock(packages.toolchain, upgrade, overrides=own.read_text("utf-8") + left_out)
