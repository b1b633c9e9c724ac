"""charon is killed, stopped or taken over: tunnels go on, no packet leaves in plain text, and everything is restored."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
from contextlib import suppress

import pytest

from netorch.drivers import netns
from netorch.drivers.base import KernelEvent, Lost, TunnelsChanged
from netorch.drivers.charon import upkeep
from netorch.drivers.charon.driver import RUN, Charon
from netorch.model.outside import tunnel_problems as words
from netorch.state.daemons.ike import IkeConnection
from netorch.state.op import Create, Delete
from tests.integration.drivers.charon.rig import EDGE, EDGE_ADDRESS, FEW, PSK, VPC, Customer, Site, customer_connection, ip, psk
from tests.rig.hosts import restarted
from tests.rig.world import Traffic, wait_for

pytestmark = pytest.mark.root

CUSTOMER = "198.18.0.80"
_ETH_P_ALL, _UDP, _ESP = 3, 17, 50
_IKE = struct.pack("!HH", 500, 500)  # the ports of IKE without NAT


def up(world: Site, **changes: object) -> tuple[IkeConnection, Customer]:
    """Return a connection whose tunnel the customer has initiated, and the customer."""
    connection, customer = world.joined(**changes)
    customer.load(customer_connection(CUSTOMER), psk(PSK, CUSTOMER, EDGE_ADDRESS))
    assert customer.initiate() == ""
    world.edge.wait_up(connection)
    return connection, customer


def lost(world: Site) -> bool:
    """Return whether an event says that all objects of the daemon must be read again."""
    seen: list[KernelEvent] = world.edge.kernel.events()
    return Lost(Charon.kinds) in seen and TunnelsChanged() in seen


def put_right(world: Site, connection: IkeConnection) -> None:
    """Read and repair, as an agent does after such an event."""
    assert connection.key not in world.edge.kernel.dump()
    world.edge.apply(Create(connection))
    assert world.edge.kernel.dump()[connection.key] == connection


def test_a_killed_charon_costs_no_packet(world: Site) -> None:
    connection, _ = up(world, version=2, remote="", remote_identity=CUSTOMER)  # the edge does not know where to initiate
    before, traffic = world.edge.spis(), Traffic(VPC, "192.168.1.1")
    os.kill(world.edge.pid(), signal.SIGKILL)
    wait_for(lambda: lost(world), "the event")
    status = world.edge.status(connection)
    assert (status.child, status.problem) == ("INSTALLED", words.NO_DAEMON)
    put_right(world, connection)
    status, sent = world.edge.status(connection), traffic.sent
    assert (status.ike, status.child, status.problem) == ("", "INSTALLED", words.RESTARTED)
    wait_for(lambda: traffic.sent > sent + 20, "echoes")
    assert traffic.stop() == 0
    assert world.edge.spis() == before


def test_the_edge_begins_the_tunnel_of_a_killed_charon_again_and_clears_up(world: Site) -> None:
    connection, _ = up(world)
    before, traffic = set(world.edge.spis()), Traffic(VPC, "192.168.1.1")
    os.kill(world.edge.pid(), signal.SIGKILL)
    wait_for(lambda: lost(world), "the event")
    put_right(world, connection)

    def cleared() -> bool:
        world.edge.status(connection)
        return before.isdisjoint(world.edge.spis())

    wait_for(cleared, "an end of what was left behind")
    assert traffic.stop() <= FEW
    status = world.edge.wait_up(connection)
    assert (status.ike, status.problem) == ("ESTABLISHED", "")


def test_what_a_killed_charon_left_goes_when_the_peer_does_not_come_back(world: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, customer = up(world)
    ip(customer.name, "link set eth0 down")
    os.kill(world.edge.pid(), signal.SIGKILL)
    wait_for(lambda: lost(world), "the event")
    put_right(world, connection)
    assert world.edge.spis()
    assert world.edge.status(connection).problem == words.RESTARTED
    world.edge.wait_problem(connection, words.SILENT)
    assert world.edge.status(connection).child == ""
    monkeypatch.setattr(upkeep, "GRACE_S", 0.0)
    wait_for(lambda: world.edge.status(connection) and not world.edge.spis(), "an end of what was left behind")


def test_nothing_leaves_in_plain_text_when_sas_and_charon_are_gone(world: Site) -> None:
    connection, customer = up(world)
    with netns.inside(customer.fd):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL))
    assert carried(wire) == {_ESP}, "the wire is seen"
    os.kill(world.edge.pid(), signal.SIGKILL)
    ip(world.edge.namespace, "xfrm state flush")
    assert carried(wire) == set(), "nothing but IKE"
    assert connection.name in world.edge.kernel.tunnels()
    wire.close()


def carried(wire: socket.socket) -> set[int]:
    """Return the protocols of the IPv4 packets that a device gets while echoes are sent from the VPC, except those of IKE.

    charon may send at any time: it answers a late repetition of a request once more.
    """
    traffic = Traffic(VPC, "192.168.1.1", 0.02)
    wait_for(lambda: traffic.sent >= 20, "echoes")
    traffic.stop()
    seen = set()
    with suppress(BlockingIOError):
        while True:
            frame = wire.recv(2048)
            if frame[12:14] == b"\x08\x00" and not (frame[23] == _UDP and frame[34:38] == _IKE):
                seen.add(frame[23])
    return seen


def test_a_charon_that_hangs_is_replaced(world: Site) -> None:
    connection, _ = up(world)
    first = world.edge.pid()
    os.kill(first, signal.SIGSTOP)

    def noticed() -> bool:
        world.edge.kernel.tunnels()
        return lost(world)

    wait_for(noticed, "the event")
    put_right(world, connection)
    assert world.edge.pid() != first
    assert not world.edge.runs(first)


def test_a_charon_that_nobody_can_talk_to_any_more_is_replaced(world: Site) -> None:
    connection, _ = up(world)
    first = world.edge.pid()
    shutil.rmtree(RUN / EDGE)
    put_right(world, connection)
    assert world.edge.pid() != first
    assert not world.edge.runs(first)


def test_the_next_agent_takes_charon_over_with_its_tunnels(world: Site) -> None:
    connection, _ = up(world)
    pid, spis = world.edge.pid(), set(world.edge.spis())
    with restarted(EDGE, world.edge.key) as kernel:
        assert kernel.dump()[connection.key] == connection
        assert kernel.tunnels()[connection.name].child == "INSTALLED"
        kernel.events()
        assert world.edge.pid() == pid
        assert set(world.edge.spis()) == spis
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: Lost(Charon.kinds) in kernel.events(), "the event")


def test_another_charon_of_the_machine_is_left_alone(world: Site) -> None:
    connection, customer = up(world)
    theirs = customer.daemon
    world.edge.apply(Delete(connection))
    with theirs.connected() as control:
        assert control.ask("version")
