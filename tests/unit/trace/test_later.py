"""Where flowtables forward the later packets of a connection."""

from __future__ import annotations

import msgspec
import pytest

from netorch.model.packet import Packet
from netorch.state.base import Key
from netorch.state.nft import FlowtableDevice
from netorch.trace.codes import Code
from netorch.trace.host_model import HostModel
from netorch.trace.walk import round_trip
from netorch.trace.way import Departure, Place, RoundTrip
from tests.unit.policy.small import A, B, ping, tcp, udp
from tests.unit.trace.test_walk import ALL, PORT_A, PORT_B, Objects, asked, compiled


def device(ifname: str) -> Key:
    return ("nft-flowtable-device", "overlay", ifname)


def asked_of(objects: dict[str, Objects], packet: Packet) -> RoundTrip:
    """Return the ways of A's packet, of its answer and of later packets."""
    host_models = {host: HostModel(host, found) for host, found in objects.items()}
    return round_trip(host_models, Departure(host="hv1", ifname=PORT_A, mac=ALL.interfaces[0].mac), packet)


@pytest.mark.parametrize("packet", [tcp(A, B), udp(A, B)])
def test_both_hosts_forward_what_both_ends_have_said(packet: Packet) -> None:
    found = asked(ALL, packet)
    assert found.there.offloaded_on == ()
    assert found.back is not None
    assert found.back.offloaded_on == ()
    assert found.later is not None
    assert (found.later.arrived_at, found.later.offloaded_on) == (PORT_B, ("hv1", "hv2"))


@pytest.mark.parametrize("packet", [ping(A, B), msgspec.structs.replace(tcp(A, B), protocol=47)])
def test_other_protocols_have_no_later_packets(packet: Packet) -> None:
    assert asked(ALL, packet).later is None


def test_rules_judge_what_comes_by_a_device_outside_the_flowtable() -> None:
    objects = compiled(ALL)
    vxlan = device(f"vx{ALL.interfaces[0].vni}")
    del objects["hv2"][vxlan]
    found = asked_of(objects, tcp(A, B))
    assert found.later is not None
    assert found.later.offloaded_on == ("hv1",)
    assert {Place.ZONE, Place.ROUTE, Place.POLICY} <= {hop.place for hop in found.later.hops if hop.host == "hv2"}


def test_a_guard_that_drops_ends_packets_before_the_flowtable() -> None:
    objects = compiled(ALL)
    member = objects["hv1"][device(PORT_A)]
    assert isinstance(member, FlowtableDevice)
    objects["hv1"][device(PORT_A)] = msgspec.structs.replace(member, guard=("meta priority 1:4e54 accept", "goto guard_port"))
    found = asked_of(objects, tcp(A, B))
    assert (found.there.code, found.there.counter, found.there.hops[-1].place) == (
        Code.PORT_UNGUARDED,
        "unchecked",
        Place.FLOWTABLE,
    )
    assert found.later is None
