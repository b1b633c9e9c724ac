"""Every end sends packets of every kind to every address; arrivals and their sources are as EC2's rules say."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest

from edges.cable import NEAR_MAC
from netorch.compiler.base import PORT_MAC, router_mac
from netorch.model.routing.next_hop import gateway_mac
from tests.integration.edges.isolation.customers import (
    ADDRESSES,
    HOSTS,
    INSTANCES,
    NAT,
    OUTSIDE,
    PUBLIC,
    RULES,
    STRANGE,
    UPLINK,
    WIRES,
    is_on_the_way,
    played,
)
from tests.integration.edges.isolation.ends import KINDS, Arrival, Ends, Shot
from tests.rig.outskirts import EDGES, INTERNET, SERVER, UPLINKS, Outskirts
from tests.rig.seats import gateway_of, nat_of
from tests.rig.site import BROADCAST_MAC

pytestmark = pytest.mark.root

ALL = [Shot(*each) for each in product((*INSTANCES, *WIRES), ADDRESSES, KINDS)]
# A host's own kernel drops packets with strange addresses, and keeps those for itself.
ALL += [Shot(*each) for each in product(HOSTS, sorted({*ADDRESSES} - {*STRANGE}), KINDS) if HOSTS[each[0]] != each[1]]
ALL += [
    Shot(f"{edge} outside", *each) for edge in EDGES for each in product(sorted({*ADDRESSES} - {*STRANGE, UPLINK[edge]}), KINDS)
]


LAST = Shot("a/one", "198.51.100.6", "udp")  # a packet that always arrives, sent last
ON_A_WIRE = {*PUBLIC, *UPLINK.values()}  # the sources that packets leaving an edge may have


def hears_answers(name: str) -> Arrival:
    """Return where answers to an end must arrive, with the address that the end sends from; any source may answer."""
    if name in WIRES:
        what, edge = WIRES[name]
        return Arrival(what, "", SERVER if what == INTERNET else UPLINKS[edge].gateway)
    if name in INSTANCES:
        return Arrival(name, "", INSTANCES[name].private)
    return Arrival(name, "", HOSTS.get(name) or UPLINK[name.removesuffix(" outside")])


@pytest.mark.parametrize("arrival", EDGES)
def test_every_end_reaches_what_it_may_and_nothing_else(outskirts: Outskirts, ends: Ends, arrival: str) -> None:
    outskirts.arrive_at(arrival)
    found = played(ends, RULES, ALL)
    assert RULES.broken_by(found) == {}
    answers = {(shot, each) for shot, got in ends.answers.items() for each in got}
    ended = {(shot, msgspec.structs.replace(each, source="")) for shot, each in answers if not is_on_the_way(each)}
    assert {shot.sender for shot, _ in ended} >= {*INSTANCES, *WIRES, *HOSTS}
    about_answers = {(shot, Arrival(at.at, "", at.destination)) for shot, got in found.items() for at in got}
    assert {(shot, each) for shot, each in ended - about_answers if each != hears_answers(shot.sender)} == set()
    assert {(shot, each) for shot, each in answers if is_on_the_way(each) and each.source not in ON_A_WIRE} == set()


def test_no_mac_leads_past_a_route_table(outskirts: Outskirts, ends: Ends) -> None:
    """Knowledge of the MACs of gateways, routers and cables leads no further than the route table."""
    vnis = {name: outskirts.world.vpc(name).vni for name in "ab"}
    macs = [gateway_mac(gateway_of(vni)) for vni in vnis.values()]
    macs += [gateway_mac(nat_of(vnis["b"])), NEAR_MAC, *(router_mac(vtep) for vtep in HOSTS.values()), BROADCAST_MAC]
    senders = []
    for (name, instance), mac in product(INSTANCES.items(), macs):
        senders.append(f"{name} to {mac}")
        ends.let_send_frames(senders[-1], instance.private, outskirts.place(name), "eth0", outskirts.world.eni(name).mac, mac)
    shots = [Shot(*each) for each in product(senders, (*OUTSIDE, *HOSTS.values(), NAT), ("udp", "ping"))]
    assert {shot: got for shot, got in ends.play([*shots, LAST]).items() if got and shot != LAST} == {}


@pytest.mark.parametrize("edge", EDGES)
def test_an_edge_is_no_way_from_host_to_host(outskirts: Outskirts, ends: Ends, edge: str) -> None:
    """The source may be an instance on the sending host: an edge forwards from gateways to instances, and to gateways."""
    macs = (router_mac(HOSTS[edge]), PORT_MAC, NEAR_MAC, BROADCAST_MAC)
    senders = [f"{name} to {mac}" for name, mac in product(INSTANCES, macs)]
    for sender, (name, mac) in zip(senders, product(INSTANCES, macs), strict=True):
        instance, vni = INSTANCES[name], outskirts.world.vpc(name[0]).vni
        vteps = HOSTS[instance.host], HOSTS[edge]
        ends.let_send_vxlan(sender, instance.private, instance.host, vteps, vni, mac)
    shots = [Shot(*each) for each in product(senders, ADDRESSES, ("udp", "ping"))]
    assert {shot: got for shot, got in ends.play([*shots, LAST]).items() if got and shot != LAST} == {}


FORGED = ("10.0.1.5", NAT, *PUBLIC, *STRANGE, "169.254.169.254", "100.64.0.1", "192.168.0.1")


@pytest.mark.parametrize("edge", EDGES)
def test_nobody_outside_has_an_address_that_is_not_outside(outskirts: Outskirts, ends: Ends, edge: str) -> None:
    """Pings reach the edge itself. Its answers go to public addresses, as those of any internet host would."""
    for source in (*FORGED, UPLINK[edge]):
        ends.let_send_frames(source, source, *outskirts.wire_to(edge))
    shots = [Shot(*each) for each in product((*FORGED, UPLINK[edge]), ADDRESSES, ("udp", "ping"))]
    found = ends.play([*shots, LAST])
    rest = {shot: {each for each in got if each.at != f"{edge} outside"} for shot, got in found.items() if shot != LAST}
    assert {shot: got for shot, got in rest.items() if got} == {}
    said = {(shot.sender, each.source) for shot, got in ends.answers.items() for each in got if shot != LAST}
    assert {(sender, source) for sender, source in said if sender not in PUBLIC or source != UPLINK[edge]} == set()


@pytest.mark.parametrize("edge", EDGES)
def test_an_address_of_a_peer_is_not_outside_for_its_peer_and_is_for_others(outskirts: Outskirts, ends: Ends, edge: str) -> None:
    source = INSTANCES["d/one"].private
    ends.let_send_frames(source, source, *outskirts.wire_to(edge))
    found = ends.play([Shot(source, *each) for each in product(PUBLIC, ("udp", "ping"))])
    web = INSTANCES["b/web"]
    assert {shot.destination for shot, got in found.items() if got} == {web.public}
    assert {at for got in found.values() for at in got} == {Arrival("b/web", source, web.private)}
