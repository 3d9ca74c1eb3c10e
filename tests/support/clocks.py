"""A wall clock that steps, for one process and all that it starts here; that of the machine stays.

A step of a machine's clock shows in what the C library answers, and in the time at which the
machine started, by the kernel (``btime`` in ``/proc/stat``): from that others compute when a
process did. Clocks that nobody sets go on as they were, as they do when a real one steps.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.support.capabilities import program, skip_or_fail
from tests.support.gated_builds import Surroundings

_LIBRARY = Path(__file__).with_name("wall_clock.c")
_STAT = Path("/proc/stat")


class SteppingClock:
    """Such a clock, with its files in one folder."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid():
            skip_or_fail("clock", "this user may not mount anything")
        folder.mkdir()
        self._off, self._stat = folder / "off", folder / "stat"
        library = folder / "clock.so"
        compiler = program("clock", "cc", "gcc", "clang")
        build = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(_LIBRARY)]
        subprocess.run(build, check=True)
        mount = 'mount --bind "$0" /proc/stat && exec "$@"'
        self.around = Surroundings(
            {"LD_PRELOAD": str(library), "QUERN_TEST_CLOCK": str(self._off)},
            (program("clock", "unshare"), "--mount", "sh", "-c", mount, str(self._stat)),
        )
        self.step(0)

    def step(self, seconds: int) -> None:
        """Be off by so many seconds from now on."""
        text = re.sub(
            r"(?m)^btime (\d+)$",
            lambda line: f"btime {int(line[1]) + seconds}",
            _STAT.read_text("ascii"),
        )
        # In place: what is mounted is this file.
        self._stat.write_text(text, "ascii")
        self._off.write_text(f"{seconds}\n", "ascii")
