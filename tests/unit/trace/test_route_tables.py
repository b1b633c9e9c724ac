"""Packets between the VRFs of route tables: where they pass, where a route ends them, and the explanation."""

from __future__ import annotations

import msgspec
import pytest

from netorch.compiler.base import LocalTable, TableRoutes, VpcView
from netorch.compiler.registry import compile_host, compile_slice, load_compilers
from netorch.compiler.tables import local_tables, table_routes
from netorch.model.ids import make_id, port_name
from netorch.model.packet import Packet
from netorch.model.vpc import RouteTable, VpcRoute
from netorch.trace.codes import Code
from netorch.trace.explain import Explanation, explain
from netorch.trace.host_model import HostModel
from netorch.trace.policy_index import PolicyIndex
from netorch.trace.walk import round_trip
from netorch.trace.way import Departure, Place, RoundTrip
from tests.property.policy_strategies import HOSTS, PolicyCase
from tests.unit.policy.small import ANYWHERE, FRONT, VNI, A, B, C, group, ping, rule, vpc

COMPILERS = load_compilers()
OPEN = group(1, [rule(1, ANYWHERE), rule(2, "::/0")])
MAIN = RouteTable(id=make_id("rtb", VNI, 1), vni=VNI, name="main", main=True)
CLOSED = RouteTable(id=make_id("rtb", VNI, 2), vni=VNI, name="closed", number=1)
GONE = make_id("eni", VNI, 0xDEAD)
BACK4 = "10.0.1.0/24"
PLAIN = vpc(OPEN, a=[1], b=[1], c=[1])
# A and B are in the subnet of the table "closed", A and C on hv1.
POLICY = msgspec.structs.replace(
    PLAIN, subnets=tuple(msgspec.structs.replace(s, route_table=CLOSED.id if s.id == FRONT else "") for s in PLAIN.subnets)
)
PORTS = dict(zip((A, B, C), (port_name(eni.id) for eni in POLICY.interfaces), strict=True))
NAMES = dict(zip((eni.id for eni in POLICY.interfaces), "abc", strict=True))


def tables(closed: dict[str, str], main: dict[str, str]) -> list[RouteTable]:
    """Return the two tables with these routes."""
    return [
        msgspec.structs.replace(table, routes=tuple(VpcRoute(destination=d, target=t) for d, t in routes.items()))
        for table, routes in ((MAIN, main), (CLOSED, closed))
    ]


def sent(packet: Packet, closed: dict[str, str], main: dict[str, str] | None = None) -> RoundTrip:
    """Return the paths of a packet and its reply."""
    a, b, c = POLICY.interfaces
    case = PolicyCase(policy=POLICY, homes={a.id: "hv1", b.id: "hv2", c.id: "hv1"})
    used = tables(closed, main or {})
    host_models = {}
    for host in HOSTS:
        view = _with(case.view(host), used)
        objects = compile_host(COMPILERS, view.host) | compile_slice(COMPILERS, view, list(case.mappings()))
        host_models[host] = HostModel(host, objects)
    sender = next(eni for eni in POLICY.interfaces if eni.address == packet.source)
    return round_trip(host_models, Departure(host=case.homes[sender.id], ifname=port_name(sender.id), mac=sender.mac), packet)


def _with(view: VpcView, used: list[RouteTable]) -> VpcView:
    local = local_tables(view.vpc, used)
    made = {LocalTable: local, TableRoutes: table_routes(view.vpc, used, local, frozenset(), {})}
    return msgspec.structs.replace(view, inputs={**view.inputs, **made})


@pytest.mark.parametrize(("source", "destination"), [(A, B), (A, C), (B, C), (C, A), (C, B)])
def test_packets_pass_from_one_tables_vrf_to_anothers_and_back(source: str, destination: str) -> None:
    found = sent(ping(source, destination), {})
    assert found.succeeded
    assert found.there.arrived_at == PORTS[destination]
    assert found.there.hops[1].said == f"{PORTS[source]} belongs to VPC {VNI}"


def test_a_table_that_leads_elsewhere_ends_its_own_packets_and_nobody_elses() -> None:
    for source in (A, B):
        there = sent(ping(source, C), {BACK4: GONE}).there
        assert (there.code, there.hops[-1].place) == (Code.BAD_STATE_ROUTE, Place.ROUTE)
        assert there.hops[-1].said == f"{BACK4} is a black hole in vrf{VNI}.1"
        assert there.hops[-1].devices == (PORTS[source], "")
    back = sent(ping(C, A), {BACK4: GONE})
    assert back.there.arrived
    assert back.back is not None
    assert back.back.code is Code.BAD_STATE_ROUTE


def test_a_main_table_that_leads_elsewhere_ends_its_own_packets_and_nobody_elses() -> None:
    found = sent(ping(B, C), {}, {BACK4: GONE})
    assert found.succeeded, "it comes to hv1 by VXLAN, where the main table has no say"
    dead = sent(ping(C, A), {}, {"10.0.0.0/24": GONE}).there
    assert dead.hops[-1].said == f"10.0.0.0/24 is a black hole in vrf{VNI}.255"


def black_hole(routes: dict[str, str], destination: str) -> Explanation:
    """Return the explanation for a packet that a route table sends to a black hole."""
    packet = ping(A, destination)
    index = PolicyIndex(POLICY.subnets, POLICY.interfaces, POLICY.groups, POLICY.acls, POLICY.prefix_lists, tables(routes, {}))
    case = PolicyCase(policy=POLICY, homes={eni.id: "hv1" for eni in POLICY.interfaces})
    return explain(index, case.view("hv1").vpc, packet, sent(packet, routes).there, NAMES)


@pytest.mark.parametrize(
    ("routes", "destination", "sentence"),
    [
        ({BACK4: GONE}, C, f"route {BACK4} via {GONE} of route table closed leads to nothing"),
        ({"192.0.2.0/24": "blackhole"}, "192.0.2.9", "route 192.0.2.0/24 via blackhole of route table closed leads to nothing"),
        ({ANYWHERE: GONE}, "192.0.2.9", f"route {ANYWHERE} via {GONE} of route table closed leads to nothing"),
        (
            {ANYWHERE: GONE},
            "169.254.169.1",
            "EC2 reserves 169.254.168.0/22, and no route of route table closed can lead there",
        ),
    ],
)
def test_a_black_hole_is_told_by_the_route_and_its_table(routes: dict[str, str], destination: str, sentence: str) -> None:
    said = black_hole(routes, destination)
    assert (said.code, said.sentence) == (Code.BAD_STATE_ROUTE, f"on host hv1: {sentence}")
    assert said.fix.endswith(": netorch route-table show o/v/closed")


@pytest.mark.parametrize(
    ("routes", "destination", "advice"),
    [
        ({BACK4: GONE}, C, "replace the route, or restore its target"),
        ({"192.0.2.0/24": "blackhole"}, "192.0.2.9", "change the target of the route"),
        ({ANYWHERE: GONE}, "169.254.169.1", "choose another address"),
    ],
)
def test_the_advice_about_a_black_hole_fits_its_cause(routes: dict[str, str], destination: str, advice: str) -> None:
    assert black_hole(routes, destination).fix.startswith(f"{advice}: ")


def test_an_address_that_nobody_has_has_no_route_though_a_wider_one_is_there() -> None:
    found = sent(ping(A, "10.0.0.99"), {ANYWHERE: GONE}).there
    assert (found.code, found.hops[-1].said) == (Code.NO_ROUTE_TO_DESTINATION, f"10.0.0.99 is unreachable in vrf{VNI}.1")
