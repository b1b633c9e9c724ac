"""Random histories of a whole cloud: whatever customers, kernels, wires and crashes do, the cloud ends as the records say."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from netorch.agent.tasks.allowance import over_allowance
from netorch.control.actions import enis, hosts, instances, moves, peerings, route_tables, subnets, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.drivers.base import Lost, Underlay, UnderlayChanged
from netorch.errors import ApiError, Compacted
from netorch.model.eni import EniState, EniStatus, Instance, NetworkInterface
from netorch.model.ids import make_id, vni_of
from netorch.model.outside.gateway import InternetGateway
from netorch.model.routing.peering import PeeringConnection, PeeringStatus
from netorch.model.security import UDP
from netorch.model.vpc import RouteTable, Subnet, VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.state.base import OVERLAY
from netorch.state.flow import Flow
from netorch.state.l3 import Route
from netorch.state.link import Vrf
from netorch.state.nft import NFT_KINDS, NftChain, NftTable
from netorch.state.op import Create, Delete, Replace
from tests.rig.seats import seat_gateway
from tests.rig.tables import use_table
from tests.unit.agent.world import World

DESTINATIONS = st.sampled_from(
    ["0.0.0.0/0", "::/0", "192.0.2.0/24", "10.0.0.0/16", "10.0.0.0/24", "10.1.0.0/16", "10.1.0.4/32", "10.1.1.0/24", "fd00::/48"]
)
HOSTS = st.sampled_from(["hv1", "hv2", "hv3"])
SEED = st.integers(0, 1000)
KINDS = st.sampled_from(["link", "up", "addr", "neigh", "fdb", "route", "sysctl", "rule", "gro", "nft-table", "nft-element"])
ERRNOS = st.sampled_from([errno.ENOBUFS, errno.EEXIST, errno.ENODEV, errno.EBUSY, errno.EPERM])


class Histories(RuleBasedStateMachine):
    """Three hosts with their agents."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.world = World(Path(self.directory.name), "hv1", "hv2", "hv3")
        self.names = 0

    def try_to(self, act: Callable[[], object]) -> None:
        with contextlib.suppress(ApiError):
            act()

    def some(self, kind: type, seed: int) -> str:
        found = sorted(
            resource_id for records in read_inventory(self.world.store).vpcs.values() for resource_id in records.of(kind)
        )
        return found[seed % len(found)] if found else "none"

    @initialize()
    def begin(self) -> None:
        """Begin with two VPCs that have instances on two hosts."""
        for ipv6 in ("", "fd00::/56"):
            self.create_vpc(ipv6)
            for host in ("hv1", "hv2"):
                self.run(1, host)
        self.world.turn()

    # --- customers -----------------------------------------------------------------------------------------------------------

    @rule(ipv6=st.sampled_from(["", "fd00::/56"]))
    def create_vpc(self, ipv6: str) -> None:
        self.names += 1
        number = self.names % 3  # VPCs with the same ranges cannot be peers
        ranges = f"10.{number}.0.0/16", f"fd00:0:0:{number}00::/56" if ipv6 else ""
        self.try_to(lambda: self.world.vpc(f"vpc-{self.names}", *ranges))

    @rule(seed=SEED, other=SEED)
    def peer(self, seed: int, other: int) -> None:
        world, one, two = self.world, self._vpc(seed), self._vpc(other)

        def act() -> None:
            made = peerings.request_peering(world.store, world.operator, one, two, name=f"p{seed}")
            peerings.accept_peering(world.store, world.operator, made.id)
            for vpc, there in ((one, two), (two, one)):
                inventory = read_inventory(world.store)
                main = inventory.vpcs[vni_of(vpc)].main_table()
                assert main is not None
                to = inventory.vpcs[vni_of(there)].vpc.record
                routes = tuple(VpcRoute(destination=cidr, target=made.id) for cidr in to.cidrs + to.ipv6_cidrs)
                world.put(keys.resource(main.id), encode(msgspec.structs.replace(main, routes=routes)))

        self.try_to(act)

    @rule(seed=SEED)
    def end_a_peering(self, seed: int) -> None:
        world = self.world
        self.try_to(lambda: peerings.delete_peering(world.store, world.operator, self.some(PeeringConnection, seed)))

    @rule(seed=SEED)
    def delete_vpc(self, seed: int) -> None:
        world = self.world
        inventory = read_inventory(world.store)
        if not inventory.vpcs:
            return
        records = inventory.vpcs[sorted(inventory.vpcs)[seed % len(inventory.vpcs)]]
        for instance in records.of(Instance):
            self.try_to(partial(instances.terminate_instance, world.store, world.operator, instance))
        for eni in records.of(NetworkInterface):
            self.try_to(partial(enis.delete_network_interface, world.store, world.operator, eni))
        for subnet in records.of(Subnet):
            self.try_to(partial(subnets.delete_subnet, world.store, world.operator, subnet))
        for table in records.of(RouteTable):
            self.try_to(partial(route_tables.delete_route_table, world.store, world.operator, table))
        self.try_to(lambda: vpcs.delete_vpc(world.store, world.operator, records.vpc.record.id))

    @rule(seed=SEED, number=st.integers(1, 3))
    def create_subnet(self, seed: int, number: int) -> None:
        name, cidr, vpc = f"s{number}", f"10.{seed % 3}.{number}.0/24", self._vpc(seed)
        self.try_to(lambda: subnets.create_subnet(self.world.store, self.world.operator, vpc, name=name, cidr=cidr))

    def _vpc(self, seed: int) -> str:
        found = sorted(records.vpc.record.id for records in read_inventory(self.world.store).vpcs.values())
        return found[seed % len(found)] if found else "none"

    @rule(seed=SEED, host=HOSTS)
    def run(self, seed: int, host: str) -> None:
        request = RunRequest(subnet=self.some(Subnet, seed), host=host)
        self.try_to(lambda: instances.run_instance(self.world.store, self.world.operator, request))

    @rule(seed=SEED)
    def terminate(self, seed: int) -> None:
        self.try_to(lambda: instances.terminate_instance(self.world.store, self.world.operator, self.some(Instance, seed)))

    @rule(seed=SEED, host=HOSTS)
    def move(self, seed: int, host: str) -> None:
        self.try_to(lambda: moves.move_instance(self.world.store, self.world.operator, self.some(Instance, seed), host))

    @rule(seed=SEED)
    def cancel(self, seed: int) -> None:
        self.try_to(lambda: moves.cancel_move(self.world.store, self.world.operator, self.some(Instance, seed)))

    @rule(seed=SEED)
    def create_table(self, seed: int) -> None:
        vpc = self._vpc(seed)
        self.names += 1
        self.try_to(lambda: route_tables.create_route_table(self.world.store, self.world.operator, vpc, name=f"t{self.names}"))

    @rule(seed=SEED, routes=st.dictionaries(DESTINATIONS, st.integers(0, 6), max_size=3))
    def route(self, seed: int, routes: dict[str, int]) -> None:
        """Give a table routes to existing interfaces and gateways, to a missing interface, to a blackhole, and to peers."""
        table_id = self.some(RouteTable, seed)
        for records in read_inventory(self.world.store).vpcs.values():
            if table_id in records.of(RouteTable):
                known = records.of(RouteTable)[table_id].record
                targets = [*sorted(records.of(NetworkInterface))[:2], make_id("eni", records.vni, 0xDEAD), "blackhole"]
                targets += [*sorted(records.of(PeeringConnection))[:2], *sorted(records.of(InternetGateway))]
                found = tuple(VpcRoute(destination=to, target=targets[by % len(targets)]) for to, by in routes.items())
                self.world.put(keys.resource(table_id), encode(msgspec.structs.replace(known, routes=found)))

    @rule(seed=SEED, other=SEED)
    def associate(self, seed: int, other: int) -> None:
        subnet, table = self.some(Subnet, seed), self.some(RouteTable, other)
        self.try_to(lambda: use_table(self.world.store, self.world.operator, subnet, table))

    @rule(seed=SEED)
    def delete_table(self, seed: int) -> None:
        self.try_to(lambda: route_tables.delete_route_table(self.world.store, self.world.operator, self.some(RouteTable, seed)))

    @rule(seed=SEED, other=SEED)
    def attach(self, seed: int, other: int) -> None:
        world = self.world

        def act() -> None:
            eni = enis.create_network_interface(world.store, world.operator, self.some(Subnet, seed))
            enis.attach_network_interface(world.store, world.operator, eni.id, self.some(Instance, other))

        self.try_to(act)

    @rule(seed=SEED)
    def detach(self, seed: int) -> None:
        self.try_to(
            lambda: enis.detach_network_interface(self.world.store, self.world.operator, self.some(NetworkInterface, seed))
        )

    @rule(seed=SEED, check=st.booleans())
    def check_source_and_destination(self, seed: int, check: bool) -> None:
        act = enis.modify_network_interface
        self.try_to(
            lambda: act(self.world.store, self.world.operator, self.some(NetworkInterface, seed), source_dest_check=check)
        )

    @rule(seed=SEED, hosts=st.lists(HOSTS, unique=True, max_size=2))
    def carry_a_gateway(self, seed: int, hosts: list[str]) -> None:
        """Let up to two hosts, or none, carry a VPC's gateway."""
        found = sorted(read_inventory(self.world.store).vpcs)
        if found:
            edges = {host: f"192.0.2.{10 + int(host[2:])}" for host in hosts}
            seat_gateway(self.world.store, found[seed % len(found)], edges)

    # --- hosts ---------------------------------------------------------------------------------------------------------------

    @rule(host=HOSTS)
    def delete_host_and_create_it_again(self, host: str) -> None:
        self.try_to(lambda: hosts.delete_host(self.world.store, self.world.operator, host))
        self.world.turn()
        self.try_to(lambda: self.world.create_host(host))

    @rule(host=HOSTS, mtu=st.sampled_from([0, 1550, 9000]))
    def change_the_underlay(self, host: str, mtu: int) -> None:
        kernel = self.world.kernels[host]
        vtep = f"192.0.2.{10 + int(host[2:])}"
        kernel.underlays = {vtep: Underlay(ifname="eth0", mtu=mtu)} if mtu else {}
        kernel.tell(UnderlayChanged())

    @rule(host=HOSTS)
    def restart(self, host: str) -> None:
        self.world.start(host)

    @rule(host=HOSTS, seed=SEED, restarts=st.booleans())
    def find_older_tables(self, host: str, seed: int, restarts: bool) -> None:
        """Let tables have another text, and some chains lead to where only that one has something, as after an upgrade."""
        kernel = self.world.kernels[host]
        for obj in list(kernel.objects.values()):
            if isinstance(obj, NftTable):
                kernel.host.objects[obj.key] = msgspec.structs.replace(obj, body=f"{obj.body}chain older {{\n}}\n")
            elif isinstance(obj, NftChain) and (sum(obj.name.encode()) + seed) % 3 == 0:
                kernel.host.objects[obj.key] = msgspec.structs.replace(obj, rules=("goto older",))
        if restarts:
            self.world.start(host)
        else:
            kernel.tell(Lost(NFT_KINDS))

    @rule(host=HOSTS)
    def kill(self, host: str) -> None:
        self.world.kill(host)

    @rule(host=HOSTS, kind=KINDS, number=ERRNOS, times=st.integers(1, 4))
    def refuse(self, host: str, kind: str, number: int, times: int) -> None:
        self.world.kernels[host].fail_next(kind, number, times)

    @rule(host=HOSTS, seed=SEED)
    def somebody_deletes(self, host: str, seed: int) -> None:
        kernel = self.world.kernels[host]
        if kernel.objects:
            with suppress(OSError):  # another object depends on this one
                kernel.disturb(Delete(list(kernel.objects.values())[seed % len(kernel.objects)]))

    @rule(host=HOSTS, seed=SEED)
    def somebody_changes_a_route(self, host: str, seed: int) -> None:
        kernel = self.world.kernels[host]
        routes = [obj for obj in kernel.objects.values() if isinstance(obj, Route) and obj.via]
        if routes:
            old = routes[seed % len(routes)]
            kernel.disturb(Replace(old, msgspec.structs.replace(old, via="192.0.2.99")))

    @rule(host=HOSTS)
    def somebody_leaves_a_vrf_behind(self, host: str) -> None:
        self.world.kernels[host].disturb(Create(Vrf(vni=9999, ifname="vrf9999", table=9999)))

    @rule(host=HOSTS, kinds=st.sampled_from([None, NFT_KINDS]))
    def lose_notifications(self, host: str, kinds: frozenset[str] | None) -> None:
        self.world.kernels[host].tell(Lost(kinds))

    @rule(host=HOSTS, zone=st.integers(1, 4), count=st.integers(0, 30), most=st.sampled_from([0, 20, 50, 1000]))
    def instances_talk(self, host: str, zone: int, count: int, most: int) -> None:
        kernel = self.world.kernels[host]
        one = Flow(zone=zone, protocol=UDP, source="192.0.2.1", destination="192.0.2.2", timeout_s=30)
        kernel.trackers[OVERLAY].restore(msgspec.structs.replace(one, sport=sport) for sport in range(count))
        kernel.tracker.most = most

    @rule(host=HOSTS, silent=st.lists(HOSTS, unique=True))
    def edges_fall_silent(self, host: str, silent: list[str]) -> None:
        unheard = self.world.kernels[host].silent
        unheard.clear()
        unheard |= {f"192.0.2.{10 + int(name[2:])}" for name in silent}

    @rule(host=HOSTS)
    def refusals_and_connections_expire(self, host: str) -> None:
        self.world.kernels[host].tracker.refused_zones = frozenset()
        self.world.kernels[host].tracker.tracked.clear()

    # --- the store -----------------------------------------------------------------------------------------------------------

    @rule(host=HOSTS, cut=st.booleans())
    def cut_or_repair(self, host: str, cut: bool) -> None:
        self.world.wires[host].cut = cut

    @rule(host=HOSTS, calls=st.integers(0, 12), lose_answer=st.booleans())
    def cut_soon(self, host: str, calls: int, lose_answer: bool) -> None:
        wire = self.world.wires[host]
        wire.cut_after, wire.lose_answer = calls, lose_answer

    @rule()
    def compact(self) -> None:
        with contextlib.suppress(Compacted):  # already compacted
            self.world.store.compact(self.world.store.revision())

    # --- time ----------------------------------------------------------------------------------------------------------------

    @rule(host=HOSTS)
    def turn(self, host: str) -> None:
        if host in self.world.agents:
            self.world.turn(host, audits=False)

    @rule(seconds=st.sampled_from([0.05, 0.5, 3.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        for _ in range(3):
            self.world.clock.now += seconds / 3
            self.world.turn(audits=False)

    def teardown(self) -> None:
        """Repair everything, let the cloud settle, and check it."""
        world = self.world
        try:
            self._repair()
            world.settle(40, audits=False)
            self._check_words()
            self._check_allowances()
            world.assert_settled()
        finally:
            for name in list(world.agents):
                world.kill(name)
            for kernel in world.kernels.values():
                kernel.close()
            self.directory.cleanup()

    def _repair(self) -> None:
        world = self.world
        for name, kernel in world.kernels.items():
            kernel.host.failures.clear()
            world.wires[name].cut, world.wires[name].cut_after = False, None
            if kernel.underlays == {}:
                self.change_the_underlay(name, 1550)
            if name not in world.agents:
                world.start(name)

    def _check_words(self) -> None:
        world = self.world
        inventory = read_inventory(world.store)
        said = {kv.key: kv.value for kv in world.store.list("hoststat/").kvs}
        expected = {keys.agent_status(name) for name in world.agents}
        carried: dict[str, set[int]] = {name: set() for name in world.agents}
        for vni, records in inventory.vpcs.items():
            for stored in records.mappings.values():
                mapping = stored.record
                assert mapping.move is None
                carried[mapping.host].add(vni)
                key = keys.eni_status(mapping.host, mapping.eni)
                expected.add(key)
                assert msgspec.json.decode(said[key], type=EniStatus).state is EniState.ATTACHED
        for vnis in carried.values():
            halves = [half for vni in vnis for half in inventory.vpcs[vni].each(PeeringConnection)]
            vnis |= {half.peer_vni for half in halves if half.status is PeeringStatus.ACTIVE}
        assert said.keys() == expected
        for name, agent in world.agents.items():
            assert agent.reconciler.slices.keys() == carried[name] | {0}
            assert agent.records.vpcs.keys() == carried[name]
            assert world.store.get(keys.host_live(name)) is not None

    def _check_allowances(self) -> None:
        for name, agent in self.world.agents.items():
            kernel = self.world.kernels[name]
            owners = {zone: vpc.owner for zone, vpc in agent._vpcs().items()}
            held = kernel.trackers[OVERLAY].sample(len(kernel.tracker.tracked))
            over = (
                over_allowance(held, owners, kernel.tracker.most, kernel.tracker.refused_zones)
                if kernel.tracker.most
                else frozenset()
            )
            assert kernel.tracker.refused_zones == over


TestHistories = pytest.mark.slow(Histories.TestCase)
TestHistories.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
