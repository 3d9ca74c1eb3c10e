"""The summary of a release on the terminal, and the same as data."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from targets.figures import size
from targets.release import layout
from targets.release.releaser import Released
from targets.runtimes.runtime import PLACES

UNSIGNED = "unsigned: its digests show that the files belong together, not who made them"


def print_release(console: Console, released: Released, folder: Path) -> None:
    """Show the files of a release, and warnings."""
    release = released.release
    console.print()
    for path in sorted(release.folder.iterdir()):
        console.print(
            f"  {escape(path.name)}  [dim]{size(path.stat().st_size)}[/]", highlight=False
        )
    console.print()
    for report in release.reports:
        for reason in report.unverified:
            console.print(
                f"[yellow]unverified[/]  {report.target}: {escape(reason)}", highlight=False
            )
    for item in release.inputs:
        if item.annotations.get("dirty"):
            console.print(f"[yellow]dirty[/]  {item.name} has changes that are in no commit")
    if release.internal_parameters.runtime == "venv":
        console.print(f"[yellow]made in {PLACES['venv']}[/]")
    if not release.signed:
        console.print(f"[yellow]{UNSIGNED}[/]")
    word = "released" if released.new else "released already, with the same bytes"
    console.print(
        f"[green bold]{word}[/]  {escape(str(folder))}\n"
        f"prove it with `nox -s verify -- {escape(str(folder))}`",
        highlight=False,
        soft_wrap=True,
    )


def release_data(released: Released, folder: Path) -> dict[str, object]:
    """Return the same as data, for ``--json``."""
    release = released.release
    return {
        "release": folder,
        "build": release.build,
        "version": release.version,
        "new": released.new,
        "signed": release.signed,
        "runtime": release.internal_parameters.runtime,
        "files": {item.name: item.digest["sha256"] for item in release.statement.subject},
        "unverified": {
            report.target: report.unverified for report in release.reports if report.unverified
        },
        "provenance": folder / layout.PROVENANCE,
    }
