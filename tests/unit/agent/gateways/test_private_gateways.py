"""Edges with a virtual private gateway: the prefixes that they publish, and the resulting routes on hosts."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from unittest.mock import Mock

import msgspec
import pytest

from netorch.agent.tasks.bursts import AT_ONCE, EVERY_S
from netorch.agent.tasks.private_gateways import ASK_EVERY_S, HOLD_S, SHARE
from netorch.compiler.private import end_of, ends_of
from netorch.drivers.base import CustomerSession, LearnedRoute, UnderlayChanged
from netorch.errors import KernelError
from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.routing.effective import Origin
from netorch.model.routing.metrics import VPN_BGP
from netorch.model.routing.next_hop import target_hop
from netorch.model.status import Sealed, TunnelStatus, VpnStatus
from netorch.records import keys
from netorch.records.codec import decode
from netorch.state.base import PORTS
from netorch.state.daemons.bgp import CustomerPeer, session_name
from netorch.state.daemons.ike import IkeConnection
from netorch.state.names import VPN_GATEWAY_NUMBER, vrf_table
from netorch.state.rooted import Vlan, Xfrm
from netorch.store.base import Delete
from tests.unit.agent.gateways.office import EDGES, SITE, UP, Office, interface, vtep
from tests.unit.agent.world import World


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    world = World(tmp_path, "hv1", *EDGES)
    yield Office(world)
    for name in list(world.agents):
        world.kill(name)
    for kernel in world.kernels.values():
        kernel.close()


def test_a_static_site_is_reached_by_the_tunnels_that_are_up(office: Office) -> None:
    connection = office.connect(static=True)
    assert all(not found for found in office.reach().values())
    assert office.ways("hv1") == []
    office.set_tunnel(connection, 1, UP)
    office.settle()
    assert office.reach()["hv4"] == {SITE: (Origin.VPN_STATIC, 0)}
    assert office.ways("hv1") == [target_hop(office.gateway, 4, 1)]
    assert len(office.ways("hv4")) == 1  # into the tunnel
    office.set_tunnel(connection, 1, TunnelStatus())
    office.settle()
    assert office.reach()["hv4"] == {}
    assert office.ways("hv1") == office.ways("hv4") == []


def test_what_is_learned_is_reached_with_its_origin_and_goes_when_it_is_withdrawn(office: Office) -> None:
    office.connect(static=False)
    office.learn("hv3", LearnedRoute(SITE, VPN_BGP + 2, "x-"), LearnedRoute("10.45.0.0/16", 7, "x-"))
    office.learn("hv4", LearnedRoute(SITE, VPN_BGP + 1, "x-"))
    assert office.reach() == {"hv3": {SITE: (Origin.VPN_BGP, 2)}, "hv4": {SITE: (Origin.VPN_BGP, 1)}}
    assert office.ways("hv1") == [target_hop(office.gateway, 4, 1)]
    office.learn("hv4")
    assert office.ways("hv1") == [target_hop(office.gateway, 4, 0)]
    office.learn("hv3")
    assert office.ways("hv1") == []


def test_an_edge_says_nothing_of_a_gateway_that_it_does_not_carry_any_more(office: Office) -> None:
    office.connect(static=False)
    office.learn("hv3", LearnedRoute(SITE, VPN_BGP, "x-"))
    assert office.reach()["hv3"]
    seats = (Seat(host="hv4", vtep=vtep("hv4")),)
    office.put(
        keys.gateway_mapping(office.vni, office.gateway), GatewayMapping(vni=office.vni, gateway=office.gateway, seats=seats)
    )
    office.settle()
    assert "hv3" not in office.reach()


def test_statuses_are_published_and_go_with_the_gateway(office: Office) -> None:
    connection = office.connect(static=True)
    office.set_tunnel(connection, 0, UP)
    office.settle()
    for _ in range(3):
        office.settle()
    key = keys.tunnel_status("hv3", connection.id)
    said = office.world.store.get(key)
    assert said is not None
    assert decode(said, VpnStatus).tunnels[1].child == "INSTALLED"
    assert office.world.store.get(keys.edge_key("hv3")) is not None
    assert office.world.store.get(keys.edge_key("hv1")) is None
    office.world.store.txn((), [Delete(keys.resource(connection.id))])
    for _ in range(4):
        office.settle()
    assert office.world.store.get(key) is None
    kinds = {type(obj) for obj in office.world.kernels["hv3"].objects.values()}
    assert kinds.isdisjoint({Xfrm, IkeConnection, CustomerPeer})


def test_a_port_that_is_not_there_keeps_nobody_else_waiting(office: Office) -> None:
    vif = interface(office, "dx0")
    office.put(keys.resource(vif.id), vif)
    connection = office.connect(static=True)
    agent, kernel = office.world.agents["hv3"], office.world.kernels["hv3"]
    assert "dx0" in agent.reconciler.problems[PORTS]
    assert agent.reconciler.host_trouble == ""
    assert any(isinstance(obj, IkeConnection) and connection.id in obj.name for obj in kernel.objects.values())
    kernel.host.devices.add("dx0")
    for _ in range(12):
        office.settle()
    assert agent.reconciler.problems == {}
    assert any(isinstance(obj, Vlan) and obj.vlan == 101 for obj in kernel.objects.values())


def test_an_agent_that_starts_again_changes_nothing(office: Office) -> None:
    connection = office.connect(static=True)
    office.set_tunnel(connection, 0, UP)
    office.settle()
    assert len(office.ways("hv3")) == 1
    office.world.new_ops("hv3")
    office.world.start("hv3")
    office.settle()
    assert office.world.new_ops("hv3") == []


def test_an_edge_that_loses_its_underlay_tells_sites_nothing_until_it_has_been_back_for_a_while(office: Office) -> None:
    office.connect(static=False)
    vif, kernel, clock = interface(office, "dx0"), office.world.kernels["hv3"], office.world.clock
    kernel.host.devices.add("dx0")
    office.put(keys.resource(vif.id), vif)
    office.settle()

    def announced(edge: str) -> set[tuple[str, ...]]:
        found = office.world.kernels[edge].objects.values()
        return {obj.announces for obj in found if isinstance(obj, CustomerPeer)}

    def carry(carries: bool) -> None:
        kernel.everywhere = msgspec.structs.replace(kernel.everywhere, carries=carries)
        kernel.tell(UnderlayChanged())
        for _ in range(2):
            office.world.turn("hv3", audits=False)

    assert announced("hv3") == {office.vpc.cidrs}
    carry(False)
    assert announced("hv3") == {()}
    assert "its underlay has no carrier" in office.world.agents["hv3"].readiness.why
    assert announced("hv4") == {office.vpc.cidrs}
    carry(True)
    assert announced("hv3") == {()}
    clock.now += HOLD_S
    office.settle()
    assert announced("hv3") == {office.vpc.cidrs}


def test_an_edge_that_cannot_ask_its_daemons_is_not_ready(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.set_tunnel(office.connect(static=True), 0, UP)
    office.settle()
    before, readiness = office.reach(), office.world.agents["hv3"].readiness
    for question in ("border_sessions", "tunnels", "customer_sessions", "service_counts"):
        refusal = Mock(side_effect=KernelError(question, errno.EMFILE))
        monkeypatch.setattr(office.world.kernels["hv3"], question, refusal)
    office.settle()
    assert readiness.why.startswith("border_sessions: Too many open files")
    assert office.reach() == before
    monkeypatch.undo()
    office.settle()
    assert readiness.why == ""


def test_an_edge_that_cannot_read_its_tunnels_does_not_start_and_changes_no_route(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.set_tunnel(office.connect(static=True), 0, UP)
    office.settle()
    before = office.reach(), office.ways("hv3")
    monkeypatch.setattr(office.world.kernels["hv3"], "tunnels", Mock(side_effect=KernelError("tunnels", errno.EMFILE)))
    with pytest.raises(KernelError, match="Too many open files"):
        office.world.start("hv3")
    monkeypatch.undo()
    assert (office.reach(), office.ways("hv3")) == before


FLAPS: Final = 1000


@pytest.mark.parametrize("what", ["routes", "session", "tunnel"])
def test_whatever_a_site_changes_a_thousand_times_makes_an_edge_write_a_few_times_and_then_once_a_second(
    office: Office, what: str
) -> None:
    connection = office.connect(static=what == "tunnel")
    kernel, clock, wire = office.world.kernels["hv3"], office.world.clock, office.world.wires["hv3"]
    name, table = session_name(f"{connection.id}-1"), vrf_table(office.vni, VPN_GATEWAY_NUMBER)
    office.settle()
    begin, begun = len(wire.writes), clock.now
    office.world.new_ops("hv1")
    for number in range(FLAPS):
        clock.now += 0.02
        if what == "tunnel":
            office.set_tunnel(connection, 0, UP if number % 2 else TunnelStatus(problem="silent"))
        else:
            state = "Active" if what == "session" and number % 2 else "Established"
            kernel.customer_states[name] = CustomerSession(state=state, accepted=number % 7)
            kernel.learn(table, *([LearnedRoute(SITE, VPN_BGP + number % 7, "x-")] if state == "Established" else []))
        office.world.turn("hv3", audits=False)
        office.world.turn("hv1", audits=False)
    seconds = (clock.now - begun) / EVERY_S
    written = Counter(each.key for each in wire.writes[begin:])
    said, told = keys.reach(office.vni, office.gateway, "hv3"), keys.tunnel_status("hv3", connection.id)
    assert written.keys() <= {said, told, keys.agent_status("hv3")}
    assert written[said] > 1
    assert max(written.values()) <= AT_ONCE + seconds
    assert len(office.world.new_ops("hv1")) <= 4 * written[said], "a hypervisor changes a few routes at each word"
    office.settle()
    last = {"routes": (Origin.VPN_BGP, (FLAPS - 1) % 7), "tunnel": (Origin.VPN_STATIC, 0)}
    assert office.reach()["hv3"] == ({SITE: last[what]} if what in last else {})


def test_hundreds_of_tunnels_that_change_one_after_another_are_asked_for_together(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = office.connect(static=True)
    kernel, clock, tunnels, asked = office.world.kernels["hv3"], office.world.clock, office.world.kernels["hv3"].tunnels, 0

    def slow() -> dict[str, TunnelStatus]:
        nonlocal asked
        asked += 1
        clock.now += 0.1  # as with hundreds of tunnels
        return tunnels()

    monkeypatch.setattr(kernel, "tunnels", slow)
    begun = clock.now
    for number in range(500):
        clock.now += 0.01
        office.set_tunnel(connection, 0, UP if number % 2 else TunnelStatus())
        office.world.turn("hv3", audits=False)
    assert asked * 0.1 <= (clock.now - begun) / SHARE + ASK_EVERY_S
    before = asked
    deadline = office.world.agents["hv3"].private_gateways.wake_at(clock.now)
    assert deadline is not None
    assert deadline < clock.now + ASK_EVERY_S, "the last change is not forgotten"
    office.settle()
    assert asked > before
    assert office.ways("hv3") != []


@pytest.mark.parametrize("kind", ["mapping", "gateway", "connection", "secret", "reach", "interface"])
def test_a_record_that_cannot_be_read_keeps_nothing_else_waiting(office: Office, kind: str) -> None:
    connection = office.connect(static=False)
    office.learn("hv3", LearnedRoute(SITE, VPN_BGP, "x-"))
    damaged = {
        "mapping": keys.gateway_mapping(office.vni, office.gateway),
        "gateway": keys.resource(office.gateway),
        "connection": keys.resource(connection.id),
        "secret": keys.secret("hv3", connection.id),
        "reach": keys.reach(office.vni, office.gateway, "hv4"),
        "interface": keys.resource(make_id("dxvif", office.vni, 0xF0102030405)),
    }
    office.world.put(damaged[kind], b'{"odd": true}')
    office.learn("hv3", LearnedRoute(SITE, VPN_BGP + 1, "x-"))
    office.world.start("hv3")
    office.settle()
    other, subnet = office.world.vpc("b")
    placed = office.world.run(subnet, "hv1")
    office.settle()
    assert any(getattr(obj, "vni", 0) == other.vni for obj in office.world.kernels["hv1"].objects.values()), placed


def test_a_virtual_interface_on_the_uplink_takes_it_from_nobody(office: Office) -> None:
    office.connect(static=True)
    kernel = office.world.kernels["hv3"]
    before = {obj.key for obj in kernel.objects.values()}
    office.put(keys.resource(make_id("dxvif", office.vni, 0xF0102030405)), interface(office, "out0"))
    office.settle()
    assert {obj.key for obj in kernel.objects.values()} == before
    assert "out0 is this edge's uplink" in office.world.agents["hv3"].reconciler.problems[office.vni]


@pytest.mark.parametrize("damage", [b"{", b'{"schema": 99}'], ids=["damaged", "newer"])
@pytest.mark.parametrize("restarted", [False, True])
def test_who_is_not_to_come_in_any_more_does_not_whatever_cannot_be_read(office: Office, damage: bytes, restarted: bool) -> None:
    connection = office.connect(static=True)
    office.set_tunnel(connection, 0, UP)
    vif, kernel = interface(office, "dx0"), office.world.kernels["hv3"]
    kernel.host.devices.add("dx0")
    office.put(keys.resource(vif.id), vif)
    other = msgspec.structs.replace(connection, id=make_id("vpn", office.vni, 0xA1F010299), name="other", number=2)
    office.put(keys.secret("hv3", other.id), Sealed(boxes={1: "c2VhbGVk"}))
    office.put(keys.resource(other.id), other)
    office.settle()
    ends = (Vlan, Xfrm, IkeConnection, CustomerPeer)
    before = {obj for obj in kernel.objects.values() if isinstance(obj, ends) and obj.vni == office.vni}
    assert len(before) == 6
    office.world.put(f"vpc/{office.vni:06x}/sg/{make_id('sg', office.vni, 1)}", damage)
    if not restarted:
        office.settle()
    office.world.store.txn((), [Delete(keys.resource(vif.id)), Delete(keys.resource(connection.id))])
    if restarted:
        office.world.start("hv3")
    office.settle()
    assert office.vni in office.world.agents["hv3"].reconciler.problems
    left = {obj for obj in kernel.objects.values() if isinstance(obj, ends) and obj.vni == office.vni}
    assert left == {obj for obj in before if end_of(obj) in ends_of(office.vni, [other.id], [])}
    assert len(left) == 2
    assert not [obj for obj in kernel.objects.values() if end_of(obj) and end_of(obj) not in ends_of(office.vni, [other.id], [])]
