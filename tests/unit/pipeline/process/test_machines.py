"""Which of several machines a process is on, where they meet, and through which network."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipeline.process.environment import of_ranks
from pipeline.process.free_port import free_port
from pipeline.process.machines import Machines, interface_to, machines

WRITTEN = {"QUERN_MACHINE": "1/2@10.0.0.4:6105"}


def test_the_environment_says_which_machine_this_is() -> None:
    assert machines({}) is None
    found = machines(WRITTEN)
    assert found == Machines(1, 2, "10.0.0.4", 6105, reached="10.0.0.4")
    assert not found.first
    other = machines({"QUERN_MACHINE": "0/2@node-a.cluster:6105", "QUERN_REACHED": "10.0.0.5"})
    assert other == Machines(0, 2, "node-a.cluster", 6105, reached="10.0.0.5")
    assert other.first


@pytest.mark.parametrize(
    "wrong", ["", "2/2@host:1", "0/2@:1", "0/2@host", "0/2@ho st:1", "0/2@host:1\n", "-1/2@host:1"]
)
def test_what_is_not_a_machine_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="not NUMBER/COUNT@ADDRESS:PORT"):
        machines({"QUERN_MACHINE": wrong})


@pytest.mark.skipif(sys.platform != "linux", reason="processes train together on Linux")
def test_processes_talk_through_the_network_that_leads_to_the_others() -> None:
    assert interface_to("127.0.0.1") == "lo"
    assert of_ranks({}, 2)["GLOO_SOCKET_IFNAME"] == "lo"
    away = Machines(0, 2, "127.0.1.1", 6105, reached=_own_address())
    assert of_ranks({}, 1, away)["GLOO_SOCKET_IFNAME"] == _own_interface()
    assert of_ranks({}, 1, away)["NCCL_SOCKET_IFNAME"] == _own_interface()


def _own_address() -> str:
    return _route()[1]


def _own_interface() -> str:
    return _route()[0]


def _route() -> tuple[str, str]:
    """Return an interface that is not the loopback, and its address, as ``ip`` has them."""
    try:
        shown = subprocess.run(
            ["ip", "-4", "-o", "addr", "show"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no `ip`")
    for line in shown.stdout.splitlines():
        _, name, _, address, *_ = line.split()
        if name != "lo":
            return name, address.partition("/")[0]
    pytest.skip("this machine has no network")


@pytest.fixture
def taken() -> Iterator[int]:
    port = free_port(4711)
    with socket.create_server(("", port)):
        yield port


def test_a_port_is_free_and_none_that_the_kernel_gives_away(taken: int) -> None:
    assert 10_000 <= taken < 30_000
    assert taken < free_port(4711) < taken + 100
    assert abs(free_port(4712) - taken) > 1000  # the next job begins elsewhere
