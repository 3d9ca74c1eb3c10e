"""The result of a verification on the terminal, and the same as data."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape

from targets.console.print_release import UNSIGNED
from targets.release import layout
from targets.release.differences.print_differences import print_differences
from targets.release.verify import Verified
from targets.runtimes.runtime import PLACES


def print_verified(console: Console, verified: Verified) -> None:
    """Show what is confirmed, what differs, and what is open."""
    console.print()
    for line in _proofs(verified):
        console.print(f"[green]✓[/] {escape(line)}", highlight=False, soft_wrap=True)
    for line in _open(verified):
        console.print(f"[yellow]?[/] {escape(line)}", highlight=False, soft_wrap=True)
    if verified.differs:
        console.print("[red]✗[/] the rebuild differs:", highlight=False)
        print_differences(console, verified.comparison.differences)
        return
    release = verified.release
    by_others = "in order, and rebuilt by somebody else" if verified.rebuilder else ""
    word = "verified by rebuilding it" if verified.rebuilt else by_others or "in order; not rebuilt"
    console.print(f"[green bold]{release.build} {release.version}[/] is {word}", highlight=False)


def verified_data(verified: Verified) -> dict[str, object]:
    """Return the same as data, for ``--json``."""
    return {
        "build": verified.release.build,
        "version": verified.release.version,
        "signed_by": verified.signer or None,
        "rebuilt": verified.rebuilt,
        "trained_again": verified.rebuilt and not verified.given,
        "same": not verified.differs if verified.rebuilt else None,
        "compared": verified.comparison.files,
        "differences": verified.comparison.differences,
        "rebuilt_by": verified.rebuilder or None,
        "attested": verified.attested,
    }


def _proofs(verified: Verified) -> Iterator[str]:
    count = len(verified.release.statement.subject)
    yield f"{count} archives, SBOM and provenance are in form, and belong together by their digests"
    if verified.signer:
        yield f"signed by {verified.signer}"
    if verified.rebuilt and not verified.differs:
        trained = "what was trained taken from it" if verified.given else "trained again"
        yield (
            f"rebuilt from its inputs, {trained}: the same bytes in all of "
            f"{', '.join(verified.comparison.files)}"
        )
    if verified.rebuilder:
        trained = ", who took from it what was trained" if verified.rebuilder_was_given else ""
        yield f"built twice, by {verified.signer} and by {verified.rebuilder}{trained}"
    if verified.attested:
        yield f"{layout.REBUILT} in it says so, with your signature"


def _open(verified: Verified) -> Iterator[str]:
    if not verified.release.signed:
        yield UNSIGNED
    elif not verified.signer:
        yield "signed, and nobody's signature was asked for: give --key, or --identity and --issuer"
    if verified.release.internal_parameters.runtime == "venv":
        yield f"made in {PLACES['venv']}"
    for report in verified.release.reports:
        for reason in report.unverified:
            yield f"{report.target} is unverified: {reason}"
    for item in verified.release.inputs:
        if item.annotations.get("dirty"):
            yield f"{item.name} had changes that are in no commit"
