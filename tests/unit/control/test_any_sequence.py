"""Random sequences of all callers' actions: whether refused or done, the records stay consistent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import settings
from hypothesis.stateful import initialize, invariant, rule

from netorch.control.actions import (
    acls,
    enis,
    flow_logs,
    groups,
    hosts,
    instances,
    memberships,
    moves,
    peerings,
    permissions,
    prefix_lists,
    route_tables,
    subnets,
    vpcs,
)
from netorch.control.actions.acls import EntryRequest
from netorch.control.actions.instances import RunRequest
from netorch.control.actions.outside import egress_only, gateways
from netorch.control.actions.permissions import Permission
from netorch.control.apply import cloud
from netorch.errors import ApiError
from netorch.model.cloud import (
    Cloud,
    InstanceDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.flow_log import FlowLog
from netorch.model.mapping import MoveDirection
from netorch.model.outside.gateway import EgressOnlyInternetGateway, InternetGateway
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import Direction, NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.alloc import HOLD_DOWN_S
from netorch.store.memory import MemoryStore
from tests.unit.control.consistent import check_mappings, check_ranges, check_references, check_routes, ranges_within
from tests.unit.control.filters import FILTERS
from tests.unit.control.outside.sequence import SEED, OutsideActions

HOSTS = ("hv1", "hv2", "hv3")
NAMES = st.sampled_from(["a", "b", "c"])
CIDRS = st.sampled_from(["10.0.0.0/16", "10.0.0.0/28", "10.0.0.16/28", "10.0.0.0/27", "10.1.0.0/28"])
VNIS = st.sampled_from([None, None, 5000, 5001])
DIRECTIONS = st.sampled_from(Direction)
PEERS = st.sampled_from(["10.0.0.0/8", "::/0", "sg-a", "sg-b", "sg-default", "pl-a", "pl-b"])
PROTOCOLS = st.sampled_from(["tcp", "all", "icmp"])
DESTINATIONS = st.sampled_from(["10.0.0.0/16", "10.0.0.0/28", "10.0.0.16/28", "10.1.0.0/28", "0.0.0.0/0", "pl-a", "pl-b"])
SIZES = st.sampled_from([1, 2, 58, 60])


class Actions(OutsideActions):
    """Three owners of a cloud on three hosts, and the hosts' agents."""

    def __init__(self) -> None:
        super().__init__()
        self.freed: dict[int, tuple[float, str]] = {}
        self.seen: dict[int, str] = {}  # VNI -> the owner of its VPC

    @initialize()
    def begin(self) -> None:
        """Create enough for most actions to succeed."""
        for name in HOSTS:
            self.create_host(name)
        for owner in ("acme", "globex"):
            vpc = vpcs.create_vpc(self.store, self.callers[owner], name="a", cidrs=["10.0.0.0/16"], ipv6_cidrs=["fd00::/56"])
            subnets.create_subnet(self.store, self.operator, vpc.id, name="a", cidr="10.0.0.0/28", ipv6_cidr="fd00::/64")

    @rule(name=st.sampled_from(HOSTS))
    def create_host(self, name: str) -> None:
        underlay = f"192.0.2.{10 + HOSTS.index(name)}"
        self.try_to(lambda: hosts.create_host(self.store, self.operator, name=name, underlay=underlay))

    @rule(name=st.sampled_from(HOSTS))
    def delete_host(self, name: str) -> None:
        self.try_to(lambda: hosts.delete_host(self.store, self.operator, name))

    @rule(owner=st.sampled_from(["acme", "globex"]), name=NAMES, cidr=CIDRS, vni=VNIS)
    def create_vpc(self, owner: str, name: str, cidr: str, vni: int | None) -> None:
        caller = self.callers[owner]
        self.try_to(lambda: vpcs.create_vpc(self.store, caller, name=name, cidrs=[cidr], ipv6_cidrs=["fd00::/56"], vni=vni))

    @rule(seed=SEED, of=st.sampled_from([Vpc, Subnet, NetworkInterface]), name=NAMES)
    def create_flow_log(self, seed: int, of: type, name: str) -> None:
        resource = self.some(of, seed)
        self.try_to(lambda: flow_logs.create_flow_log(self.store, self.operator, resource, name=name))

    @rule(seed=SEED)
    def delete_flow_log(self, seed: int) -> None:
        self.try_to(lambda: flow_logs.delete_flow_log(self.store, self.operator, self.some(FlowLog, seed)))

    @rule(seed=SEED)
    def delete_vpc(self, seed: int) -> None:
        self.try_to(lambda: vpcs.delete_vpc(self.store, self.operator, self.vpc_id(seed)))

    @rule(seed=SEED, cidr=CIDRS, add=st.booleans())
    def change_ranges(self, seed: int, cidr: str, add: bool) -> None:
        act = vpcs.associate_cidr if add else vpcs.disassociate_cidr
        self.try_to(lambda: act(self.store, self.operator, self.vpc_id(seed), cidr))

    @rule(seed=SEED, name=NAMES, cidr=CIDRS, ipv6=st.sampled_from(["", "fd00::/64", "fd00:0:0:1::/64"]))
    def create_subnet(self, seed: int, name: str, cidr: str, ipv6: str) -> None:
        vpc = self.vpc_id(seed)
        self.try_to(lambda: subnets.create_subnet(self.store, self.operator, vpc, name=name, cidr=cidr, ipv6_cidr=ipv6))

    @rule(seed=SEED, other=SEED, answer=st.sampled_from(["none", "accept", "reject", "delete"]))
    def peer(self, seed: int, other: int, answer: str) -> None:
        vpc, peer = self.vpc_id(seed), self.vpc_id(other)
        self.try_to(lambda: peerings.request_peering(self.store, self.operator, vpc, peer, name="p"))
        acts: dict[str, Callable[[MemoryStore, Caller, str], object]] = {
            "accept": peerings.accept_peering,
            "reject": peerings.reject_peering,
            "delete": peerings.delete_peering,
        }
        if answer in acts:
            self.try_to(lambda: acts[answer](self.store, self.operator, self.some(PeeringConnection, seed)))

    @rule(seed=SEED)
    def delete_subnet(self, seed: int) -> None:
        self.try_to(lambda: subnets.delete_subnet(self.store, self.operator, self.some(Subnet, seed)))

    @rule(seed=SEED, name=NAMES)
    def create_table(self, seed: int, name: str) -> None:
        self.try_to(lambda: route_tables.create_route_table(self.store, self.operator, self.vpc_id(seed), name=name))

    @rule(seed=SEED, other=SEED)
    def associate_table(self, seed: int, other: int) -> None:
        subnet, table = self.some(Subnet, seed), self.some(RouteTable, other)
        self.try_to(lambda: subnets.associate_route_table(self.store, self.operator, subnet, table))

    @rule(seed=SEED, other=SEED, act=st.sampled_from(["create", "create", "replace", "delete"]), destination=DESTINATIONS)
    def change_routes(self, seed: int, other: int, act: str, destination: str) -> None:
        table, named = self.some(RouteTable, seed), self.some((NetworkInterface, PeeringConnection)[seed % 2], other)
        target = "blackhole" if seed % 3 == 0 else "local" if seed % 3 == 1 and act == "replace" else named
        acts: dict[str, Callable[[], object]] = {
            "create": lambda: route_tables.create_route(self.store, self.operator, table, destination, target),
            "replace": lambda: route_tables.replace_route(self.store, self.operator, table, destination, target),
            "delete": lambda: route_tables.delete_route(self.store, self.operator, table, destination),
        }
        self.try_to(acts[act])

    @rule(seed=SEED)
    def end_association(self, seed: int) -> None:
        self.try_to(lambda: subnets.disassociate_route_table(self.store, self.operator, self.some(Subnet, seed)))

    @rule(seed=SEED)
    def delete_table(self, seed: int) -> None:
        self.try_to(lambda: route_tables.delete_route_table(self.store, self.operator, self.some(RouteTable, seed)))

    @rule(seed=SEED, name=NAMES)
    def create_group(self, seed: int, name: str) -> None:
        self.try_to(lambda: groups.create_security_group(self.store, self.operator, self.vpc_id(seed), name=name))

    @rule(seed=SEED)
    def delete_group(self, seed: int) -> None:
        self.try_to(lambda: groups.delete_security_group(self.store, self.operator, self.some(SecurityGroup, seed)))

    @rule(seed=SEED, direction=DIRECTIONS, protocol=PROTOCOLS, peer=PEERS, add=st.integers(0, 2))
    def change_rules(self, seed: int, direction: Direction, protocol: str, peer: str, add: int) -> None:
        act: Callable[[MemoryStore, Caller, str, Direction, list[Permission]], object]
        act = permissions.authorize if add else permissions.revoke
        request = Permission(protocol=protocol, peer=peer)
        self.try_to(lambda: act(self.store, self.operator, self.some(SecurityGroup, seed), direction, [request]))

    @rule(seed=SEED, other=SEED, third=SEED, fitting=st.booleans())
    def change_memberships(self, seed: int, other: int, third: int, fitting: bool) -> None:
        eni, ids = self.some(NetworkInterface, seed), [self.some(SecurityGroup, other), self.some(SecurityGroup, third)]
        if fitting and eni != "none":
            ids = [self.one_of(sorted(read_inventory(self.store).vpcs[int(eni[4:10], 16)].of(SecurityGroup)), other) or "none"]
        self.try_to(lambda: memberships.modify_interface_groups(self.store, self.operator, eni, ids))

    @rule(seed=SEED, name=NAMES, cidr=st.sampled_from(["10.0.0.0/8", "::/0"]), size=SIZES)
    def create_prefix_list(self, seed: int, name: str, cidr: str, size: int) -> None:
        vpc = self.vpc_id(seed)
        self.try_to(
            lambda: prefix_lists.create_prefix_list(self.store, self.operator, vpc, name=name, cidrs=[cidr], max_entries=size)
        )

    @rule(seed=SEED, size=SIZES)
    def resize_prefix_list(self, seed: int, size: int) -> None:
        found = self.some(PrefixList, seed)
        self.try_to(lambda: prefix_lists.modify_prefix_list(self.store, self.operator, found, max_entries=size))

    @rule(seed=SEED)
    def delete_prefix_list(self, seed: int) -> None:
        self.try_to(lambda: prefix_lists.delete_prefix_list(self.store, self.operator, self.some(PrefixList, seed)))

    @rule(seed=SEED, name=NAMES)
    def create_acl(self, seed: int, name: str) -> None:
        self.try_to(lambda: acls.create_network_acl(self.store, self.operator, self.vpc_id(seed), name=name))

    @rule(seed=SEED)
    def delete_acl(self, seed: int) -> None:
        self.try_to(lambda: acls.delete_network_acl(self.store, self.operator, self.some(NetworkAcl, seed)))

    @rule(seed=SEED, direction=DIRECTIONS, number=st.integers(99, 101), act=st.sampled_from(["create", "replace", "delete"]))
    def change_entries(self, seed: int, direction: Direction, number: int, act: str) -> None:
        acl = self.some(NetworkAcl, seed)
        entry = EntryRequest(number=number, allow=False, protocol="tcp", ports=22, cidr="10.0.0.0/8")
        acts: dict[str, Callable[[], object]] = {
            "create": lambda: acls.create_network_acl_entry(self.store, self.operator, acl, direction, entry),
            "replace": lambda: acls.replace_network_acl_entry(self.store, self.operator, acl, direction, entry),
            "delete": lambda: acls.delete_network_acl_entry(self.store, self.operator, acl, direction, number),
        }
        self.try_to(acts[act])

    @rule(seed=SEED, other=SEED)
    def associate_acl(self, seed: int, other: int) -> None:
        subnet, acl = self.some(Subnet, seed), self.some(NetworkAcl, other)
        self.try_to(lambda: subnets.associate_network_acl(self.store, self.operator, subnet, acl))

    @rule(seed=SEED, address=st.sampled_from(["", "", "10.0.0.5", "10.0.0.20"]), host=st.sampled_from(["", *HOSTS]))
    def run(self, seed: int, address: str, host: str) -> None:
        subnet = self.some(Subnet, seed)
        found = read_inventory(self.store).vpcs[int(subnet[7:13], 16)].of(SecurityGroup) if subnet != "none" else {}
        group = self.one_of(sorted(found), seed)
        request = RunRequest(subnet=subnet, address=address, host=host, groups=(group,) if group is not None and seed % 2 else ())
        self.try_to(lambda: instances.run_instance(self.store, self.operator, request))

    @rule(owner=st.sampled_from(["acme", "globex"]), count=st.integers(1, 3))
    def run_in_default_vpc(self, owner: str, count: int) -> None:
        self.try_to(lambda: instances.run_instances(self.store, self.callers[owner], RunRequest(), count))

    @rule(seed=SEED)
    def terminate(self, seed: int) -> None:
        self.try_to(lambda: instances.terminate_instance(self.store, self.operator, self.some(Instance, seed)))

    @rule(seed=SEED)
    def create_interface(self, seed: int) -> None:
        self.try_to(lambda: enis.create_network_interface(self.store, self.operator, self.some(Subnet, seed)))

    @rule(seed=SEED, other=SEED, fitting=st.booleans())
    def attach(self, seed: int, other: int, fitting: bool) -> None:
        eni, instance = self.some(NetworkInterface, seed), self.some(Instance, other)
        pairs = [
            (eni_id, instance_id)
            for records in read_inventory(self.store).vpcs.values()
            for eni_id, stored in sorted(records.of(NetworkInterface).items())
            for instance_id in sorted(records.of(Instance))
            if not stored.record.instance
        ]
        if fitting and pairs:
            eni, instance = pairs[seed % len(pairs)]
        self.try_to(lambda: enis.attach_network_interface(self.store, self.operator, eni, instance))

    @rule(seed=SEED, delete=st.booleans())
    def detach_or_delete_interface(self, seed: int, delete: bool) -> None:
        act: Callable[[MemoryStore, Caller, str], object]
        act = enis.delete_network_interface if delete else enis.detach_network_interface
        self.try_to(lambda: act(self.store, self.operator, self.some(NetworkInterface, seed)))

    @rule(seed=SEED, host=st.sampled_from(HOSTS))
    def move(self, seed: int, host: str) -> None:
        self.try_to(lambda: moves.move_instance(self.store, self.operator, self.some(Instance, seed), host))

    @rule(seed=SEED)
    def cancel(self, seed: int) -> None:
        self.try_to(lambda: moves.cancel_move(self.store, self.operator, self.some(Instance, seed)))

    @rule(seed=SEED, host=st.sampled_from(HOSTS), arrive=st.booleans())
    def an_agent_reports_anything(self, seed: int, host: str, arrive: bool) -> None:
        eni = self.some(NetworkInterface, seed)
        if eni != "none":
            (moves.complete_arrival if arrive else moves.finish_departure)(self.store, host, eni)

    @rule(seed=SEED)
    def the_agent_whose_turn_it_is_reports(self, seed: int) -> None:
        found = [stored.record for vpc in read_inventory(self.store).vpcs.values() for stored in vpc.mappings.values()]
        mapping = self.one_of([mapping for mapping in found if mapping.move is not None], seed)
        if mapping is not None and mapping.move is not None:
            incoming = mapping.move.direction is MoveDirection.TO
            step = moves.complete_arrival if incoming else moves.finish_departure
            assert step(self.store, mapping.move.host, mapping.eni)

    @rule(
        owner=st.sampled_from(["acme", "globex"]),
        name=NAMES,
        cidr=CIDRS,
        count=st.integers(0, 3),
        named=st.booleans(),
        filtered=st.integers(0, 2),
        vni=VNIS,
    )
    def apply(self, owner: str, name: str, cidr: str, count: int, named: bool, filtered: int, vni: int | None) -> None:
        length = "28" if cidr.endswith("/16") else cidr.rpartition("/")[2]
        subnet = SubnetDecl(name="s", cidr=f"{cidr.rpartition('/')[0]}/{length}", network_acl="a" if filtered else "")
        runs = [InstanceDecl(name=f"i{n}", subnet="s", security_groups=["b"][:filtered]) for n in range(count)]
        decl = VpcDecl(name=name, owner=owner, cidrs=[cidr], subnets=[subnet], instances=runs, vni=vni)
        if filtered:
            decl = msgspec.structs.replace(decl, **FILTERS[filtered - 1])
        wanted = Cloud(vpcs=[decl] if named else [])
        try:
            plan = cloud.plan_cloud(self.store, self.operator, wanted, source="f")
        except ApiError:
            return
        cloud.apply_cloud(self.store, plan, allow_mass_delete=True)
        with suppress(ApiError) if plan.stuck else nullcontext():  # raised if only stuck resources are left to change
            assert cloud.plan_cloud(self.store, self.operator, wanted, source="f").changes == ()

    @rule()
    def an_hour_passes(self) -> None:
        self.time += HOLD_DOWN_S

    @invariant()
    def vnis_do_not_go_to_another_owner_within_the_hold_down(self) -> None:
        now = {vni: records.vpc.record.owner for vni, records in read_inventory(self.store).vpcs.items()}
        for vni in self.seen.keys() - now.keys():
            self.freed[vni] = self.time, self.seen[vni]
        for vni, owner in now.items():
            freed_at, before = self.freed.pop(vni, (-HOLD_DOWN_S, "")) if vni not in self.seen else (self.time, self.seen[vni])
            assert owner == before or self.time - freed_at >= HOLD_DOWN_S
        self.seen = now

    @invariant()
    def the_records_are_consistent(self) -> None:
        inventory = read_inventory(self.store)
        check_ranges(inventory)
        check_mappings(self.store, inventory)
        check_routes(inventory)
        check_references(inventory, {kv.key for kv in self.store.list("host/").kvs if "/placement/" in kv.key})

    def teardown(self) -> None:
        for instance in [kv.key for kv in self.store.list("vpc/").kvs if "/i/" in kv.key]:
            instances.terminate_instance(self.store, self.operator, instance.rpartition("/")[2])
        for eni in [kv.key for kv in self.store.list("vpc/").kvs if "/eni/" in kv.key]:
            enis.delete_network_interface(self.store, self.operator, eni.rpartition("/")[2])
        for records in read_inventory(self.store).vpcs.values():
            for stored in records.of(RouteTable).values():
                for inner in {route.destination for route in stored.record.routes} & ranges_within(records):
                    route_tables.delete_route(self.store, self.operator, stored.record.id, inner)
            for subnet in records.of(Subnet):
                subnets.delete_subnet(self.store, self.operator, subnet)
            for table in [table.record for table in records.of(RouteTable).values()]:
                for listed in [route.destination for route in table.routes if route.destination in records.of(PrefixList)]:
                    route_tables.delete_route(self.store, self.operator, table.id, listed)
                if not table.main:
                    route_tables.delete_route_table(self.store, self.operator, table.id)
            for group in [stored.record for stored in records.of(SecurityGroup).values()]:
                ids = [rule.id for rule in group.ingress + group.egress]
                permissions.revoke_by_id(self.store, self.operator, group.id, ids)
            for own in [stored.record for stored in records.of(SecurityGroup).values() if not stored.record.is_default]:
                groups.delete_security_group(self.store, self.operator, own.id)
            for prefix_list in records.of(PrefixList):
                prefix_lists.delete_prefix_list(self.store, self.operator, prefix_list)
            for acl in [stored.record for stored in records.of(NetworkAcl).values() if not stored.record.is_default]:
                acls.delete_network_acl(self.store, self.operator, acl.id)
            for gateway in records.of(InternetGateway):
                gateways.delete_internet_gateway(self.store, self.operator, gateway)
            for gateway in records.of(EgressOnlyInternetGateway):
                egress_only.delete_egress_only_gateway(self.store, self.operator, gateway)
            vpcs.delete_vpc(self.store, self.operator, records.vpc.record.id)
        self.end_outside()
        for host in read_inventory(self.store).hosts:
            hosts.delete_host(self.store, self.operator, host)
        left = [
            kv
            for kv in self.store.list("").kvs
            if kv.key != "alloc/next-vni" and not kv.key.startswith(("alloc/eipof/", "alloc/source/"))
        ]
        assert all(kv.key.startswith(("alloc/vni/", "alloc/eip/")) and "freed_at" in msgspec.json.decode(kv.value) for kv in left)


TestActions = pytest.mark.slow(Actions.TestCase)
TestActions.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
