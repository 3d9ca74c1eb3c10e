"""``debian.PLATFORM.lock``: every package of the base, by version, size and SHA-256."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tomli
from pydantic import Field, ValidationError

from pipeline.contract.frozen import Frozen
from targets.errors import EnvironmentUnable

_PREFIX, _SUFFIX = "debian.", ".lock"


class Package(Frozen):
    """One ``.deb`` file on a mirror."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")
    version: str = Field(pattern=r"^[A-Za-z0-9.+:~-]+$")
    release: str = Field(pattern=r"^[a-z0-9-]+$")
    """Release whose mirrors have it: ``bookworm`` or ``bookworm-security``."""
    path: str = Field(pattern=r"^pool(/[A-Za-z0-9][A-Za-z0-9+.:~_-]*)+\.deb$")
    """Path below the mirror's URI."""
    size: int = Field(gt=0, le=64 << 20)
    """Size of the file in bytes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class PackageLock(Frozen):
    """All packages of a base: those requested, Debian's essential ones, and their dependencies."""

    suite: str
    requested: tuple[str, ...]
    """The packages in ``base.toml`` when this was locked."""
    package: tuple[Package, ...] = Field(min_length=1)

    def fits(self, suite: str, requested: tuple[str, ...]) -> bool:
        """Return whether it was made for this suite and these packages."""
        return (self.suite, self.requested) == (suite, requested)


def lock_file(folder: Path, platform: str) -> Path:
    """Return the lock for ``platform`` (``linux/amd64``) in ``images/base``."""
    return folder / f"{_PREFIX}{platform.replace('/', '-')}{_SUFFIX}"


def read_locks(folder: Path) -> Mapping[str, PackageLock]:
    """Return the locks in ``folder``, by platform.

    Raises ``EnvironmentUnable`` if one is damaged.
    """
    return {
        path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX).replace("-", "/"): read_lock(path)
        for path in sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"))
    }


def read_lock(path: Path) -> PackageLock:
    """Return the lock at ``path``. Raises ``EnvironmentUnable`` if it is damaged."""
    try:
        return PackageLock.model_validate(tomli.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, f"{place}: {first['msg']}") from None
    except ValueError as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, why: str) -> EnvironmentUnable:
    return EnvironmentUnable(
        f"{path} is damaged: {why}", "check it out again, or remove it and run `nox -s lock`"
    )
