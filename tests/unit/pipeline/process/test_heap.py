"""What a training step frees, the next one finds; the system gets it when the training ends."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

from targets.cli.options import PROJECT
from tests.support.capabilities import skip

# Allocates, fills and frees 120 MB again and again, by the C library. Page faults are counted once
# the heap has seen it all.
USED = """
import ctypes, json, resource
from contextlib import nullcontext
from pathlib import Path
from pipeline.process.heap import kept_heap

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
SIZE = 30 << 20

def work():
    blocks = [libc.malloc(SIZE) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    for block in blocks:
        libc.free(block)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

found = {}
for name, context in (("kept", kept_heap()), ("otherwise", nullcontext())):
    with context:
        work()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            work()
        found[name] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        found[f"{name}, resident"] = resident()
    found[f"after {name}"] = resident()
print(json.dumps(found))
"""


def test_freed_memory_is_kept_for_what_comes_next_and_goes_back_in_the_end() -> None:
    if platform.libc_ver()[0] != "glibc":
        skip("heap", "the C library is not GNU's")
    ran = subprocess.run(
        [sys.executable, "-c", USED], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    found = json.loads(ran.stdout)
    assert found["kept"] < 10 < found["otherwise"]
    assert found["kept, resident"] - found["after kept"] > 100 << 20
