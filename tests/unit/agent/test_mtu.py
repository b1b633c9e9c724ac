"""Underlays with different MTUs: how each host applies its own MTU and those of others."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

from netorch.control.actions import hosts, moves
from netorch.control.actions.instances import Placed
from netorch.drivers.base import Underlay, UnderlayChanged
from netorch.model.status import HostMtu
from netorch.records import keys
from netorch.state.base import KernelObject
from netorch.state.daemons.services.dhcp import DhcpLease
from netorch.state.l3 import Route
from netorch.state.link import TapPort, VethPort, Vxlan
from netorch.state.names import FLOW
from netorch.state.nft import Flowtable, FlowtableDevice, NftChain
from netorch.state.op import Replace
from tests.unit.agent.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Three hosts with agents."""
    made = World(tmp_path, "hv1", "hv2", "hv3")
    yield made
    for name in list(made.agents):
        made.kill(name)
    for kernel in made.kernels.values():
        kernel.close()


def set_mtu(world: World, host: str, mtu: int) -> None:
    """Change the MTU of a host's underlay, and let its kernel notify the agent."""
    kernel = world.kernels[host]
    kernel.underlays = {f"192.0.2.{10 + int(host[2:])}": Underlay(ifname="eth0", mtu=mtu)}
    kernel.tell(UnderlayChanged())


def ways(world: World, host: str) -> dict[str, int]:
    """Return the MTUs of a host's routes to other hosts, by address."""
    routes = (obj for obj in world.kernels[host].objects.values() if isinstance(obj, Route) and obj.via)
    return {str(ip_network(route.dst).network_address): route.mtu for route in routes}


def devices(world: World, host: str) -> set[int]:
    """Return the MTUs of a host's VXLAN devices and ports."""
    objects = world.kernels[host].objects.values()
    return {obj.mtu for obj in objects if isinstance(obj, Vxlan | VethPort | TapPort)}


def three(world: World, ipv6: str = "fd00::/56") -> list[Placed]:
    """Run an instance on each host."""
    _, subnet = world.vpc("a", ipv6=ipv6)
    return [world.run(subnet, host) for host in ("hv1", "hv2", "hv3")]


def test_routes_to_a_host_with_a_smaller_mtu_say_so_and_no_others(world: World) -> None:
    for host, mtu in (("hv1", 9050), ("hv2", 1550), ("hv3", 9050)):
        set_mtu(world, host, mtu)
    _, small, other = three(world)
    world.settle(3)
    assert ways(world, "hv1") == dict.fromkeys(small.eni.addresses, 1500) | dict.fromkeys(other.eni.addresses, 0)
    assert set(ways(world, "hv2").values()) == {0}
    assert devices(world, "hv1") == {9000}
    assert devices(world, "hv2") == {1500}
    world.assert_settled()


@pytest.mark.parametrize(("mtu", "expected"), [(1450, 1400), (9050, 0)], ids=["lowered", "raised"])
def test_a_changed_mtu_costs_the_host_its_devices_and_others_the_routes_to_it(world: World, mtu: int, expected: int) -> None:
    placed = three(world)
    world.settle(3)
    for host in world.kernels:
        world.new_ops(host)
    set_mtu(world, "hv2", mtu)
    world.settle(3, audits=False)
    changed = {host: {op.obj.key: op.obj for op in world.new_ops(host)} for host in world.kernels}
    assert all(isinstance(obj, Vxlan | VethPort | Route | DhcpLease) or offloads(obj) for obj in changed["hv2"].values())
    assert ways(world, "hv1") == dict.fromkeys(placed[1].eni.addresses, expected) | dict.fromkeys(placed[2].eni.addresses, 0)
    assert len(changed["hv1"]) == len(changed["hv3"]) == (2 if expected else 0)
    assert devices(world, "hv2") == {mtu - 50}
    world.assert_settled()


def test_a_changed_mtu_is_taken_over_in_place(world: World) -> None:
    three(world)
    world.settle(3)
    world.new_ops("hv1")
    set_mtu(world, "hv1", 9000)
    world.turn("hv1")
    ops = world.new_ops("hv1")
    assert {type(op) for op in ops if not offloads(op.obj)} == {Replace}
    assert {op.obj.kind for op in ops if offloads(op.obj)} == {"nft-flowtable", "nft-flowtable-device", "nft-rules"}


def offloads(obj: KernelObject) -> bool:
    """Return whether an object is a part of the VPC's flowtable, which another one replaces."""
    return isinstance(obj, Flowtable | FlowtableDevice) or (isinstance(obj, NftChain) and obj.name.startswith(FLOW))


def test_a_moved_address_has_the_mtu_of_the_host_where_it_is(world: World) -> None:
    for host, mtu in (("hv1", 9050), ("hv2", 1550), ("hv3", 9050)):
        set_mtu(world, host, mtu)
    placed = three(world)[2]
    world.settle(3)
    for host, expected in (("hv2", 1500), ("hv3", 0)):
        moves.move_instance(world.store, world.operator, placed.instance.id, host)
        world.settle(10)
        assert {ways(world, "hv1")[address] for address in placed.eni.addresses} == {expected}
    world.assert_settled()


def test_the_old_host_relays_no_more_than_the_new_one_takes(world: World) -> None:
    set_mtu(world, "hv2", 1450)
    placed = three(world)[0]
    world.settle(3)
    world.kill("hv2")
    moves.move_instance(world.store, world.operator, placed.instance.id, "hv2")
    world.settle(1)
    assert {ways(world, "hv1")[address] for address in placed.eni.addresses} == {1400}


def test_a_host_that_has_not_said_its_mtu_is_taken_to_be_like_this_one(world: World) -> None:
    set_mtu(world, "hv1", 9050)
    world.kill("hv2")
    world.delete(keys.host_mtu("hv2"))
    _, silent, _ = three(world)
    world.settle(3)
    assert {ways(world, "hv1")[address] for address in silent.eni.addresses} == {0}
    world.start("hv2")
    world.settle(3)
    assert {ways(world, "hv1")[address] for address in silent.eni.addresses} == {1500}


@pytest.mark.parametrize("value", [b"{", b'{"mtu": "1550"}', b"[1550]", b'{"mtu": 0}', b'{"mtu": -1550}'])
def test_a_word_that_cannot_be_read_counts_as_none_and_stops_nothing(world: World, value: bytes) -> None:
    set_mtu(world, "hv1", 9050)
    placed = three(world)
    world.settle(3)
    world.put(keys.host_mtu("hv2"), value)
    world.settle(1)
    assert {ways(world, "hv1")[address] for address in placed[1].eni.addresses} == {0}
    assert world.agents["hv1"].reconciler.problems == {}


def test_a_restarted_agent_knows_the_others_mtus_while_the_store_is_away(world: World) -> None:
    set_mtu(world, "hv1", 9050)
    placed = three(world)
    world.settle(5)
    world.wires["hv1"].cut = True
    world.new_ops("hv1")
    world.start("hv1")
    assert world.new_ops("hv1") == []
    assert {ways(world, "hv1")[address] for address in placed[1].eni.addresses} == {1500}


def test_what_others_forget_of_a_host_it_says_again(world: World) -> None:
    three(world)
    world.settle(3)
    world.delete(keys.host_mtu("hv1"))
    world.start("hv1")
    world.settle(1)
    found = world.store.get(keys.host_mtu("hv1"))
    assert found is not None
    assert msgspec.json.decode(found.value, type=HostMtu) == HostMtu(mtu=1550)


def test_a_deleted_host_leaves_no_mtu_behind(world: World) -> None:
    world.settle(2)
    world.kill("hv3")
    hosts.delete_host(world.store, world.operator, "hv3")
    assert world.store.get(keys.host_mtu("hv3")) is None


@pytest.mark.parametrize(("ipv6", "expected"), [("fd00::/56", 1280), ("", 576)])
def test_an_underlay_with_too_little_carries_what_ip_needs_in_pieces(world: World, ipv6: str, expected: int) -> None:
    set_mtu(world, "hv1", 600)
    three(world, ipv6)
    world.settle(3)
    assert devices(world, "hv1") == {expected}
    assert expected in ways(world, "hv2").values()
    world.assert_settled()
