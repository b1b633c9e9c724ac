"""Random histories of both kinds of internet gateways and of public addresses: edges end with exactly what the records say."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from netorch.control.actions import instances, peerings
from netorch.errors import ApiError
from netorch.model.eni import Instance
from netorch.model.vpc import RouteTable, Vpc, VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.records.read import read_all
from netorch.state.op import Delete
from netorch.state.tc import Drop, TcFilter
from tests.rig.seats import egress_only_of, seat_egress_only
from tests.unit.edges.pair import EDGES, POOL, Pair, gateway_of

VPCS = st.sampled_from([0, 1])
EDGE = st.sampled_from(sorted(EDGES))
SEATS = st.sampled_from([(), ("e1",), ("e2",), ("e1", "e2")])
PUBLIC = st.sampled_from(["198.51.100.5", "198.51.100.6", "198.51.100.130", "203.0.113.5"])
PRIVATE = st.sampled_from(["10.0.0.4", "10.0.0.5", "10.1.0.4"])
POOL6, RANGE6 = "2001:db8:1000::/40", "2001:db8:1000::/56"
POOLS = st.sampled_from([(POOL,), ("198.51.100.128/25", POOL6), (POOL, "203.0.113.0/24", POOL6)])
DESTINATIONS = st.sampled_from(["::/0", "2001:db8:99::/48", "2001:db8:99::/64"])
TARGETS = st.sampled_from([gateway_of, egress_only_of])
KINDS = st.sampled_from(["filter", "clsact", "route", "link", "neigh", "nft-element", "nft-table", "netns", "up", "addr"])
SEED = st.integers(0, 1000)


class Histories(RuleBasedStateMachine):
    """A pair of edges, a hypervisor, and two VPCs."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.pair = Pair(Path(self.directory.name))
        self.vpcs: list[Vpc] = []
        self.subnets = []
        for name, cidr, ipv6 in (("a", "10.0.0.0/16", ""), ("b", "10.1.0.0/16", RANGE6)):
            vpc, subnet = self.pair.vpc(name, cidr, ipv6)
            self.vpcs.append(vpc)
            self.subnets.append(subnet)
        pooled = msgspec.structs.replace(self.vpcs[1], ipv6_pools={RANGE6: "west"})
        self.pair.world.put(keys.vpc(pooled.vni), encode(pooled))
        self.pair.put_pool(POOL, POOL6)
        self.pair.world.turn()

    @rule(which=VPCS, address=PUBLIC, private=PRIVATE)
    def associate(self, which: int, address: str, private: str) -> None:
        self.pair.associate(self.vpcs[which], address, private)

    @rule(which=VPCS, address=PUBLIC)
    def dissociate(self, which: int, address: str) -> None:
        self.pair.dissociate(self.vpcs[which], address)

    @rule(which=VPCS, seats=SEATS)
    def seat(self, which: int, seats: tuple[str, ...]) -> None:
        if seats:
            self.pair.seat(self.vpcs[which], *seats)
        else:
            self.pair.unseat(self.vpcs[which])

    @rule(which=VPCS, seats=SEATS)
    def seat_egress_only(self, which: int, seats: tuple[str, ...]) -> None:
        vni, world = self.vpcs[which].vni, self.pair.world
        gateway = egress_only_of(vni)
        for edge in EDGES:
            world.delete(keys.placement(edge, gateway))
        if seats:
            seat_egress_only(world.store, vni, {edge: EDGES[edge] for edge in seats})
        else:
            world.delete(keys.resource(gateway))
            world.delete(keys.gateway_mapping(vni, gateway))

    @rule(which=VPCS, ways=st.dictionaries(DESTINATIONS, TARGETS))
    def lead(self, which: int, ways: dict[str, Callable[[int], str]]) -> None:
        world, vni = self.pair.world, self.vpcs[which].vni
        (main,) = (stored.record for stored in read_all(world.store, RouteTable, vni).values())
        routes = tuple(VpcRoute(destination=d, target=of(vni)) for d, of in sorted(ways.items()))
        world.put(keys.resource(main.id), encode(msgspec.structs.replace(main, routes=routes)))

    @rule(cidrs=POOLS)
    def change_the_pool(self, cidrs: tuple[str, ...]) -> None:
        self.pair.put_pool(*cidrs)

    @rule(which=VPCS)
    def run(self, which: int) -> None:
        with contextlib.suppress(ApiError):
            self.pair.world.run(self.subnets[which], "hv1")

    @rule(which=VPCS, seed=SEED)
    def terminate(self, which: int, seed: int) -> None:
        world = self.pair.world
        records = read_inventory(world.store).vpcs.get(self.vpcs[which].vni)  # None: an address of a deleted interface
        found = sorted(records.of(Instance)) if records is not None else []
        if found:
            instances.terminate_instance(world.store, world.operator, found[seed % len(found)])

    @rule()
    def peer(self) -> None:
        world, (one, two) = self.pair.world, self.vpcs
        with contextlib.suppress(ApiError):
            made = peerings.request_peering(world.store, world.operator, one.id, two.id, name="p")
            peerings.accept_peering(world.store, world.operator, made.id)

    @rule(edge=EDGE)
    def turn(self, edge: str) -> None:
        self.pair.world.turn(edge)

    @rule(edge=EDGE)
    def kill_and_start(self, edge: str) -> None:
        self.pair.world.start(edge)

    @rule(edge=EDGE, kind=KINDS, times=st.integers(1, 3))
    def refuse(self, edge: str, kind: str, times: int) -> None:
        self.pair.world.kernels[edge].fail_next(kind, errno.ENOBUFS, times)

    @rule(edge=EDGE, seed=SEED)
    def disturb(self, edge: str, seed: int) -> None:
        """Delete an object of an edge behind its agent's back."""
        kernel = self.pair.world.kernels[edge]
        kinds = ("filter", "clsact", "route", "neigh", "nft-element")
        found = sorted((key for key in kernel.objects if key[0] in kinds), key=str)
        if found:
            kernel.disturb(Delete(kernel.objects[found[seed % len(found)]]))

    def teardown(self) -> None:
        world = self.pair.world
        for kernel in world.kernels.values():
            kernel.host.failures.clear()
        world.settle(90)
        for edge in EDGES:
            self.assert_settled(edge)
            world.new_ops(edge)
            world.start(edge)
            assert world.new_ops(edge) == []
            self.assert_settled(edge)
        self.pair.close()
        self.directory.cleanup()

    def assert_settled(self, edge: str) -> None:
        agent, kernel = self.pair.world.agents[edge], self.pair.world.kernels[edge]
        desired = {key: obj for target in agent.reconciler.slices.values() for key, obj in target.desired.items()}
        assert desired.keys() == kernel.objects.keys()
        assert all(obj.matches(kernel.objects[key]) for key, obj in desired.items())
        for vni, target in agent.reconciler.slices.items():
            assert agent.reconciler.in_force(vni)
            assert vni == 0 or target.desired == agent.reconciler.recomputed(vni)
        on_cables = [obj for obj in desired.values() if isinstance(obj, TcFilter) and obj.ifname.startswith("g-")]
        ends = {(obj.ifname, obj.hook) for obj in on_cables}
        assert {(obj.ifname, obj.hook) for obj in on_cables if obj.step == 20 and obj.actions == (Drop(),)} == ends


TestHistories = pytest.mark.slow(Histories.TestCase)
TestHistories.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
