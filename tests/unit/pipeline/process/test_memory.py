"""Free memory, as the system says."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.process.memory import available_memory


def test_some_of_the_machines_memory_is_free() -> None:
    total = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text("utf-8"))
    assert total is not None
    free = available_memory()
    assert free is not None
    assert 0 < free <= 1024 * int(total[1])
