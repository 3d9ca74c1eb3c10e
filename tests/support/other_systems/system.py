"""A system that is not at hand, as far as Quern's code sees it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from targets.cli.options import PROJECT
from tests.support.other_systems.lacking import absent, lacking

SITE = Path(__file__).parent / "site"


@dataclass(frozen=True)
class System:
    """What Python says of a system."""

    platform: str
    """``sys.platform``"""
    system: str
    """``platform.system()``"""
    machine: str
    """``platform.machine()``"""
    processor: str
    release: str

    def variables(self, folder: Path) -> dict[str, str]:
        """Return the variables that make a Python process this system to Quern's code; what is
        true of it is written to ``folder``."""
        facts = folder / f"{self.system}-{self.machine}.json"
        said = {"lacking": lacking(self.platform), "absent": absent(self.platform)}
        facts.write_text(json.dumps({**vars(self), **said}), "utf-8")
        return {"AS_SYSTEM": str(facts), "PYTHONPATH": os.pathsep.join((str(SITE), str(PROJECT)))}


WINDOWS = System("win32", "Windows", "AMD64", "Intel64 Family 6 Model 154, GenuineIntel", "11")
APPLE = System("darwin", "Darwin", "arm64", "arm", "24.6.0")
INTEL_MAC = System("darwin", "Darwin", "x86_64", "i386", "22.6.0")
