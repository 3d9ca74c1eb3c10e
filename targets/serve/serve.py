"""Serves an artifact: the HTTP server runs here, what answers in the artifact's toolchain."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from pipeline.contract.events import Event, Noted, Reply
from pipeline.contract.plan import PathRef, SourceInput, Step
from pipeline.passes.serve import LOADED
from targets.cache import Cache
from targets.errors import EnvironmentUnable
from targets.place import Place
from targets.run_steps import run_uncached
from targets.runtimes.runtime import Mount, ProcessLimits, Runtime
from targets.serve.exchange import Exchange
from targets.view import View

LOOPBACK = "127.0.0.1"
_CONNECTIONS = 64
_FOR_EVER = 10 * 365 * 24 * 3600.0
"""Seconds: longer than any process that serves."""


def serve(
    artifact: Path,
    exchange: Exchange,
    place: Place,
    runtime: Runtime,
    cache: Cache,
    view: View,
    loaded: Callable[[], None],
) -> None:
    """Answer the requests of ``exchange`` with ``artifact``, until a signal ends it; call
    ``loaded`` as soon as it can."""
    toolchain = place.toolchain
    runtime.prepare(toolchain, view.say)
    step = Step(
        name="serve",
        kind="pass",
        type="serve",
        target=toolchain.target,
        toolchain=toolchain.digest,
        key="serve",
        seed=0,
        inputs={"artifact": SourceInput(ref=PathRef(root="artifact"), digest="")},
    )

    def on_event(event: Event) -> None:
        if isinstance(event, Reply):
            exchange.take(event)
        elif isinstance(event, Noted) and event.message == LOADED:
            loaded()
        else:
            view.event(event)

    log = cache.root / "logs" / "serve.log"
    limits = ProcessLimits(step_seconds=_FOR_EVER)
    mounts = [Mount("artifact", artifact)]
    try:
        run_uncached(
            *("serve", [step], mounts, place, runtime, cache, log, on_event),
            stdin=exchange.stdin,
            resources=limits,
        )
    finally:
        exchange.close()


@contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """Yield a socket on the loopback address: ``port``, or with 0 any that is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError as error:
            raise EnvironmentUnable(
                f"port {port} of this machine cannot be used: {error.strerror}",
                "choose another: --port 0 takes any that is free",
            ) from None
        yield listener


@contextmanager
def http_server(application: Starlette, listener: socket.socket) -> Iterator[None]:
    """Serve ``application`` on ``listener`` in a thread of its own while the block runs: the main
    thread gets the signals, and follows the process that answers."""
    config = uvicorn.Config(
        application,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(5)
