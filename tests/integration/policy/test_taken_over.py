"""A compromised old host of an interface that moves says what it likes of the interface's connections."""

from __future__ import annotations

import os
import socket
import time

import pytest

from netorch.control.actions.moves import move_instance
from netorch.drivers import netns
from netorch.model.security import UDP
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.flows import HandedOver
from netorch.state.base import OVERLAY
from netorch.state.flow import BEGINNER_TRACKS, OTHER_END_TRACKS, Flow
from netorch.store.base import Put
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  security_groups:
  - {name: none}
  - {name: friend}
  - {name: db, ingress: [{protocol: udp, ports: 161, source: sg-friend}]}
  instances:
  - {name: x, host: hv1, address: 10.44.12.4, security_groups: [none]}
  - {name: y, host: hv2, address: 10.44.12.5, security_groups: [friend]}
  - {name: d, host: hv3, address: 10.44.12.6, security_groups: [db]}
"""
FORGED, PLAIN, OWN = 40000, 40001, 40002  # ports
SILENCE_S = 1.0


def speaker(world: World, name: str, port: int) -> socket.socket:
    """Return a UDP socket of an instance."""
    fd = netns.find(world.instance(name).id)
    try:
        with netns.inside(fd):
            found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    finally:
        os.close(fd)
    found.bind((world.eni(name).address, port))
    found.settimeout(SILENCE_S)
    return found


def heard(listener: socket.socket) -> set[tuple[str, int]]:
    """Return who has sent to a socket, once nothing more comes."""
    found = set()
    while True:
        try:
            found.add(listener.recvfrom(64)[1])
        except TimeoutError:
            return found


def test_an_interface_does_not_send_as_another_of_its_new_host(world: World) -> None:
    """The first packet of a connection said to be translated would be judged as x's, and all others leave in y's name."""
    world.start_agents()
    world.apply(CLOUD)
    x, y, d = (world.eni(f"acme/{name}") for name in "xyd")
    world.stop_agent("hv1")
    move_instance(world.store, world.caller, world.instance("acme/x").id, "hv2")
    wait_for(lambda: world.mapping("acme/x").host == "hv2", "the move")
    said = [
        Flow(
            zone=1,
            protocol=UDP,
            source=x.address,
            destination=d.address,
            sport=port,
            dport=161,
            timeout_s=600,
            replied=True,
            assured=True,
            mark=BEGINNER_TRACKS | OTHER_END_TRACKS,
            nat_source=source,
            nat_port=port if source else 0,
        )
        for port, source in ((FORGED, y.address), (PLAIN, ""))
    ]
    world.store.txn((), [Put(keys.eni_flows("hv1", x.id), encode(HandedOver(flows=tuple(said))))])
    agent = world.agent("hv2")
    tracker, zone = agent.kernel.trackers[OVERLAY], agent.reconciler.zone_of(x.vni)
    wait_for(lambda: PLAIN in {flow.sport for flow in tracker.flows(zone, [x.address])}, "the new host to take connections over")
    listener = speaker(world, "acme/d", 161)
    speakers = [speaker(world, "acme/x", port) for port in (FORGED, PLAIN)]
    friend = speaker(world, "acme/y", OWN)
    try:
        for _ in range(5):
            for each in (*speakers, friend):
                each.sendto(b"?", (d.address, 161))
            time.sleep(0.1)
        assert heard(listener) == {(y.address, OWN)}
    finally:
        for each in (listener, *speakers, friend):
            each.close()
