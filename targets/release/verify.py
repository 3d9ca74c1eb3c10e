"""Verifies a release by rebuilding it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from securesystemslib.signer import Signer

from pipeline.contract.sha256 import sha256_of_bytes
from targets.atomic import sibling_folder
from targets.devices.device import Device
from targets.machine import cpu_name
from targets.place import Place
from targets.release import layout
from targets.release.compare_releases import ReleaseComparison, compare_releases
from targets.release.doubts import doubts
from targets.release.inputs import TRAINED
from targets.release.outlook import after_difference, outlook
from targets.release.read_release import ReadRelease
from targets.release.rebuild import Rebuilder, as_released, require_same_platform
from targets.release.rebuilt import add_rebuilt, rebuilt_statement
from targets.release.release_builder import ReleaseBuilder
from targets.release.releaser import sources_of
from targets.release.statement import require_same_schema


@dataclass(frozen=True)
class Verified:
    """The result of a verification."""

    release: ReadRelease
    signer: str = ""
    """The signer whose signature was verified; empty if none was."""
    rebuilt: bool = False
    given: bool = False
    """Whether the trained outputs were taken from the release."""
    comparison: ReleaseComparison = field(default_factory=lambda: ReleaseComparison((), ()))
    kept: Path | None = None
    """Where the rebuilt release lies, if it was kept."""
    rebuilder: str = ""
    """Who else made it again, as the signature says that was verified; empty if none was."""
    rebuilder_was_given: bool = False
    """Whether they took from the release what was trained."""
    attested: bool = False
    """Whether this rebuild was signed and added to the release."""
    doubts: tuple[str, ...] = ()
    """What other kinds of CPUs may train to other bytes."""

    @property
    def differs(self) -> bool:
        """Return whether the rebuild differs."""
        return bool(self.comparison.differences)

    @property
    def advice(self) -> str:
        """Return what to do about a difference."""
        machine = self.release.internal_parameters.machine.cpu
        trained = any(layout.ADAPTER in item.file for item in self.comparison.differences)
        said = after_difference(machine, cpu_name(), self.doubts) if trained else ""
        if said:
            return said
        released = self.release.folder
        if self.kept is None:
            return (
                f"with --keep DIR the rebuild is kept: `diffoscope {released} DIR` shows the rest"
            )
        return f"`diffoscope {released} {self.kept}` shows the rest"


@dataclass(frozen=True)
class Rebuild:
    """The options of a rebuild."""

    maker: ReleaseBuilder
    from_adapter: bool = False
    keep: Path | None = None
    """Where the rebuilt release is kept."""
    signer: Signer | None = None
    """Who says in the release that it was rebuilt, if all is the same."""

    def verify(self, release: ReadRelease, signer: str = "") -> Verified:
        """Rebuild ``release`` in an empty cache, without network, and compare every file.

        A rebuild of the same release that was stopped goes on.

        Raises ``ConfigError`` if the inputs on this machine differ from those of the release or
        another Quern made it, and the errors of a build.
        """
        require_same_schema(release.statement, release.file(layout.PROVENANCE))
        started = datetime.now(timezone.utc)
        maker = as_released(release, self.maker)
        require_same_platform(release, maker.places)
        given = self.from_adapter or bool(release.external_parameters.trained_elsewhere)
        plans = [plans.whole for plans in maker.plans()]
        found = doubts(plans, maker.loaded, _trained_at(release, maker.training_place))
        maker.view.say(
            outlook(
                made_on=release.internal_parameters.machine.cpu,
                here=cpu_name(),
                trained=any(item.name.startswith(TRAINED) for item in release.inputs),
                given=given,
                doubts=found,
            )
        )
        rebuilder = Rebuilder(release, maker)
        rebuilder.require_same_inputs(sources_of(maker.loaded, ()))
        rebuilder.require_offline()
        maker.require_runtime("it was made in containers", "which gives the same bytes")
        asked = [release.envelope.payload, maker.runtime.encode(), b"given" if given else b""]
        name = sha256_of_bytes(b"\n".join(asked))[:32]
        with maker.cache.resumable_folder(name) as scratch:
            folder, around = rebuilder.rebuild(scratch, release.folder if given else None)
            comparison = compare_releases(release.folder, folder)
            if self.keep is not None:
                with sibling_folder(self.keep) as fresh:
                    shutil.copytree(folder, fresh, dirs_exist_ok=True)
                    fresh.rename(self.keep)
        attested = self.signer is not None and not comparison.differences
        if self.signer is not None and attested:
            now = datetime.now(timezone.utc)
            stated = rebuilt_statement(release.statement, around, given, started, now)
            add_rebuilt(release.folder, stated, self.signer)
        return Verified(
            release,
            signer=signer,
            rebuilt=True,
            given=given,
            comparison=comparison,
            kept=self.keep,
            attested=attested,
            doubts=found,
        )


def _trained_at(release: ReadRelease, place: Place) -> Place:
    """Return ``place`` with the device that the release was trained on, which may not be here."""
    absence = release.internal_parameters.absent_devices.get(place.toolchain.target, "")
    return replace(place, device=Device(place.device.kind, absence=absence))
