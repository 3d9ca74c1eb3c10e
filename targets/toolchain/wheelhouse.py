"""The host's store of wheels: every wheel of a lock, fetched once and checked against its hashes.

The host's own pip fetches them, so that the user's indexes, proxies, certificates and credentials
apply, and do not get into any image.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from pipeline.contract.sha256 import sha256_of_file
from targets.atomic import replace_file
from targets.errors import EnvironmentUnable
from targets.toolchain.download import download
from targets.toolchain.platforms import platform_named
from targets.toolchain.requirements import Pin, read_lock
from targets.toolchain.toolchain import Toolchain

_VERIFIED = "verified.json"


@dataclass(frozen=True)
class Wheel:
    """A wheel on this machine with a hash of the lock."""

    pin: Pin
    path: Path


class Wheelhouse:
    """Wheels by file name in ``folder``, shared by every target.

    ``verified.json`` remembers the SHA-256 of each file with the size and modification time it had,
    so that an unchanged wheelhouse is checked in milliseconds and a changed file is read again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def missing(self, toolchain: Toolchain) -> tuple[Pin, ...]:
        """Return the pins without a wheel of their hash. Changes nothing, and reads only wheels
        that nobody has read yet."""
        pins = read_lock(toolchain.lock)
        have = self._match(pins, toolchain, self._read(pins, toolchain))
        return tuple(pin for pin in pins if pin not in have)

    def lacks(self, toolchain: Toolchain) -> int:
        """Return the approximate size of the wheels that have to be fetched, in bytes."""
        pins = read_lock(toolchain.lock)
        have = self._match(pins, toolchain, self._read(pins, toolchain))
        if len(have) == len(pins):
            return 0
        available = sum(path.stat().st_size for path in have.values())
        return max(0, round(1e9 * toolchain.room.wheels) - available)

    def ensure(self, toolchain: Toolchain, say: Callable[[str], None]) -> tuple[Wheel, ...]:
        """Return a verified wheel for every pin of the lock, fetching missing ones.

        Raises ``EnvironmentUnable`` that names the wheels that cannot be fetched.
        """
        pins = read_lock(toolchain.lock)
        have = self._match(pins, toolchain, self._remembered())
        if len(have) < len(pins):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                have = self._complete(pins, toolchain, say)
        return tuple(Wheel(pin, have[pin]) for pin in pins)

    def add(
        self, wheels: Mapping[str, str], chunks: Callable[[str], Iterable[bytes]]
    ) -> tuple[str, ...]:
        """Add ``wheels`` (SHA-256 by file name); return the names of those that were new.

        ``chunks`` yields the content of one. Each appears under its name only when complete. Raises
        ``EnvironmentUnable`` if the digest of one is wrong.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            digests = self._remembered()
            new = tuple(name for name in wheels if digests.get(name) != wheels[name])
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=".add-") as scratch:
                for name in new:
                    partial = Path(scratch) / name
                    if _written(partial, chunks(name)) != wheels[name]:
                        raise EnvironmentUnable(f"{name} has changed while it was read")
                    partial.replace(self.folder / name)
                    digests[name] = wheels[name]
            if new:
                self._remember(digests)
        return new

    def _complete(
        self, pins: Sequence[Pin], toolchain: Toolchain, say: Callable[[str], None]
    ) -> dict[Pin, Path]:
        digests = self._verify(pins, toolchain, say)
        have = self._match(pins, toolchain, digests)
        missing = [pin for pin in pins if pin not in have]
        if missing:
            say(f"fetching {len(missing)} of {len(pins)} wheels")
            for path in download(missing, toolchain, self.folder):
                digests[path.name] = sha256_of_file(path)
            self._remember(digests)
            have = self._match(pins, toolchain, digests)
        lost = [str(pin) for pin in pins if pin not in have]
        if lost:
            raise EnvironmentUnable(
                f"fetched wheels do not fit the lock: {', '.join(lost)}",
                f"empty {self.folder} and run again",
            )
        return have

    def _verify(
        self, pins: Sequence[Pin], toolchain: Toolchain, say: Callable[[str], None]
    ) -> dict[str, str]:
        """Verify every wheel of the lock with unknown content, and remove damaged ones."""
        known = self._remembered()
        digests = self._read(pins, toolchain)
        for pin, path in self._named(pins, toolchain, digests.keys() - known.keys()):
            if digests[path.name] not in pin.sha256:
                say(f"{path.name} in the wheelhouse is damaged; fetching it again")
                path.unlink()
                del digests[path.name]
        if digests != known:
            self._remember(digests)
        return digests

    def _read(self, pins: Sequence[Pin], toolchain: Toolchain) -> dict[str, str]:
        """Return the digest of each wheel, of those that are not remembered if the lock may have
        them."""
        digests = self._remembered()
        for _, path in self._named(pins, toolchain, _names(self.folder) - digests.keys()):
            with suppress(FileNotFoundError):  # another process removes a damaged one
                digests[path.name] = sha256_of_file(path)
        return digests

    def _match(
        self, pins: Sequence[Pin], toolchain: Toolchain, digests: Mapping[str, str]
    ) -> dict[Pin, Path]:
        """Return the wheel of each pin among those whose digest is known."""
        return {
            pin: path
            for pin, path in self._named(pins, toolchain, digests)
            if digests[path.name] in pin.sha256
        }

    def _named(
        self, pins: Sequence[Pin], toolchain: Toolchain, names: Iterable[str]
    ) -> Iterable[tuple[Pin, Path]]:
        """Yield the files whose names are those of wheels of ``pins`` for the toolchain."""
        pins_by_version: dict[object, Pin] = {(pin.name, pin.version): pin for pin in pins}
        usable = frozenset(_tags(toolchain))
        for name in sorted(names):
            project, version, tags = _parse(name)
            pin = pins_by_version.get((project, version))
            if pin is not None and tags & usable:
                yield pin, self.folder / name

    def _remembered(self) -> dict[str, str]:
        """Return the digest of each wheel that has not changed since it was read."""
        try:
            text = (self.folder / _VERIFIED).read_text(encoding="utf-8")
            entries = json.loads(text).items()
        except (FileNotFoundError, ValueError, AttributeError):
            return {}  # made again from the wheels themselves
        return {
            name: digest
            for name, (digest, *stamp) in entries
            if _stamp(self.folder / name) == tuple(stamp)
        }

    def _remember(self, digests: Mapping[str, str]) -> None:
        entries = {name: [digests[name], *_stamp(self.folder / name)] for name in sorted(digests)}
        replace_file(self.folder / _VERIFIED, json.dumps(entries, indent=1))


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.whl")}


def _parse(name: str) -> tuple[object, object, frozenset[Tag]]:
    try:
        project, version, _, tags = parse_wheel_filename(name)
    except InvalidWheelFilename:
        return name, None, frozenset()
    return project, version, tags


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and modification time in nanoseconds; zeros for a missing file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)


def _written(path: Path, chunks: Iterable[bytes]) -> str:
    """Write ``chunks`` to ``path`` and return their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
    return digest.hexdigest()


def _tags(toolchain: Toolchain) -> Iterator[Tag]:
    """Yield the wheel tags that the Python of ``toolchain`` accepts on its platform."""
    major, minor = (int(part) for part in toolchain.python.split("."))
    platforms = platform_named(toolchain.platform).wheels
    yield from cpython_tags((major, minor), platforms=platforms)
    yield from compatible_tags((major, minor), f"cp{major}{minor}", platforms=platforms)
