"""What a job's container runs beside the job: it ends all of it when nobody asks after it.

Of another machine no process can be watched. So the driver sends a signal from time to time, which
the engine passes on, and each one lends the container some more time. When that is over it ends,
and the engine removes it with all that it wrote. Until then it stays, also when the job has ended,
so that what was made can be fetched.
"""

from __future__ import annotations

RENEW = "SIGUSR1"
"""Signal with which a driver asks after a job."""
DETACH = "SIGUSR2"
"""Signal after which nobody need ask until its longest time is over."""
STOP = "SIGTERM"
"""Signal that ends the job, but not its container."""
READY = b"quern-kept\n"
"""The first line of the output. Before it is there, a signal would end the container."""

_KEPT = """
import os, signal, sys, time
lease, longest, mark, *command = sys.argv[1:]
RENEW, DETACH, CHILD = signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD
ours = {RENEW, DETACH, CHILD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, ours)
os.write(1, b"quern-kept\\n")
own = os.getpid()
main = os.fork()
if not main:
    try:
        import ctypes
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if os.getppid() == own:
            os.execvp(command[0], command)
    finally:
        os._exit(1)
try:
    os.setpgid(main, main)  # both do it: whoever comes first
except OSError:
    pass
until = time.monotonic() + float(lease)
while (left := until - time.monotonic()) > 0:
    came = signal.sigtimedwait(ours, left)
    if came is None:
        continue
    if came.si_signo == RENEW:
        until = max(until, time.monotonic() + float(lease))
    elif came.si_signo == DETACH:
        until = max(until, time.monotonic() + float(longest))
    elif came.si_signo == CHILD:
        pid, status = os.waitpid(main, os.WNOHANG) if main else (0, 0)
        if pid:
            main = 0
            os.write(1, f"\\n{mark} {os.waitstatus_to_exitcode(status)}\\n".encode())
    elif main:
        os.killpg(main, signal.SIGKILL)
os._exit(0)
"""


def kept(
    python: str, lease_seconds: float, longest_seconds: float, mark: str, *command: str
) -> list[str]:
    """Return the command that runs ``command``, and then writes ``mark`` and its exit code to
    standard output, until nobody has asked for ``lease_seconds``."""
    return [
        *(python, "-I", "-S", "-c", _KEPT),
        *(f"{lease_seconds:g}", f"{longest_seconds:g}", mark),
        *command,
    ]
