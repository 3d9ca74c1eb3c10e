"""An engine that accepts connections and says nothing is given up, whatever waits for it."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest

from targets.errors import EnvironmentUnable, Interrupted
from targets.runtimes.heartbeat import SILENT, while_answering


class Engine:
    """A socket that answers pings while it is ``awake``, and no other request at all."""

    def __init__(self, address: Path) -> None:
        self.awake = threading.Event()
        self.late = 0.0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen()
        self._open: list[socket.socket] = []
        self.client = docker.DockerClient(f"unix://{address}", version="1.41", timeout=600)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._open.append(self._listener.accept()[0])
                threading.Thread(target=self._answer, args=self._open[-1:], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while data := connection.recv(1 << 16):
                if self.awake.is_set() and b"/_ping" in data:
                    time.sleep(self.late)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(tmp_path_factory.mktemp("s") / "s")
    yield made
    made.close()


def test_an_answer_that_never_comes_is_not_waited_for(engine: Engine) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(EnvironmentUnable) as ended, while_answering(engine.client, patience=0.4):
        engine.client.images.list()
    assert (str(ended.value), ended.value.exit_code) == (SILENT, 4)
    assert "restart it" in ended.value.hint
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_request_that_is_never_read_is_not_waited_for(engine: Engine) -> None:
    endless = iter(lambda: b"\0" * (1 << 20), b"")
    with pytest.raises(EnvironmentUnable), while_answering(engine.client, patience=0.4):
        engine.client.api.import_image_from_stream(endless)


def test_what_may_be_left_is_said(engine: Engine) -> None:
    with pytest.raises(EnvironmentUnable) as ended, while_answering(engine.client, patience=0.4):
        try:
            engine.client.images.list()
        except KeyboardInterrupt:
            raise Interrupted("something may still be there", "remove it") from None
    assert str(ended.value) == f"{SILENT}: something may still be there"
    assert "restart it" in ended.value.hint
    assert "remove it" in ended.value.hint


def test_a_slow_engine_that_answers_pings_is_waited_for(engine: Engine) -> None:
    engine.awake.set()
    over = threading.Event()
    threading.Timer(3, over.set).start()
    with while_answering(engine.client, patience=2):
        assert over.wait(30)


def test_an_engine_that_answers_late_is_waited_for(engine: Engine) -> None:
    """As behind a line that is busy with what is sent."""
    engine.awake.set()
    engine.late = 0.9
    with while_answering(engine.client, patience=3):
        assert not threading.Event().wait(4)


def test_ctrl_c_is_still_ctrl_c(engine: Engine) -> None:
    engine.awake.set()
    with pytest.raises(KeyboardInterrupt), while_answering(engine.client, patience=60):
        signal.raise_signal(signal.SIGINT)


def test_another_thread_just_runs(engine: Engine) -> None:
    ran = []

    def run() -> None:
        with while_answering(engine.client, patience=0.1):
            ran.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ran
