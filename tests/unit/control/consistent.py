"""Invariants of a whole cloud's records, after any actions."""

from __future__ import annotations

import msgspec

from netorch.control.base.quotas import Quotas
from netorch.model.addr import first_overlaps, parse_prefix
from netorch.model.eni import Instance, NetworkInterface, primary_eni_id
from netorch.model.flow_log import FlowLog
from netorch.model.mapping import GatewayMapping, MoveDirection
from netorch.model.outside.gateway import GATEWAYS
from netorch.model.routing.allowed import violation_of
from netorch.model.routing.effective import counts, ranges_of
from netorch.model.routing.peering import PeeringConnection, PeeringStatus, overlap
from netorch.model.routing.target import TargetKind, target_of
from netorch.model.security import PrefixList, SecurityGroup
from netorch.model.vpc import RouteTable, Subnet
from netorch.records.inventory import Inventory
from netorch.records.names import wrong_names
from netorch.records.public import wrong_addresses
from netorch.records.valid.devices import wrong_devices
from netorch.records.valid.mappings import read_places, wrong_mappings
from netorch.records.valid.ports import wrong_ports
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store
from tests.unit.control.filters import check_filters


def check_ranges(inventory: Inventory) -> None:
    """Check that the ranges of a VPC do not overlap, and contain its subnets."""
    for records in inventory.vpcs.values():
        vpc = records.vpc.record
        outer = [parse_prefix(text) for text in vpc.cidrs + vpc.ipv6_cidrs]
        inner = [
            parse_prefix(text)
            for stored in records.of(Subnet).values()
            for text in (stored.record.cidr, stored.record.ipv6_cidr)
            if text
        ]
        assert list(first_overlaps((prefix, str(prefix)) for prefix in outer)) == []
        assert list(first_overlaps((prefix, str(prefix)) for prefix in inner)) == []
        assert all(any(range_.contains(prefix) for range_ in outer) for prefix in inner)


def check_peerings(inventory: Inventory) -> None:
    """Check that the records of both VPCs of a connection agree, and that active peers' ranges do not overlap."""
    for records in inventory.vpcs.values():
        for half in records.each(PeeringConnection):
            other = inventory.vpcs[half.peer_vni].of(PeeringConnection)[half.id].record
            assert msgspec.structs.replace(other, vni=half.vni, name=half.name, tags=half.tags) == half
            peer = inventory.vpcs[half.peer_vni].vpc.record
            assert half.peer.id == peer.id
            assert half.status is not PeeringStatus.ACTIVE or not overlap(ranges_of(records.vpc.record), ranges_of(peer))
        pairs = [half.peer.id for half in records.each(PeeringConnection) if half.status is PeeringStatus.ACTIVE]
        assert len(pairs) == len(set(pairs))


def check_mappings(store: Store, inventory: Inventory) -> None:
    """Check that mappings, interfaces, gateways, hosts and placements agree."""
    assert list(wrong_mappings(inventory, read_places(store, inventory.revision))) == []


def ranges_within(records: VpcRecords) -> set[str]:
    """Return the ranges of a VPC's subnets, except those that equal a range of the VPC."""
    vpc = records.vpc.record
    found = (text for subnet in records.each(Subnet) for text in (subnet.cidr, subnet.ipv6_cidr) if text)
    return set(found) - set(vpc.cidrs + vpc.ipv6_cidrs)


def check_routes(inventory: Inventory) -> None:
    """Check that every table's routes are valid and in order, and within the quota."""
    for records in inventory.vpcs.values():
        subnets = [parse_prefix(text) for text in ranges_within(records)]
        lists = {found: stored.record for found, stored in records.of(PrefixList).items()}
        for table in records.each(RouteTable):
            own = [route for route in table.routes if route.destination not in lists]
            for route in own:
                prefix, kind = parse_prefix(route.destination), target_of(route.target).kind
                assert kind is not TargetKind.LOCAL
                assert violation_of(prefix, kind, ranges_of(records.vpc.record), subnets) is None
            assert own == sorted(own, key=lambda route: parse_prefix(route.destination))
            assert table.routes[: len(own)] == tuple(own)
            assert max(counts(table.routes, lists).values()) <= Quotas().routes_per_table


def check_references(inventory: Inventory, placements: set[str]) -> None:
    """Check that all references have their targets. `placements` are the keys of all placements."""
    check_peerings(inventory)
    expected: set[str] = set()
    for records in inventory.vpcs.values():
        tables = set(records.of(RouteTable)) | {""}
        assert [table.record.main for table in records.of(RouteTable).values()].count(True) == 1
        assert all(subnet.record.route_table in tables for subnet in records.of(Subnet).values())
        check_filters(records)
        assert all(primary_eni_id(instance_id) in records.of(NetworkInterface) for instance_id in records.of(Instance))
        logged = {stored.record.resource for stored in records.of(FlowLog).values()}
        assert logged <= {records.vpc.record.id, *records.of(Subnet), *records.of(NetworkInterface)}
        macs = [eni.record.mac for eni in records.of(NetworkInterface).values()]
        assert len(macs) == len(set(macs))
        for eni in records.of(NetworkInterface).values():
            expected |= check_interface(inventory, eni.record)
        held = [
            address for eni in records.of(NetworkInterface).values() for address in eni.record.addresses if eni.record.instance
        ]
        assert sorted(held) == sorted(records.mappings)
        for gateway, mapping in records.of(GatewayMapping).items():
            assert any(gateway in records.of(kind) for kind in GATEWAYS)
            expected |= {f"host/{seat.host}/placement/{gateway}" for seat in mapping.record.seats}
    assert placements == expected
    assert inventory.unreadable == []
    assert list(map(str, wrong_names(inventory))) == []
    assert list(map(str, wrong_addresses(inventory))) == []
    assert list(map(str, wrong_ports(inventory))) == []
    assert list(map(str, wrong_devices(inventory))) == []
    assert [key for key in inventory.raw if key.startswith(("vpc/", "map/"))] == []
    claims = {key for key in inventory.raw if key.startswith("alloc/ip/")}
    free = [eni.record for vpc in inventory.vpcs.values() for eni in vpc.of(NetworkInterface).values() if not eni.record.instance]
    assert claims == {f"alloc/ip/{eni.vni:06x}/{address}" for eni in free for address in eni.addresses}


def check_interface(inventory: Inventory, eni: NetworkInterface) -> set[str]:
    """Check an interface, and return the keys of its expected placements."""
    records = inventory.vpcs[eni.vni]
    subnet = records.of(Subnet)[eni.subnet].record
    assert parse_prefix(subnet.cidr).contains(parse_prefix(f"{eni.address}/32"))
    assert eni.groups
    assert set(eni.groups) <= set(records.of(SecurityGroup))
    assert list(eni.groups) == sorted(set(eni.groups))
    if not eni.instance:
        return set()
    assert eni.instance in records.of(Instance)
    found = [records.mappings[address].record for address in eni.addresses]
    assert {(m.eni, m.mac, m.host, m.move) for m in found} == {(eni.id, eni.mac, found[0].host, found[0].move)}
    assert {m.groups for m in found} == {eni.groups}
    host, move = found[0].host, found[0].move
    assert inventory.hosts[host].host.underlay == found[0].vtep
    if move is not None:
        assert inventory.hosts[move.host].host.underlay == move.vtep
        assert move.direction in MoveDirection
    return {f"host/{name}/placement/{eni.id}" for name in {host, move.host if move is not None else host}}
