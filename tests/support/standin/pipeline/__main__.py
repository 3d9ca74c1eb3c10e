"""A stand-in for the real package, of the standard library only: it does what a plan tells it.

Each step's ``params.do`` names a function below. What it sees is written to the ``work`` root.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def emit(**event: Any) -> None:
    """Write one event."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def look(work: Path, params: dict[str, Any]) -> None:
    """Write down what the process is and may do."""
    sys.stdout.write("not an event\n")
    sys.stderr.write("library chatter\n")
    seen: dict[str, Any] = {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "environment": dict(os.environ),
        "status": Path("/proc/self/status").read_text(),
        "roots": params["roots"],
        "read": Path(params["read"]).read_text() if "read" in params else None,
    }
    for name, folder in {"root": "/", "tmp": os.environ["HOME"], **params["roots"]}.items():
        probe = Path(folder) / f"probe-{os.getpid()}"
        try:
            probe.write_text("x")
            probe.unlink()
            seen[f"writes_{name}"] = True
        except OSError:
            seen[f"writes_{name}"] = False
    try:
        socket.create_connection(("192.0.2.1", 9), timeout=2).close()
        seen["network"] = "connected"
    except OSError as error:
        seen["network"] = str(error)
    (work / "seen.json").write_text(json.dumps(seen))


def wait(work: Path, _params: dict[str, Any]) -> None:
    """Start a child and sleep until killed."""
    child = subprocess.Popen(["sleep", "300"])
    (work / "pids").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(300)


def resist(work: Path, params: dict[str, Any]) -> None:
    """Try to outlive the driver: end, stop, trace and look into whoever watches it, and hold its
    lock."""
    lease = os.open("/run/quern/lease", os.O_RDONLY)
    for operation in (fcntl.LOCK_EX, fcntl.LOCK_SH):
        if not os.fork():
            fcntl.flock(lease, operation)
            time.sleep(300)
    if not os.fork():
        fcntl.lockf(lease, fcntl.LOCK_SH)
        time.sleep(300)
    ctypes.CDLL(None).ptrace(16, 1, None, None)
    seen = []
    for name in ("mem", "environ", "cwd"):
        try:
            os.close(os.open(f"/proc/1/{name}", os.O_RDONLY))
            seen.append(name)
        except OSError:
            pass
    for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGSEGV):
        os.kill(1, number)
    (work / "seen.json").write_text(json.dumps(seen))
    wait(work, params)


def fall_silent(work: Path, params: dict[str, Any]) -> None:
    """Close every output, and go on."""
    (work / "pids").write_text(str(os.getpid()))
    for stream in (1, 2):
        os.close(stream)
    time.sleep(params["seconds"])
    os._exit(0)


def eat(_work: Path, params: dict[str, Any]) -> None:
    """Use memory until the kernel ends it."""
    hoard = [os.urandom(1 << 20) for _ in range(params["mebibytes"])]
    del hoard


def child_eats(_work: Path, params: dict[str, Any]) -> None:
    """Let a child use memory until the kernel ends it, then give up as a library would."""
    code = f"import os; hoard = [os.urandom(1 << 20) for _ in range({params['mebibytes']})]"
    if subprocess.run([sys.executable, "-c", code]).returncode:
        raise SystemExit(1)


def leave(_work: Path, params: dict[str, Any]) -> None:
    """End with an exit code."""
    sys.stderr.write("the last words\n")
    raise SystemExit(params["code"])


def crash(_work: Path, _params: dict[str, Any]) -> None:
    """End by a signal of its own making."""
    ctypes.string_at(0)


def illegal(_work: Path, _params: dict[str, Any]) -> None:
    """Execute an instruction that no CPU has."""
    undefined = b"\x0f\x0b" if platform.machine() == "x86_64" else b"\0\0\0\0"  # ud2, udf
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(undefined)
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


def fail(_work: Path, params: dict[str, Any]) -> None:
    """Tell a failure."""
    emit(event="failed", step="s", cause=params["cause"], message=params["message"], hint="")
    raise SystemExit(1)


def main() -> None:
    """Run every step of the plan."""
    if "--variables" in sys.argv:
        variables = Path(sys.argv[sys.argv.index("--variables") + 1])
        os.environ.update(json.loads(variables.read_text()))
    plan = json.loads(Path(sys.argv[1]).read_text())
    work = Path(plan["roots"]["work"])
    for step in plan["steps"]:
        emit(event="started", step=step["name"])
        params = {**step["params"], "roots": plan["roots"]}
        globals()[params["do"]](work, params)
        emit(event="finished", step=step["name"], seconds=0.1, peak_rss_bytes=1)


if __name__ == "__main__":
    main()
