"""Routes that an edge learns from customers' routers and announces to them: two birds speak, and Linux has the routes."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from netorch.drivers.base import LearnedChanged
from netorch.model.status import ESTABLISHED
from netorch.state.l3 import Route
from netorch.state.op import Create, Delete
from netorch.state.owner import overlay_netns
from tests.integration.drivers.edge.customers import DX, EDGE_ASN, HOST, RANGES, VPN, A, B, Customers, Edge, ip, table_of
from tests.integration.edges.border import same
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

SITE = "192.168.1.0/24"
FIRST, SECOND, PORT, OF_B = "x-0013880000001", "x-0013880000002", "d-0013880000003", "x-0013890000004"


def test_two_customers_with_the_same_addresses_learn_and_are_told_only_what_is_theirs(edge: Edge, customers: Customers) -> None:
    a = customers.make(FIRST, A, SITE, "172.16.1.0/24")
    b = customers.make(OF_B, B, SITE, "172.16.2.0/24")
    assert (a.near, a.far) == (b.near, b.far)
    peers = a.peer("of_a"), b.peer("of_b")
    edge.add(*peers)
    edge.wait_for(*peers)
    wait_for(lambda: len(edge.learned(A)) == len(edge.learned(B)) == 2, "the routes")
    assert edge.learned(A) == {SITE: (VPN + 1, FIRST), "172.16.1.0/24": (VPN + 1, FIRST)}
    assert edge.learned(B) == {SITE: (VPN + 1, OF_B), "172.16.2.0/24": (VPN + 1, OF_B)}
    wait_for(lambda: (a.told(), b.told()) == (set(RANGES[A]), set(RANGES[B])), "what they are told")
    assert (edge.way(A, "192.168.1.1"), edge.way(B, "192.168.1.1")) == (FIRST, OF_B)
    assert edge.way(A, "172.16.2.1") == ""
    assert [edge.state(peer).accepted for peer in peers] == [2, 2]


def test_a_route_that_comes_or_goes_is_an_event_of_its_table(edge: Edge, customers: Customers) -> None:
    a, b = customers.make(FIRST, A, SITE), customers.make(OF_B, B, SITE)
    peers = a.peer("of_a"), b.peer("of_b")
    edge.add(*peers)
    edge.wait_for(*peers)
    wait_for(lambda: edge.learned(A) and edge.learned(B), "the routes")
    edge.events()
    for announced in ((SITE, "192.168.2.0/24"), ("192.168.2.0/24",)):
        a.announce(*announced)
        wait_for(lambda: LearnedChanged(table_of(A)) in edge.events(), "the event")
        wait_for(lambda: edge.learned(A).keys() == set(announced), "the routes")  # noqa: B023 - called before the next turn
    assert LearnedChanged(table_of(B)) not in edge.events()


def test_routes_that_go_with_their_device_are_an_event_too(edge: Edge, customers: Customers) -> None:
    peer = customers.make(FIRST, A, SITE).peer("of_a")
    edge.add(peer)
    wait_for(lambda: edge.learned(A), "the route")
    edge.events()
    ip(f"link set {FIRST} down")
    wait_for(lambda: LearnedChanged(table_of(A)) in edge.events(), "the event")
    assert edge.learned(A) == {}


def test_nothing_inside_the_vpc_nor_of_no_network_is_taken_and_the_default_route_is(edge: Edge, customers: Customers) -> None:
    taken = {"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "128.0.0.0/1"}
    own = ("10.0.0.0/16", "10.0.3.0/24", "10.0.1.5/32")
    of_nobody = (
        "0.1.0.0/16",
        "127.0.0.0/8",
        "127.1.1.1/32",
        "169.254.0.0/16",
        "169.254.169.254/32",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
    customer = customers.make(FIRST, A, *taken, *own, *of_nobody, SITE)
    peer = customer.peer("of_a")
    edge.add(peer)
    edge.wait_for(peer)
    wait_for(lambda: edge.learned(A).keys() >= taken | {SITE}, "the routes")
    last = "192.168.99.0/24"  # is told after all others, so what is not there by then was not taken
    customer.announce(*taken, *own, *of_nobody, SITE, last)
    wait_for(lambda: last in edge.learned(A), "the last route")
    assert edge.learned(A).keys() == taken | {SITE, last}


def test_what_has_come_through_the_gateway_s_own_as_is_not_taken(edge: Edge, customers: Customers) -> None:
    customer = customers.make(FIRST, A, SITE)
    peer = customer.peer("of_a")
    edge.add(peer)
    wait_for(lambda: SITE in edge.learned(A), "the route")
    customer.announce(SITE, prepend=1, through=EDGE_ASN)
    wait_for(lambda: edge.learned(A) == {}, "its end")
    assert edge.state(peer).state == ESTABLISHED


def test_a_router_with_too_many_prefixes_has_no_session_until_it_has_fewer(edge: Edge, customers: Customers) -> None:
    hundred = [f"192.168.{number}.0/24" for number in range(100)]
    customer, other = customers.make(FIRST, A, *hundred), customers.make(OF_B, B, SITE)
    peer, of_b = customer.peer("of_a"), other.peer("of_b")
    edge.add(peer, of_b)
    edge.wait_for(peer, of_b)
    wait_for(lambda: len(edge.learned(A)) == 100, "a hundred routes")
    since = edge.since(of_b)
    customer.announce(*hundred, "192.168.200.0/24")
    wait_for(lambda: "limit" in edge.state(peer).reason, "the session's end")
    # The router connects again and again, and each time the session is established until the routes have come.
    wait_for(lambda: edge.learned(A) == {} and edge.state(peer).state != ESTABLISHED, "its routes' end")
    customer.announce(*hundred)
    wait_for(lambda: len(edge.learned(A)) == 100, "a hundred routes")
    assert edge.since(of_b) == same(since)


def test_direct_connect_is_better_than_a_tunnel_whatever_the_paths(edge: Edge, customers: Customers) -> None:
    tunnel = customers.make(FIRST, A, SITE, "172.16.0.0/16")
    port = customers.make(PORT, A, SITE, net=11, prepend=5)
    peers = tunnel.peer("tunnel"), port.peer("port", DX)
    edge.add(*peers)
    edge.wait_for(*peers)
    wait_for(lambda: edge.learned(A) == {SITE: (DX + 6, PORT), "172.16.0.0/16": (VPN + 1, FIRST)}, "the routes")
    assert edge.way(A, "192.168.1.1") == PORT
    edge.apply(Delete(peers[1]))
    wait_for(lambda: edge.learned(A) == {SITE: (VPN + 1, FIRST), "172.16.0.0/16": (VPN + 1, FIRST)}, "the tunnel's route")
    assert edge.way(A, "192.168.1.1") == FIRST


def test_of_two_tunnels_the_one_with_the_shorter_path_is_used(edge: Edge, customers: Customers) -> None:
    first = customers.make(FIRST, A, SITE, prepend=2)
    second = customers.make(SECOND, A, SITE, net=11, prepend=1)
    peers = first.peer("first"), second.peer("second")
    edge.add(*peers)
    edge.wait_for(*peers)
    wait_for(lambda: edge.learned(A) == {SITE: (VPN + 2, SECOND)}, "the second tunnel's route")
    second.announce(SITE, prepend=3)
    wait_for(lambda: edge.learned(A) == {SITE: (VPN + 3, FIRST)}, "the first tunnel's route")
    assert edge.way(A, "192.168.1.1") == FIRST
    first.announce()
    wait_for(lambda: edge.learned(A) == {SITE: (VPN + 4, SECOND)}, "the second tunnel's route")
    assert edge.way(A, "192.168.1.1") == SECOND


def test_a_static_route_is_better_than_a_tunnel_s_learned_one_and_worse_than_direct_connect_s(
    edge: Edge, customers: Customers
) -> None:
    tunnel, port = customers.make(FIRST, A, SITE), customers.make(PORT, A, net=11)
    peers = tunnel.peer("tunnel"), port.peer("port", DX)
    edge.add(*peers)
    edge.wait_for(*peers)
    wait_for(lambda: edge.learned(A) == {SITE: (VPN + 1, FIRST)}, "the tunnel's route")
    customers.make(SECOND, A, net=12)  # a tunnel without BGP
    static = Route(vni=A, table=table_of(A), dst=SITE, ifname=SECOND, metric=2000)
    edge.apply(Create(static))
    wait_for(lambda: edge.learned(A) == {}, "the learned route's end")
    assert edge.way(A, "192.168.1.1") == SECOND
    port.announce(SITE)
    wait_for(lambda: edge.learned(A) == {SITE: (DX + 1, PORT)}, "the port's route")
    assert edge.way(A, "192.168.1.1") == PORT
    port.announce()
    wait_for(lambda: edge.way(A, "192.168.1.1") == SECOND, "the static route")
    edge.apply(Delete(static))
    wait_for(lambda: edge.learned(A) == {SITE: (VPN + 1, FIRST)}, "the tunnel's route")


def test_a_learned_route_takes_the_place_of_one_that_goes_with_its_device(edge: Edge, customers: Customers) -> None:
    """Linux does not report routes that go with a device; bird checks all of them when a device goes down."""
    peer = customers.make(FIRST, A, SITE).peer("tunnel")
    customers.make(PORT, A, net=11)
    edge.add(peer)
    edge.wait_for(peer)
    wait_for(lambda: edge.learned(A) == {SITE: (VPN + 1, FIRST)}, "the tunnel's route")
    edge.apply(Create(Route(vni=A, table=table_of(A), dst=SITE, ifname=PORT, metric=500)))
    wait_for(lambda: edge.learned(A) == {}, "the learned route's end")
    ip(f"link set {PORT} down")
    wait_for(lambda: edge.learned(A) == {SITE: (VPN + 1, FIRST)}, "the tunnel's route")


def test_a_learned_route_takes_the_place_of_one_of_whose_end_bird_has_not_heard(edge: Edge, customers: Customers) -> None:
    """A bird without a processor for a while finds that its netlink socket overflowed."""
    peer = customers.make(FIRST, A, SITE).peer("tunnel")
    customers.make(SECOND, A, net=12)
    edge.add(peer)
    edge.wait_for(peer)
    static = Route(vni=A, table=table_of(A), dst=SITE, ifname=SECOND, metric=2000)
    edge.apply(Create(static))
    wait_for(lambda: edge.learned(A) == {}, "the learned route's end")
    lines = "\n".join(f"route add blackhole 10.{number >> 8}.{number & 255}.0/24 table 999" for number in range(4000))
    os.kill(edge.pid(), signal.SIGSTOP)
    try:
        subprocess.run(["ip", "-n", overlay_netns(HOST), "-batch", "-"], input=lines, text=True, check=True)
        edge.apply(Delete(static))
    finally:
        os.kill(edge.pid(), signal.SIGCONT)
    wait_for(lambda: edge.state(peer) and edge.learned(A) == {SITE: (VPN + 1, FIRST)}, "the tunnel's route")
