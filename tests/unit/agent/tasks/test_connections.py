"""Connections: terminated on a customer's request, and handed over when an interface moves, even if an agent dies."""

from __future__ import annotations

import errno

import msgspec
import pytest

from netorch.control.actions import groups, instances, moves, permissions
from netorch.control.actions.instances import Placed
from netorch.control.actions.permissions import Permission
from netorch.drivers.fake.kernel import FakeKernel
from netorch.model.ids import make_id
from netorch.model.security import ALL_PROTOCOLS, TCP, Direction
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.flows import HandedOver
from netorch.state.base import OVERLAY
from netorch.state.flow import BEGINNER_TRACKS, OTHER_END_TRACKS, Flow
from tests.unit.agent.world import World

BOTH = BEGINNER_TRACKS | OTHER_END_TRACKS


def zone(world: World, host: str, vpc: Vpc) -> int:
    return world.agents[host].reconciler.zone_of(vpc.vni)


def flow(world: World, host: str, vpc: Vpc, source: str, destination: str, dport: int, mark: int = BOTH) -> Flow:
    """Make a host's kernel track a connection, and return it."""
    made = Flow(
        zone=zone(world, host, vpc),
        protocol=TCP,
        source=source,
        destination=destination,
        sport=40000,
        dport=dport,
        mark=mark,
        timeout_s=100,
        replied=True,
        tcp_state=3,
    )
    world.kernels[host].trackers[OVERLAY].restore([made])
    return made


def tracked(kernel: FakeKernel) -> set[tuple[str, str, int]]:
    return {(found.source, found.destination, found.dport) for found in kernel.tracker.tracked.values()}


class Shop:
    """A server in its own group, which permits two ports, and a client."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.vpc, self.subnet = world.vpc("a")
        self.server, self.client = world.run(self.subnet, "hv1"), world.run(self.subnet, "hv2")
        default = next(iter(self.server.eni.groups))
        self.group = default
        store, operator = world.store, world.operator
        (inside,) = groups.describe_security_group(store, operator, default).group.ingress
        permissions.revoke_by_id(store, operator, default, [inside.id])
        wanted = [Permission(protocol="tcp", ports=str(port), peer="10.0.0.0/16") for port in (22, 443)]
        self.rules = {
            rule.from_port: rule.id for rule in permissions.authorize(store, operator, default, Direction.INGRESS, wanted)
        }
        world.settle(2)

    def revoke(self, port: int, *, terminate: bool) -> None:
        permissions.revoke_by_id(
            self.world.store, self.world.operator, self.group, [self.rules[port]], terminate_established=terminate
        )


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


def from_client(shop: Shop, port: int, host: str = "hv1", mark: int = BOTH) -> tuple[str, str, int]:
    found = flow(shop.world, host, shop.vpc, shop.client.eni.address, shop.server.eni.address, port, mark)
    return found.source, found.destination, found.dport


def test_a_revoked_rule_leaves_its_connections_alone(shop: Shop) -> None:
    ssh, https = from_client(shop, 22), from_client(shop, 443)
    shop.revoke(22, terminate=False)
    shop.world.settle(3)
    assert tracked(shop.world.kernels["hv1"]) == {ssh, https}


def test_a_termination_ends_what_no_rule_permits_any_more_and_nothing_else(shop: Shop) -> None:
    from_client(shop, 22)
    https = from_client(shop, 443)
    there = from_client(shop, 22, host="hv2", mark=BEGINNER_TRACKS)  # on the client's host, where egress still permits it
    shop.revoke(22, terminate=True)
    shop.world.turn()
    assert tracked(shop.world.kernels["hv1"]) == {https}
    assert tracked(shop.world.kernels["hv2"]) == {there}


def test_what_an_end_does_not_track_is_not_its_to_end(shop: Shop) -> None:
    loose = from_client(shop, 22, mark=BEGINNER_TRACKS)
    shop.revoke(22, terminate=True)
    shop.world.turn()
    assert tracked(shop.world.kernels["hv1"]) == {loose}


def test_a_termination_waits_for_an_agent_that_is_dead(shop: Shop) -> None:
    from_client(shop, 22)
    shop.world.kill("hv1")
    shop.revoke(22, terminate=True)
    shop.world.start("hv1")
    assert tracked(shop.world.kernels["hv1"]) == set()


def test_a_termination_waits_until_the_rules_are_in_force(shop: Shop) -> None:
    ssh = from_client(shop, 22)
    shop.world.kernels["hv1"].fail_next("nft-rules", errno.ENOMEM, times=2)
    shop.revoke(22, terminate=True)
    shop.world.turn()
    assert tracked(shop.world.kernels["hv1"]) == {ssh}
    shop.world.settle(5)
    assert tracked(shop.world.kernels["hv1"]) == set()


def test_a_termination_waits_for_a_host_whose_network_is_not_up_yet(shop: Shop) -> None:
    world = shop.world
    ssh = from_client(shop, 22)
    world.kill("hv1")
    shop.revoke(22, terminate=True)
    world.kernels["hv1"].underlays = {}
    agent = world.start("hv1")
    assert not agent.reconciler.in_force(shop.vpc.vni)  # no rules were compiled: the kernel has the old ones
    world.settle(3)
    assert tracked(world.kernels["hv1"]) == {ssh}
    world.kernels["hv1"].underlays = None
    world.settle(3)
    assert agent.reconciler.in_force(shop.vpc.vni)
    assert tracked(world.kernels["hv1"]) == set()


def test_a_termination_that_waits_for_its_vpc_outlives_the_agent(shop: Shop) -> None:
    world, key = shop.world, keys.resource(shop.subnet.id)
    from_client(shop, 22)
    good = world.store.get(key)
    assert good is not None
    world.put(key, b"{")
    shop.revoke(22, terminate=True)
    world.settle(3)
    world.start("hv1")
    assert len(tracked(world.kernels["hv1"])) == 1
    world.put(key, good.value)
    world.settle(3)
    assert tracked(world.kernels["hv1"]) == set()


def test_another_vpcs_connections_with_the_same_addresses_go_on(shop: Shop) -> None:
    world = shop.world
    other, subnet = world.vpc("b")
    world.run(subnet, "hv1")
    world.settle(2)
    from_client(shop, 22)
    twin = flow(world, "hv1", other, shop.client.eni.address, shop.server.eni.address, 22)
    shop.revoke(22, terminate=True)
    world.turn()
    assert set(world.kernels["hv1"].tracker.tracked) == {twin.key}


def moved(world: World, vpc: Vpc, subnet: Subnet) -> Placed:
    """Return an instance with two connections on hv1, with a move to hv2 requested."""
    placed = world.run(subnet, "hv1")
    world.settle(2)
    flow(world, "hv1", vpc, placed.eni.address, "10.0.0.200", 443, BEGINNER_TRACKS)
    flow(world, "hv1", vpc, "10.0.0.201", placed.eni.address, 22, OTHER_END_TRACKS)
    flow(world, "hv1", vpc, "10.0.0.202", "10.0.0.203", 22)  # of other interfaces
    moves.move_instance(world.store, world.operator, placed.instance.id, "hv2")
    return placed


def test_a_moved_interface_finds_its_connections_and_no_others(world: World) -> None:
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv2")
    _, elsewhere = world.vpc("b")  # its zone on hv2 differs from that on hv1
    world.run(elsewhere, "hv1")
    placed = moved(world, vpc, subnet)
    world.settle(10)
    address = placed.eni.address
    assert tracked(world.kernels["hv2"]) == {(address, "10.0.0.200", 443), ("10.0.0.201", address, 22)}
    assert {found.zone for found in world.kernels["hv2"].tracker.tracked.values()} == {zone(world, "hv2", vpc)}
    assert {found.mark for found in world.kernels["hv2"].tracker.tracked.values()} == {BEGINNER_TRACKS, OTHER_END_TRACKS}
    assert world.store.get(keys.eni_flows("hv1", placed.eni.id)) is None
    world.assert_settled()


def test_connections_are_there_before_the_port_is(world: World) -> None:
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv2")
    placed = moved(world, vpc, subnet)
    port = ("link", "overlay", "v-" + placed.eni.id[4:17])
    while port not in world.kernels["hv2"].objects:
        assert world.clock.now < 1100
        seen = tracked(world.kernels["hv2"])
        world.turn()
        world.clock.now += 0.01
    assert len(seen) == 2


def test_a_connection_that_begins_while_the_interface_moves_comes_after(world: World) -> None:
    vpc, subnet = world.vpc("a")
    placed = moved(world, vpc, subnet)
    world.turn("hv1")  # publishes two
    late = flow(world, "hv1", vpc, placed.eni.address, "10.0.0.204", 80, BEGINNER_TRACKS)
    world.settle(10)
    assert (late.source, late.destination, late.dport) in tracked(world.kernels["hv2"])


@pytest.mark.parametrize("restarts", ["hv1", "hv2"])
def test_connections_come_along_whoever_restarts(world: World, restarts: str) -> None:
    vpc, subnet = world.vpc("a")
    moved(world, vpc, subnet)
    for _ in range(60):
        world.turn()
        world.start(restarts)
        world.clock.now += 0.05
    world.settle(10)
    assert len(tracked(world.kernels["hv2"])) == 2


def test_damaged_words_of_connections_do_not_stop_a_move(world: World) -> None:
    vpc, subnet = world.vpc("a")
    placed = moved(world, vpc, subnet)
    world.turn("hv1")
    key = keys.eni_flows("hv1", placed.eni.id)
    found = world.store.get(key)
    assert found is not None
    assert len(msgspec.json.decode(found.value, type=HandedOver).flows) == 2
    world.put(key, b"{")
    world.settle(10)
    world.assert_settled()


def handed_over(world: World, placed: Placed) -> tuple[str, Flow]:
    """Return the key by which hv1 hands over an interface's connections, and the first of them."""
    key = keys.eni_flows("hv1", placed.eni.id)
    stored = world.store.get(key)
    assert stored is not None
    return key, msgspec.json.decode(stored.value, type=HandedOver).flows[0]


def test_a_host_that_lies_of_an_interfaces_connections_gives_others_none(world: World) -> None:
    vpc, subnet = world.vpc("a")
    victim = world.run(subnet, "hv2")
    placed = moved(world, vpc, subnet)
    world.turn("hv1")
    key, one = handed_over(world, placed)
    mine, his = placed.eni.address, victim.eni.address
    lies = [
        msgspec.structs.replace(one, source="10.0.0.201", destination=his, dport=22, mark=BOTH),
        msgspec.structs.replace(one, source=mine, destination=his, dport=22, mark=BOTH),
    ]
    world.put(key, msgspec.json.encode(HandedOver(flows=tuple(lies))))
    world.turn("hv2")
    assert {(found.source, found.mark) for found in world.kernels["hv2"].tracker.tracked.values()} == {(mine, BEGINNER_TRACKS)}


@pytest.mark.parametrize(
    "change", [{"protocol": 300}, {"destination": "x"}, {"destination": "::1"}, {"sport": -1}, {"icmp_type": 1 << 40}]
)
def test_words_of_connections_that_are_none_are_left_out(world: World, change: dict[str, object]) -> None:
    vpc, subnet = world.vpc("a")
    placed = moved(world, vpc, subnet)
    world.turn("hv1")
    key, one = handed_over(world, placed)
    world.put(key, msgspec.json.encode({"flows": [msgspec.to_builtins(one) | change]}))
    world.turn("hv2")
    assert tracked(world.kernels["hv2"]) == set()


def test_the_default_group_permits_nothing_from_outside(shop: Shop) -> None:
    """Check this module's precondition: the rule that was revoked first is gone."""
    group = groups.describe_security_group(shop.world.store, shop.world.operator, shop.group).group
    assert not [rule for rule in group.ingress if rule.protocol == ALL_PROTOCOLS]


def test_an_address_loses_its_connections_with_its_interface_on_every_host(shop: Shop) -> None:
    other = shop.world.run(shop.subnet, "hv2")
    shop.world.settle(2)
    from_client(shop, 443)
    kept = flow(shop.world, "hv1", shop.vpc, other.eni.address, shop.server.eni.address, 443)
    instances.terminate_instance(shop.world.store, shop.world.operator, shop.client.instance.id)
    shop.world.turn()
    assert tracked(shop.world.kernels["hv1"]) == {(kept.source, kept.destination, kept.dport)}


def test_an_address_that_ended_while_the_agent_was_dead_has_no_connections_when_it_comes_back(shop: Shop) -> None:
    from_client(shop, 443)
    shop.world.kill("hv1")
    instances.terminate_instance(shop.world.store, shop.world.operator, shop.client.instance.id)
    shop.world.start("hv1")
    assert tracked(shop.world.kernels["hv1"]) == set()


def test_an_address_that_ended_loses_its_connections_though_the_vpc_cannot_be_compiled_yet(shop: Shop) -> None:
    from_client(shop, 443)
    shop.world.kill("hv1")
    instances.terminate_instance(shop.world.store, shop.world.operator, shop.client.instance.id)
    record = shop.world.store.get(keys.resource(shop.subnet.id))
    assert record is not None
    shop.world.put(keys.resource(shop.subnet.id), b"{")
    shop.world.start("hv1")
    shop.world.put(keys.resource(shop.subnet.id), record.value)
    shop.world.settle(3)
    assert tracked(shop.world.kernels["hv1"]) == set()


def test_words_of_connections_of_an_interface_whose_vpc_has_gone_meanwhile_mean_nothing(world: World) -> None:
    eni_id = make_id("eni", 4097, 1)
    agent = world.agents["hv2"]
    agent.records.handed_over[eni_id] = HandedOver(flows=())
    agent.records.dirty.handed_over.add(eni_id)
    world.turn("hv2")
    assert not agent.records.dirty.handed_over
    assert tracked(world.kernels["hv2"]) == set()
