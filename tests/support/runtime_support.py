"""What the tests of both runtimes share: requests for the stand-in pipeline, and waiting."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.plan import Plan, Step
from targets.runtimes.runtime import Mount, ProcessLimits, RunRequest
from targets.toolchain.platforms import this_machine
from targets.toolchain.toolchain import Toolchain

STANDIN = Path(__file__).parent / "standin" / "pipeline"
CRASHES = (("crash", "SIGSEGV"), ("illegal", "SIGILL"))
"""What the stand-in does to be ended by a signal, and the signal."""


def toolchain(folder: Path) -> Toolchain:
    """Return a toolchain with an empty lock: the stand-in needs no wheel."""
    image_dir = folder / "image"
    image_dir.mkdir(parents=True, exist_ok=True)
    standin = Toolchain(
        "standin", this_machine(), "3.11", image_dir, {"QUERN_TEST": "of the target"}
    )
    standin.lock.touch()
    return standin


def request(
    folder: Path,
    params: Mapping[str, JsonValue],
    mounts: tuple[Mount, ...] = (),
    resources: ProcessLimits = ProcessLimits(),  # noqa: B008 - frozen
    environment: Mapping[str, str] | None = None,
) -> RunRequest:
    """Return a request whose one step does what ``params`` say; ``work`` is writable."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    step = Step(
        name="s",
        kind="pass",
        type="standin",
        target="standin",
        toolchain="0" * 64,
        key="0" * 64,
        seed=0,
        params=dict(params),
    )
    return RunRequest(
        plan=Plan(build="test", steps=(step,)),
        mounts=(Mount("work", work, writable=True), *mounts),
        log=folder / "run.log",
        resources=resources,
        environment=environment or {},
    )


def wait_for(path: Path, seconds: float = 120) -> None:
    """Return when ``path`` has content; fail after ``seconds``."""
    end = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


@contextmanager
def in_background(work: Callable[[], object]) -> Iterator[None]:
    """Do ``work`` in another thread while the block runs."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        assert not failures, failures


@contextmanager
def heeded(number: signal.Signals) -> Iterator[None]:
    """Have ``number`` heeded: tests that nohup has started are to ignore SIGHUP."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def signal_self_when(path: Path, number: signal.Signals) -> Callable[[], None]:
    """Return work that sends this process ``number`` once ``path`` has content."""

    def act() -> None:
        wait_for(path)
        time.sleep(0.2)
        os.kill(os.getpid(), number)

    return act


class EngineProxy:
    """A socket that leads to the engine until it is shut: an engine that stops, seen from here."""

    def __init__(self, address: Path, engine: str) -> None:
        self._engine = engine
        self._moving = threading.Event()
        self._moving.set()
        self._ends: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        """Cut every connection and refuse new ones."""
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def freeze(self) -> None:
        """Let nothing through any more, and keep every connection."""
        self._moving.clear()

    def thaw(self) -> None:
        """Go on, with all that came meanwhile."""
        self._moving.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                outer = socket.socket(socket.AF_UNIX)
                outer.connect(self._engine)
                self._ends += [inner, outer]
                for source, sink in ((inner, outer), (outer, inner)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._moving.wait()
                sink.sendall(data)
            self._moving.wait()
            sink.shutdown(socket.SHUT_WR)
