"""A connection to an engine elsewhere, which is made again when it drops."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from docker import DockerClient
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException, SSLError
from urllib3.exceptions import HTTPError

from targets.errors import EnvironmentUnable
from targets.runtimes.heartbeat import PATIENCE, while_answering
from targets.systems.arrival import CutOff
from targets.systems.engine.address import EngineAddress
from targets.systems.tunnel import Tunnel, to_engine
from targets.toolchain.engine import (
    OLDEST_API,
    REQUEST_SECONDS,
    answers,
    reason,
    request_timeout,
)

Got = TypeVar("Got")

DROPPED = (RequestException, HTTPError, ConnectionError, TimeoutError, ssl.SSLError, CutOff)
"""What a connection that drops looks like. An ``APIError`` is an answer, and goes first."""
_PAUSE_SECONDS = 0.5
_TIDY_SECONDS = 2
"""Within which an engine answers that something can be removed from."""


class Link:
    """The way to one engine. All but :meth:`beside` is for one thread."""

    def __init__(
        self, name: str, address: EngineAddress, patience: float, silence: float = PATIENCE
    ) -> None:
        """``patience`` is for how many seconds a connection that dropped is tried again,
        ``silence`` for how many an engine may stand still behind one that did not."""
        self.name = name
        self.address = address
        self.patience = patience
        self._silence = silence
        place = address.ssh
        self._tunnel = (
            None
            if place is None
            else Tunnel(place.login, to_engine(place.socket), "docker version")
        )
        self._client: DockerClient | None = None

    def client(self) -> DockerClient:
        """Return a client that the engine has answered. Raises ``EnvironmentUnable``."""
        if self._client is None:
            self._client = self._connected()
        return self._client

    def beside(self) -> DockerClient:
        """Return another client, for another thread. It may be of no use by now."""
        return self.address.client(self._tunnel.socket if self._tunnel is not None else None)

    def again(self, what: Callable[[DockerClient], Got], patience: float | None = None) -> Got:
        """Return what ``what`` returns, also if the connection drops before that.

        Raises ``EnvironmentUnable`` once that has been so for too long: for the link's patience,
        or ``patience`` seconds.
        """
        patience = self.patience if patience is None else min(patience, self.patience)
        client = self.client()
        dropped_at: float | None = None
        while True:
            try:
                return what(client)
            except APIError:
                raise
            except DROPPED as error:
                dropped_at = time.monotonic() if dropped_at is None else dropped_at
                client = self._reconnected(dropped_at + patience, reason(error))

    def at_length(self, what: Callable[[DockerClient], Got]) -> Got:
        """Do so with what may take any time, as long as the engine answers others meanwhile.

        Only in the main thread it is given up; see :func:`while_answering`.
        """

        def watched(client: DockerClient) -> Got:
            with while_answering(
                client, self._silence, f"the engine of {self.name} does not answer"
            ):
                return what(client)

        return self.again(watched)

    def drop(self) -> None:
        """Close the connection; the next use makes another."""
        if self._client is not None:
            with suppress(Exception):
                self._client.close()
        self._client = None

    def close(self) -> None:
        """Close the connection for good."""
        self.drop()
        if self._tunnel is not None:
            self._tunnel.close()

    def _reconnected(self, deadline: float, why: str) -> DockerClient:
        while True:
            self.drop()
            if time.monotonic() > deadline:
                raise EnvironmentUnable(
                    f"{self.name} does not answer any more ({why})",
                    "what runs there ends by itself if nobody asks after it; run again when it "
                    "answers: finished steps are kept",
                )
            time.sleep(_PAUSE_SECONDS)
            with suppress(EnvironmentUnable):
                return self.client()

    def _connected(self) -> DockerClient:
        if self._tunnel is not None:
            self._tunnel.open()
        client = self.beside()
        try:
            server = client.version()
            api = tuple(int(part) for part in str(server["ApiVersion"]).split("."))
            system = str(server["Os"])
        except (DockerException, *DROPPED, OSError, ValueError, KeyError) as error:
            client.close()
            raise self._unusable(error) from error
        if api < OLDEST_API or system != "linux":
            client.close()
            raise EnvironmentUnable(
                f"the engine of {self.name} has API {server['ApiVersion']} for {system}",
                "Quern needs Docker Engine 20.10 (API 1.41) or newer, with Linux containers",
            )
        client.api.timeout = REQUEST_SECONDS
        return client

    def _unusable(self, error: Exception) -> EnvironmentUnable:
        text, url = str(error), self.address.url
        if self._tunnel is not None:
            said = self._tunnel.said()
            return EnvironmentUnable(
                f"ssh leads to {url}, and no engine answers there ({said or reason(error)})",
                "may that user use the engine there (the group `docker`)? If it listens on another "
                "socket than /var/run/docker.sock, add its path: ssh://me@box:22/run/docker.sock",
            )
        if "CERTIFICATE_VERIFY_FAILED" in text:
            what = text[text.find("CERTIFICATE_VERIFY_FAILED") :].partition("(_ssl")[0].strip(" ]:")
            return EnvironmentUnable(
                f"{url} does not prove that it is {self.name}: {what}",
                f"nothing was sent. Its certificate must be for that name, and by "
                f"{self.address.certificates}/ca.pem",
            )
        if isinstance(error, SSLError) or "alert" in text.lower() or "SSL" in text:
            return EnvironmentUnable(
                f"{url} refuses the certificate {self.address.certificates}/cert.pem, or speaks "
                f"no TLS ({reason(error)})",
                "ask who runs it for a client certificate of its own authority",
            )
        return EnvironmentUnable(
            f"no engine answers at {url} ({reason(error)})",
            "is it up, and is that its address? `--system local` runs the steps here",
        )


def can_tidy(client: DockerClient) -> bool:
    """Return whether the engine does what it is asked, so that waiting for it is no waste."""
    return answers(client, _TIDY_SECONDS)


def quick(client: DockerClient, seconds: int, what: Callable[[DockerClient], Got]) -> Got:
    """Return what ``what`` returns within ``seconds``."""
    with request_timeout(client, seconds):
        return what(client)
