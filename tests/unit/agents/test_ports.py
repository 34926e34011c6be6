"""Ports reserved for every agent of the machine at once."""

import random
import socket

import pytest

from agents.launch import reserve_ports
from agents.ports import NoFreePort, PortReservations, ephemeral_range
from orchestra.pb import core


@pytest.fixture
def few() -> tuple[int, int]:
    """A small range that is very likely nobody else's: its place is the test process's own."""
    first = 10_000 + random.SystemRandom().randrange(9_000)
    return first, first + 3


def test_no_two_agents_get_the_same_port(few: tuple[int, int]) -> None:
    one, other = PortReservations(few), PortReservations(few)
    try:
        got = [one.reserve("127.0.0.1"), other.reserve("127.0.0.1"), one.reserve("127.0.0.1")]
        assert len(set(got)) == 3
        assert all(few[0] <= port <= few[1] for port in got)
        assert not other.hold(got[0])
        one.release(got[0])
        assert other.hold(got[0])
    finally:
        one.close()
        other.close()


def test_a_port_that_somebody_listens_on_is_not_given(few: tuple[int, int]) -> None:
    taken = []
    for port in range(few[0], few[1]):
        listener = socket.socket()
        listener.bind(("127.0.0.1", port))
        listener.listen()
        taken.append(listener)
    ports = PortReservations(few)
    try:
        assert ports.reserve("127.0.0.1") == few[1]
        with pytest.raises(NoFreePort, match="widen"):
            ports.reserve("127.0.0.1")
    finally:
        ports.close()
        for listener in taken:
            listener.close()


def test_ephemeral_ports_are_never_given() -> None:
    low, _ = ephemeral_range()
    ports = PortReservations((low, low + 3))
    with pytest.raises(NoFreePort):
        ports.reserve("127.0.0.1")


def test_a_pod_that_does_not_get_all_its_ports_gets_none(few: tuple[int, int]) -> None:
    reservations = PortReservations(few)
    container = core.Container(name="main")
    for number in range(few[1] - few[0] + 2):
        container.ports.add(containerPort=1000 + number)
    with pytest.raises(NoFreePort):
        reserve_ports([container], reservations, "127.0.0.1")
    assert reservations.reserve("127.0.0.1")
    reservations.close()
