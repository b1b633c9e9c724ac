"""The routes that route tables learn from edges, and the edge to which a host sends."""

from __future__ import annotations

import pytest

from netorch.model.addr import Prefix, parse_prefix
from netorch.model.mapping import GatewayMapping, Reach, ReachedPrefix, Seat
from netorch.model.outside.vpn import MAX_LEARNED
from netorch.model.routing.effective import Origin
from netorch.model.routing.metrics import DX_BGP, DX_STATIC, VPN_BGP, VPN_STATIC, origin_of
from netorch.model.routing.next_hop import clashes, gateway_mac, target_hop
from netorch.model.routing.reach import Ways, learned, said_by_seats
from netorch.model.routing.seats import stand_in

VGW = "vgw-00138800000000a10"
OTHER = "vgw-00138800000000b20"
SEATS = (Seat(host="e1", vtep="192.0.2.21"), Seat(host="e2", vtep="192.0.2.22"))
DX, STATIC, BGP = Origin.DIRECT_CONNECT, Origin.VPN_STATIC, Origin.VPN_BGP


def reach(edge: str, *prefixes: tuple[str, Origin, int], gateway: str = VGW) -> Reach:
    found = tuple(ReachedPrefix(prefix=text, origin=origin, as_path_length=length) for text, origin, length in prefixes)
    return Reach(vni=5000, gateway=gateway, edge=edge, prefixes=found)


def place(reaches: list[Reach], prefix: str, host: str = "hv1") -> int | None:
    return Ways(VGW, SEATS, reaches).towards(host, parse_prefix(prefix))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((BGP, 1), (DX, 9), 1),
        ((STATIC, 0), (DX, 9), 1),
        ((BGP, 1), (STATIC, 0), 1),
        ((BGP, 3), (BGP, 2), 1),
        ((BGP, 2), (BGP, 3), 0),
        ((DX, 1), (DX, 2), 0),
    ],
)
def test_the_edge_with_the_better_way_is_chosen(first: tuple[Origin, int], second: tuple[Origin, int], expected: int) -> None:
    reaches = [reach("e1", ("10.44.0.0/16", *first)), reach("e2", ("10.44.0.0/16", *second))]
    assert {place(reaches, "10.44.0.0/16", host) for host in ("hv1", "hv2", "hv3", "hv4", "hv5")} == {expected}


def test_a_longer_prefix_beats_a_better_origin() -> None:
    reaches = [reach("e1", ("10.0.0.0/8", DX, 1)), reach("e2", ("10.44.0.0/16", BGP, 5))]
    assert place(reaches, "10.44.0.0/16") == 1
    assert place(reaches, "10.45.0.0/16") == 0


def test_hosts_spread_over_edges_with_equal_ways_and_each_stays_with_its_own() -> None:
    reaches = [reach("e1", ("10.44.0.0/16", BGP, 1)), reach("e2", ("10.44.0.0/16", BGP, 1))]
    hosts = [f"hv{number}" for number in range(20)]
    chosen = {host: place(reaches, "10.44.0.0/16", host) for host in hosts}
    assert set(chosen.values()) == {0, 1}
    assert chosen == {host: place(list(reversed(reaches)), "10.44.0.0/16", host) for host in hosts}


def test_no_edge_is_chosen_that_does_not_reach_all_of_a_prefix() -> None:
    reaches = [reach("e1", ("10.44.1.0/24", BGP, 1)), reach("e3", ("10.44.0.0/16", BGP, 1))]
    assert place(reaches, "10.44.0.0/16") is None
    assert place([reach("e1", ("10.44.0.0/16", BGP, 1), gateway=OTHER)], "10.44.0.0/16") is None


def test_what_is_reached_within_a_prefix() -> None:
    reaches = [reach("e1", ("10.44.0.0/16", BGP, 1), ("10.44.9.0/24", BGP, 1)), reach("e2", ("10.44.9.0/24", DX, 1))]
    assert [str(found) for found in Ways(VGW, SEATS, reaches).within(parse_prefix("10.44.0.0/16"))] == ["10.44.9.0/24"]
    assert Ways(OTHER, SEATS, reaches).within(parse_prefix("0.0.0.0/0")) == []


def test_an_edge_without_a_seat_says_nothing() -> None:
    reaches = [reach("e3", ("10.44.0.0/16", BGP, 1)), reach("e1", ("10.45.0.0/16", BGP, 1), gateway=OTHER)]
    assert said_by_seats(reaches, {VGW: SEATS}) == []
    assert Ways(VGW, SEATS, reaches).within(parse_prefix("0.0.0.0/0")) == []


def test_many_prefixes_cost_no_more_than_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [(f"100.{64 + number // 256}.{number % 256}.0/24", BGP, 1) for number in range(2000)]
    ways = Ways(VGW, SEATS, [reach("e1", *many[:1000], ("0.0.0.0/0", BGP, 1)), reach("e2", *many[1000:])])
    compared = 0
    contains = Prefix.contains

    def counted(self: Prefix, other: Prefix) -> bool:
        nonlocal compared
        compared += 1
        return contains(self, other)

    monkeypatch.setattr(Prefix, "contains", counted)
    inside = ways.within(parse_prefix("0.0.0.0/0"))
    assert [ways.towards("hv1", prefix) for prefix in inside] == [0] * 1000 + [1] * 1000
    assert compared == 2000


def test_a_table_learns_the_best_way_to_each_prefix_of_the_gateways_that_it_names() -> None:
    reaches = [
        reach("e1", ("10.44.0.0/16", BGP, 2)),
        reach("e2", ("10.44.0.0/16", DX, 1)),
        reach("e1", ("10.99.0.0/16", BGP, 1), gateway=OTHER),
    ]
    found = learned(reaches, {VGW})
    assert [(one.prefix, one.gateway, one.origin, one.as_path_length) for one in found] == [("10.44.0.0/16", VGW, DX, 1)]
    assert learned(reaches, ()) == []


def test_a_table_learns_a_hundred_prefixes_of_a_gateway_and_no_more() -> None:
    many = [(f"10.{number}.0.0/16", BGP, 1) for number in range(MAX_LEARNED + 20)]
    found = learned([reach("e1", *many[:60]), reach("e2", *many[60:])], {VGW})
    assert [one.prefix for one in found] == [prefix for prefix, _, _ in many[:MAX_LEARNED]]


def test_a_silent_edge_is_stood_in_for() -> None:
    mapping = GatewayMapping(vni=5000, gateway=VGW, seats=SEATS)
    first, second = SEATS
    assert [stand_in(at, mapping, ()) for at in (0, 1)] == [first, second]
    assert [stand_in(at, mapping, {first.vtep}) for at in (0, 1)] == [second, second]
    both = {first.vtep, second.vtep}
    assert [stand_in(at, mapping, both) for at in (0, 1)] == [first, second]
    assert [stand_in(at, mapping, both, {second.vtep}) for at in (0, 1)] == [first, first]


def test_the_metric_of_a_route_tells_where_it_comes_from() -> None:
    assert origin_of(DX_STATIC + 3) == (DX, 0)
    assert origin_of(DX_BGP + 2) == (DX, 2)
    assert origin_of(VPN_STATIC + 5) == (STATIC, 0)
    assert origin_of(VPN_BGP + 4) == (BGP, 4)
    assert origin_of(1) is None
    assert origin_of(4278198272) is None


def test_the_edges_of_a_gateway_have_hops_and_macs_of_their_own_and_nobody_else_has_them() -> None:
    assert len({target_hop(VGW, 4, 0), target_hop(VGW, 4, 1), target_hop(VGW, 6, 0), target_hop(VGW, 6, 1)}) == 4
    assert gateway_mac(VGW, 0) != gateway_mac(VGW, 1)
    assert clashes("nat-00138800000000a11", [VGW])
    assert clashes(VGW, ["eni-00138800000000a11"])
    assert not clashes("nat-00138800000000a12", [VGW])
