"""Makes the lock of the base's packages: apt resolves it from Debian's signed lists."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import tomli_w

from targets.atomic import replace_file
from targets.errors import EnvironmentUnable
from targets.toolchain.bootstrap import KEYRING, Bootstrap
from targets.toolchain.credentials import scrub
from targets.toolchain.debian.mirrors import mirrors
from targets.toolchain.debian.packages import Package, PackageLock, lock_file, read_lock
from targets.toolchain.lock import LockChange
from targets.toolchain.run_tool import ToolFailed, run_tool

_HEADER = "# Made by `nox -s lock` from base.toml for {platform}.\n# Do not edit.\n"

_ESSENTIAL = ("?essential", "usr-is-merged")
"""Packages of every Debian; the second replaces the tool that would merge ``/usr``."""

_URI = re.compile(
    r"^'(?P<uri>\S+)' (?P<name>[^_\s]+)_(?P<version>[^_\s]+)_\S+\.deb (?P<size>\d+)"
    r" SHA256:(?P<sha256>[0-9a-f]{64})$"
)


def lock_packages(
    recipe: Bootstrap, platform: str, folder: Path, upgrade: bool
) -> tuple[LockChange, ...]:
    """Write the lock for ``platform`` into ``folder`` and return what changed, sorted by name.

    An existing lock that fits ``recipe`` is kept unless ``upgrade``. Raises ``EnvironmentUnable``
    on a host that is not Debian, and if apt cannot resolve the packages.
    """
    file = lock_file(folder, platform)
    before = read_lock(file) if file.exists() else None
    if before and before.fits(recipe.suite, recipe.packages) and not upgrade:
        return ()
    locked = resolve(recipe, platform)
    text = tomli_w.dumps(locked.model_dump(mode="json"))
    replace_file(file, f"{_HEADER.format(platform=platform)}\n{text}")
    return changes_of(before, locked)


def changes_of(before: PackageLock | None, locked: PackageLock) -> tuple[LockChange, ...]:
    """Return the packages whose versions differ between the locks, sorted by name."""
    old = {one.name: one.version for one in before.package} if before else {}
    new = {one.name: one.version for one in locked.package}
    return tuple(
        LockChange(name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


def resolve(recipe: Bootstrap, platform: str) -> PackageLock:
    """Return the newest packages for ``platform`` that this machine's mirrors have.

    Raises ``EnvironmentUnable`` on a host that is not Debian, and if apt cannot resolve them.
    """
    places = mirrors(recipe.suite)
    command = ("install", "--no-install-recommends", *_ESSENTIAL, *recipe.packages)
    packages = _listed(places, platform, command)
    return PackageLock(suite=recipe.suite, requested=recipe.packages, package=packages)


def resolve_alone(suite: str, names: Sequence[str], platform: str) -> tuple[Package, ...]:
    """Return the packages ``names`` of the release ``suite`` itself, without what they need.

    Raises ``EnvironmentUnable`` as :func:`resolve`.
    """
    places = {name: uris for name, uris in mirrors(suite).items() if name == suite}
    return _listed(places, platform, ("download", *names))


def _listed(
    places: Mapping[str, Sequence[str]], platform: str, command: Sequence[str]
) -> tuple[Package, ...]:
    """Return what apt would fetch from ``places`` for ``command``, sorted by name."""
    if not places:
        raise EnvironmentUnable(
            "apt of this machine has no mirror of Debian", "lock on a Debian host"
        )
    if not KEYRING.exists():
        raise EnvironmentUnable(
            f"{KEYRING} is missing: Debian's lists cannot be trusted",
            "apt-get install debian-archive-keyring",
        )
    with tempfile.TemporaryDirectory() as folder:
        options = _private_apt(Path(folder), places, platform.rpartition("/")[2])
        try:
            run_tool(["apt-get", *options, "--error-on=any", "update"], tool="apt-get")
            listing = run_tool(
                ["apt-get", *options, "--print-uris", "--quiet=2", *command], tool="apt-get"
            )
        except ToolFailed as error:
            raise EnvironmentUnable(
                f"Debian's packages cannot be resolved:\n{error.output.strip()}",
                "check the names in images/, and that apt's mirrors can be reached",
            ) from None
    return tuple(sorted(packages_in(listing, places), key=lambda package: package.name))


def require_none_older(versions: Mapping[str, str], locked: PackageLock) -> None:
    """Raise ``EnvironmentUnable`` if one of ``versions``, by package, is older than was locked.

    Lists that Debian signed once stay signed: a mirror can keep the old ones, with the weaknesses
    of that time, and say that the locked versions are gone.
    """
    older = [
        f"{package.name} {versions[package.name]} (locked: {package.version})"
        for package in locked.package
        if package.name in versions and _is_older(versions[package.name], package.version)
    ]
    if older:
        raise EnvironmentUnable(
            f"this machine's Debian mirrors offer older packages than were locked: {older[0]}"
            + (f" and {len(older) - 1} more" if len(older) > 1 else ""),
            "do not trust that mirror: set another in apt's sources",
        )


def _is_older(version: str, other: str) -> bool:
    if version == other:
        return False
    try:
        run_tool(["dpkg", "--compare-versions", version, "ge", other], tool="dpkg")
    except ToolFailed:
        return True
    return False


def _private_apt(
    root: Path, places: Mapping[str, Sequence[str]], architecture: str
) -> tuple[str, ...]:
    """Return apt options that use this machine's mirrors and proxies, but nothing else of it."""
    sources = root / "sources.list"
    lines = [
        f"deb [signed-by={KEYRING}] {uri} {release} main\n"
        for release, uris in places.items()
        for uri in uris
    ]
    sources.touch(mode=0o600)
    sources.write_text("".join(lines), encoding="utf-8")
    for name in ("lists/partial", "cache/archives/partial"):
        (root / name).mkdir(parents=True)
    (root / "status").touch()
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",  # another user could not write into this folder
        "pkgCacheGen::ForceEssential": ",",  # apt takes itself for essential
        "Acquire::ForceHash": "SHA256",
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": root / "lists",
        "Dir::State::Status": root / "status",
        "Dir::State::Extended_States": root / "extended",
        "Dir::Cache": root / "cache",
        "Debug::NoLocking": "true",
    }
    return tuple(f"-o{name}={value}" for name, value in settings.items())


def packages_in(listing: str, places: Mapping[str, Sequence[str]]) -> Iterator[Package]:
    """Yield the packages in apt's ``listing`` (``--print-uris``) that come from ``places``."""
    releases: dict[str, str] = {}
    for release, uris in places.items():
        for uri in uris:
            releases.setdefault(uri, release)  # updates lie on the mirror of their release
    for line in listing.splitlines():
        match = _URI.match(line)
        mirror = next((uri for uri in releases if match and match["uri"].startswith(uri)), "")
        if match is None or not mirror:
            raise EnvironmentUnable(
                f"apt-get prints what is not understood: {scrub(line)}",
                "file an issue with apt's version, `apt-get --version`",
            )
        yield Package(
            name=match["name"],
            version=unquote(match["version"]),
            release=releases[mirror],
            path=unquote(match["uri"].removeprefix(mirror)),
            size=int(match["size"]),
            sha256=match["sha256"],
        )
