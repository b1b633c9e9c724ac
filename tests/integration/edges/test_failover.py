"""An edge loses its power under a download, and an edge is drained under datagrams.

The cables keep their carriers: hypervisors and the border router have to notice the failure by themselves. NETORCH_KILLS edges
are killed, four by default. The times until the hypervisor and the border router left them, and the pauses of the download, are
printed after every ten.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import pytest

from netorch.control.actions.outside.drains import drain_host, undrain_host
from netorch.model.routing.next_hop import gateway_mac
from netorch.state.l2 import Fdb
from netorch.state.names import vxlan_name
from tests.integration.edges.conftest import PUBLIC
from tests.integration.edges.speaking import ADDRESSES, BOTH, Speaking
from tests.rig.datagrams import heard, talking, udp_socket, wait_until_sent
from tests.rig.outskirts import EDGES, INTERNET, POOL, SERVER, connected, dead, listening
from tests.rig.seats import gateway_of
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

KILLS = int(os.environ.get("NETORCH_KILLS", "4"))
KILL_S = 60  # time limit of a kill with all its waits, on a slow machine
REPORT_EVERY = 10
INSTANCE = "a/one"
OTHER = {"e1": "e2", "e2": "e1"}


def sends_to(speaking: Speaking) -> str:
    """Return the edge to which the instance's host sends."""
    world = speaking.world
    vni = world.vpc("a").vni
    key = Fdb(ifname=vxlan_name(vni), lladdr=gateway_mac(gateway_of(vni)), dst="").key
    found = world.reader("hv1").dump(frozenset({Fdb.kind})).get(key)
    vteps = {world.hosts[edge].vtep: edge for edge in EDGES}
    return vteps.get(found.dst, "") if isinstance(found, Fdb) else ""


class Download:
    """A connection on which an instance receives a kilobyte every 10 ms; records when each piece arrived."""

    def __init__(self, speaking: Speaking) -> None:
        self._server = listening(INTERNET, 80)
        self._client = connected(speaking.outskirts.place(INSTANCE), (SERVER, 80))
        self._sender, _ = self._server.accept()
        for end in (self._client, self._sender):
            end.settimeout(30.0)
        self.arrivals = [time.monotonic()]
        self._ending = False
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._ending:
            self._sender.sendall(bytes(1000))
            time.sleep(0.01)

    def _receive(self) -> None:
        while self._client.recv(65536):
            self.arrivals.append(time.monotonic())

    def goes_on(self) -> None:
        """Wait until more data arrives on the same connection."""
        count = len(self.arrivals)
        wait_for(lambda: len(self.arrivals) > count + 50, "the download to go on")

    def longest_pause(self, since: int) -> float:
        """Return the longest time without a byte since an arrival, in seconds."""
        return max(later - earlier for earlier, later in pairwise(self.arrivals[since:]))

    def close(self) -> None:
        """Close the connection."""
        self._ending = True
        sending, receiving = self._threads
        sending.join()
        self._sender.shutdown(socket.SHUT_WR)
        receiving.join()
        for end in (self._client, self._sender, self._server):
            end.close()


def at_rest(speaking: Speaking) -> None:
    """Wait until both edges are used again."""
    speaking.wait_for_both()
    wait_for(lambda: not speaking.world.agent("hv1").records.seats.silent, "no edge to be silent")


class Leaving(NamedTuple):
    """The seconds until only the other edge is used."""

    hypervisor: float
    border: float


def is_left(speaking: Speaking, edge: str) -> Leaving:
    """Wait until the instance's host and the border router send only to the other edge."""
    other, began = OTHER[edge], time.monotonic()
    left: dict[str, float] = {}

    def all_have() -> bool:
        if sends_to(speaking) == other:
            left.setdefault("hypervisor", time.monotonic() - began)
        if speaking.border.next_hops(POOL) == {ADDRESSES[other]}:
            left.setdefault("border", time.monotonic() - began)
        return len(left) == len(Leaving._fields)

    wait_for(all_have, f"hv1 and the border to send to {other} only")
    return Leaving(**left)


class Death(NamedTuple):
    """The effects of killing an edge."""

    is_used: bool  # whether the instance's host sent to that edge
    left: Leaving
    pause: float  # of the download, in seconds


def report(deaths: Sequence[Death]) -> str:
    """Return the measurements so far."""
    lines = (
        ("the hypervisor leaves the edge that it uses", [each.left.hypervisor for each in deaths if each.is_used]),
        ("the border leaves the edge", [each.left.border for each in deaths]),
        ("the download pauses", [each.pause for each in deaths]),
    )
    return "; ".join(distribution(*line) for line in lines if line[1])


def distribution(what: str, seconds: Sequence[float]) -> str:
    """Return least, greatest and percentiles; a percentile is a measured value."""
    ordered = sorted(seconds)
    percents = {"min": 0, "median": 50, "p90": 90, "p99": 99, "max": 100}
    values = (f"{name} {ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]:.2f}" for name, percent in percents.items())
    return f"{what}: {', '.join(values)} s"


@pytest.mark.timeout(KILL_S * KILLS)
def test_a_download_survives_each_death_of_an_edge(speaking: Speaking, capsys: pytest.CaptureFixture[str]) -> None:
    download = Download(speaking)
    deaths: list[Death] = []
    try:
        for number in range(KILLS):
            at_rest(speaking)
            download.goes_on()
            edge = EDGES[number % 2]
            is_used = sends_to(speaking) == edge
            since = len(download.arrivals) - 1
            with dead(edge):
                left = is_left(speaking, edge)
                download.goes_on()
            deaths.append(Death(is_used, left, download.longest_pause(since)))
            if len(deaths) % REPORT_EVERY == 0 or len(deaths) == KILLS:
                with capsys.disabled():
                    print(f"\n{len(deaths)} kills:", report(deaths))
    finally:
        download.close()


@pytest.mark.parametrize("edge", EDGES)
def test_an_edge_is_drained_and_taken_again_without_a_lost_packet(speaking: Speaking, edge: str) -> None:
    at_rest(speaking)
    world, place = speaking.world, speaking.outskirts.place(INSTANCE)
    wait_for(lambda: all(state.live for state in world.inventory().hosts.values()), "all agents to live")
    inside, outside = udp_socket(place, world.eni(INSTANCE).address), udp_socket(INTERNET, SERVER)
    with inside, outside, speaking.border.patient():
        with talking(inside, SERVER) as out, talking(outside, PUBLIC[INSTANCE]) as coming:
            drain_host(world.store, world.caller, edge)
            is_left(speaking, edge)
            wait_until_sent(out, 200)
            undrain_host(world.store, world.caller, edge)
            wait_for(lambda: speaking.border.next_hops(POOL) == BOTH, "the border to send to both")
            wait_for(lambda: not world.agent("hv1").records.seats.silent, "hv1 to take the edge again")
            wait_until_sent(out, 200)
            last = (out(), coming())
        assert heard(outside, last[0] - 1) >= set(range(last[0]))
        assert heard(inside, last[1] - 1) >= set(range(last[1]))
