"""``lock``: pin every package of the host and of the toolchains, by version and hash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from targets.cli import options
from targets.cli.echo import echo
from targets.cli.json_output import print_json_result
from targets.errors import EnvironmentUnable
from targets.target import ALL, IMAGES_DIR, Target, load_targets
from targets.toolchain.base import read_recipe
from targets.toolchain.debian.extra_files import lock_files
from targets.toolchain.debian.package_lock import lock_packages
from targets.toolchain.debian.packages import lock_file
from targets.toolchain.host_lock import HOST_LOCKS, lock_host
from targets.toolchain.image import installer
from targets.toolchain.kernel_table import lock_kernel_table
from targets.toolchain.lock import LockChange, lock
from targets.toolchain.locked_builder import lock_builder_options
from targets.toolchain.package_set import lock_package_set, package_set, set_names
from targets.toolchain.toolchain import Toolchain


@click.command("lock")
@options.target_option("Default: all, the host's own locks, and the base.")
@click.option("--base", is_flag=True, help="Only the Debian packages of the base image.")
@click.option("--keep", is_flag=True, help="Keep locked versions that still fit.")
@options.json_option
def command(targets: tuple[str, ...], base: bool, keep: bool, as_json: bool) -> None:
    """Resolve pyproject.toml and images/*/requirements*.in again, and show what changed.

    One lock per target and platform, and one of the base's Debian packages, which only a Debian
    host can make. With them go the options of each locked model builder and the kernel table of
    each locked ONNX Runtime, which builds and checks are held to.

    A changed toolchain lock changes the key of every step it runs: the next build makes them anew.
    """
    if base and targets:
        raise click.UsageError("--base and --target exclude each other")
    locks = {}
    changed = _lock_bases(not keep) if base else _lock(targets, not keep)
    for file, changes in changed:
        locks[file] = changes
        if not as_json:
            echo(f"{file}: {f'{len(changes)} changed' if changes else 'unchanged'}")
            for change in changes:
                echo(f"  {change}")
    if as_json:
        print_json_result({"locks": locks})


def _lock(targets: tuple[str, ...], upgrade: bool) -> Iterator[tuple[str, tuple[LockChange, ...]]]:
    if not targets:
        for host_lock in HOST_LOCKS:
            yield host_lock.file, lock_host(host_lock, upgrade)
    chosen = load_targets(targets or (ALL,))
    for toolchain in _toolchains(chosen):
        name = str(toolchain.lock.relative_to(options.PROJECT))
        yield name, lock(toolchain, upgrade)
        name = str(toolchain.files_lock.relative_to(options.PROJECT))
        try:
            changes = lock_files(toolchain, upgrade)
        except EnvironmentUnable as unable:
            echo(f"warning: {name} stays as it is: {unable} ({unable.hint})", err=True)
            continue
        if toolchain.files_lock.exists():
            yield name, changes
    if not targets:
        yield from _lock_bases(upgrade)
        yield from _lock_package_sets(chosen, upgrade)
    for target, toolchain in _builders(chosen):
        lock_builder_options(toolchain)
        try:
            lock_kernel_table(toolchain, target.execution_provider)
        except EnvironmentUnable as unable:
            # The old table can still be used: the check reports its version.
            echo(f"warning: {unable} ({unable.hint})", err=True)


def _lock_bases(upgrade: bool) -> Iterator[tuple[str, tuple[LockChange, ...]]]:
    """Lock the base's Debian packages where this machine can; elsewhere the locks stay."""
    folder = IMAGES_DIR / "base"
    bootstrap = read_recipe(folder / "base.toml").bootstrap
    platforms = dict.fromkeys(toolchain.platform for toolchain in _toolchains(load_targets((ALL,))))
    for platform in platforms:
        if not platform.startswith("linux/"):
            continue
        name = str(lock_file(folder, platform).relative_to(options.PROJECT))
        try:
            yield name, lock_packages(bootstrap, platform, folder, upgrade)
        except EnvironmentUnable as unable:
            echo(f"warning: {name} stays as it is: {unable} ({unable.hint})", err=True)


def _lock_package_sets(
    targets: Iterable[Target], upgrade: bool
) -> Iterator[tuple[str, tuple[LockChange, ...]]]:
    """Lock the packages that steps need beside a toolchain, for the platforms that build."""
    building: dict[str, list[Toolchain]] = defaultdict(list)
    for target in targets:
        for platform, rules in target.platforms.items():
            if rules.builds:
                building[platform].append(target.toolchain(platform))
    for name in set_names():
        for toolchains in building.values():
            packages = package_set(name, toolchains[0])
            path = packages.toolchain.lock.relative_to(options.PROJECT)
            yield str(path), lock_package_set(packages, toolchains, upgrade)


def _toolchains(targets: Iterable[Target]) -> Iterator[Toolchain]:
    """Yield each platform's toolchain of the targets, and the installers they share, once each."""
    by_lock: dict[Path, Toolchain] = {}
    for target in targets:
        for platform in target.platforms:
            toolchain = target.toolchain(platform)
            by_lock.setdefault(installer(toolchain).lock, installer(toolchain))
            if toolchain.parent is not None:
                by_lock.setdefault(toolchain.parent.lock, toolchain.parent)
            by_lock.setdefault(toolchain.lock, toolchain)
    yield from by_lock.values()


def _builders(targets: Iterable[Target]) -> Iterator[tuple[Target, Toolchain]]:
    """Yield one toolchain per target that builds: its builder's options are the same on all."""
    for target in targets:
        platform = next(name for name, rules in target.platforms.items() if rules.builds)
        yield target, target.toolchain(platform)
