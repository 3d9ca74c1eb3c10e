"""Passes of somebody who means harm, each to be run in a real container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_HEAD = '''\
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

from pipeline.contract.frozen import Frozen
from pipeline.passes.base import BasePass


class NoParams(Frozen):
    pass


def say(event, **more):
    """Write an event where the process itself does."""
    own = os.readlink("/proc/self/fd/1")
    for number in range(3, 64):
        try:
            place = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if place.startswith("pipe:") and place != own:
            text = json.dumps({"event": event, "step": "hostile", **more})
            os.write(number, text.encode() + b"\\n")


def forge(**more):
    """Leave a result without having run."""
    (step,) = json.loads(Path("/run/quern/plan.json").read_text())["steps"]
    output = Path("/quern/work") / step["key"] / "output"
    output.mkdir(parents=True)
    fields = {name: step[name] for name in ("name", "type", "key")}
    text = json.dumps({**fields, "seconds": 1, "peak_rss_bytes": 1, **more})
    (output.parent / "result.json").write_text(text)
    return output


class Hostile(BasePass[NoParams]):
    Params = NoParams
    consumes = {"model": "checkpoint"}
    produces = "checkpoint"

    def run(self, inputs, params, out_dir):
        (out_dir / "model.bin").write_bytes(b"x")
'''


@dataclass(frozen=True)
class HostileStep:
    """One attack, and how the build ends."""

    body: str
    """What the pass does."""
    code: int
    says: str = ""
    """What is in the output of the build."""

    @property
    def text(self) -> str:
        """Return the file with the pass."""
        lines = self.body.strip("\n").splitlines()
        return _HEAD + "".join(f"        {line}\n" for line in lines)

    def row(self, name: str) -> str:
        """Return it, known as ``name``, as a row of the page in Markdown."""
        ends = f"exit code {self.code}" + (f": “{self.says}”" if self.says else "")
        return f"| {name} | {ends} | `tests/attack/test_walls.py` |"


LOOKS_AROUND = HostileStep(
    """
def readable(top):
    for place, _, names in os.walk(top):
        for name in names:
            try:
                path = os.path.join(place, name)
                yield path, open(path, "rb").read(1 << 16)
            except OSError:
                pass

def writable():
    for place, folders, _ in os.walk("/"):
        if place in ("/proc", "/sys"):
            folders.clear()
            continue
        try:
            os.close(os.open(place + "/.probe", os.O_CREAT | os.O_WRONLY))
            os.unlink(place + "/.probe")
            yield place
        except OSError:
            pass

mark = "-".join(("planted", "f8c1"))  # not as it stands there
mounts = [line.split()[4] for line in open("/proc/self/mountinfo")]
seen = [
    path
    for top in ("/quern", "/run", "/tmp", "/dev/shm", "/root", "/home", "/opt/quern-pipeline")
    for path, content in readable(top)
    if mark.encode() in content
]
others = [
    name
    for name in os.listdir("/proc")
    if name.isdigit() and int(name) not in (1, os.getpid())
]
return {
    "mounts": sorted(place for place in mounts if place.startswith(("/quern", "/run"))),
    "seen": seen,
    "others": others,
    "variables": sorted(name for name, value in os.environ.items() if mark in value),
    "writable": sorted(
        place for place in writable() if not place.startswith(("/quern/work/", "/dev/"))
    ),
    "sockets": [path for path, _ in readable("/var/run") if "docker" in path],
    "devices": sorted(name for name in os.listdir("/sys/class/net") if name != "lo"),
}
""",
    0,
)
"""Its metrics are what it saw."""

HOSTILE_STEPS: Mapping[str, HostileStep] = {
    "begins its time again and again": HostileStep(
        """
while True:
    say("started")
    time.sleep(0.1)
""",
        *(5, "hostile was stopped: it took longer than"),
    ),
    "starts processes without end": HostileStep(
        """
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
        5,
    ),
    "takes memory without end": HostileStep(
        'held = []\nwhile True:\n    held.append(b"x" * (1 << 24))',
        *(5, "hostile ran out of memory"),
    ),
    "fills /tmp": HostileStep(
        'with open("/tmp/f", "wb") as file:\n    while True:\n        file.write(bytes(1 << 20))',
        *(5, "hostile ran out of memory"),
    ),
    "fills the log": HostileStep(
        'while True:\n    os.write(2, b"x" * (1 << 16))',
        *(5, "hostile was stopped: it took longer than"),
    ),
    "says more than anybody reads": HostileStep(
        """
say("note", message="x" * (1 << 21))
while True:
    say("note", message="hello")
""",
        *(5, "hostile was stopped: it took longer than"),
    ),
    "says what cannot be": HostileStep(
        """
say("progress", done=1, total=10**400)
say("progress", done=1, total=0, metrics={"loss": float("nan")})
say("finished", seconds=float("inf"), peak_rss_bytes=-1)
say("finished", seconds=float("nan"), peak_rss_bytes=10**3000)
return {}
""",
        0,
    ),
    "claims a file of eight terabytes": HostileStep(
        """
output = forge(files=[{"path": "x", "bytes": 8 << 40, "sha256": "0" * 64}])
with (output / "x").open("wb") as file:
    file.truncate(8 << 40)
os._exit(0)
""",
        *(5, "claims more bytes than its disk has"),
    ),
    "leaves a result of millions of values": HostileStep(
        'forge(metrics={"a": [{}] * 5_000_000})\nos._exit(0)',
        *(5, "more than 4,000,000 values"),
    ),
    "leaves infinity": HostileStep(
        'forge(seconds=float("inf"))\nos._exit(0)', *(5, "Infinity is not JSON")
    ),
    "closes its folders": HostileStep(
        """
closed = out_dir.parent.parent / "closed"
(closed / "inner").mkdir(parents=True)
(closed / "inner" / "file").touch()
(closed / "inner").chmod(0)
closed.chmod(0o500)
return {}
""",
        0,
    ),
    "leaves a process behind": HostileStep(
        """
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    while True:
        Path("/quern/work/beat").write_text(str(time.time()))
return {}
""",
        0,
    ),
    "stops who watches it": HostileStep(
        """
for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGSEGV):
    os.kill(1, number)
time.sleep(300)
""",
        *(5, "hostile was stopped: it took longer than"),
    ),
}
