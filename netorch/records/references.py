"""What the records of a VPC say of each other: whoever lists, plans or exports takes for granted that it is so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from netorch.errors import UnreadableRecord
from netorch.model import rules
from netorch.model.addr import Prefix, first_overlaps, parse_ip, parse_prefix
from netorch.model.eni import Host, NetworkInterface, primary_eni_id
from netorch.model.permission import GROUP_PREFIX
from netorch.model.security import default_acl_id, default_group_id, referred
from netorch.model.vpc import Subnet
from netorch.records import keys

if TYPE_CHECKING:
    from netorch.records.vpc import VpcRecords

_NAMED = {"subnet": "subnets", "rtb": "route_tables", "i": "instances", "sg": "groups", "acl": "acls", "pl": "prefix_lists"}


def first_flaws(records: VpcRecords, hosts: Mapping[str, Host]) -> list[UnreadableRecord]:
    """Return what is wrong with a VPC's records beside each other, nothing when they agree. Cost: O(records of the VPC).

    That is a record which is missing though another one refers to it, or else two that contradict each other. Which of two is the
    wrong one nobody can tell from them alone, so both are named.
    """
    for table, missing, by in _references(records):
        if missing[1] not in table:
            key, referring = _key(records.vni, *missing), _key(records.vni, *by)
            return [
                UnreadableRecord(key, f"is missing, and {by[1]} refers to it", referring),
                UnreadableRecord(referring, f"refers to {missing[1]}, which is missing", key),
            ]
    for one, other, what in _contradictions(records, hosts):
        return [UnreadableRecord(key, f"contradicts {by}: {what}", by) for key, by in ((one, other), (other, one))]
    return []


def _key(vni: int, kind: str, name: str) -> str:
    return keys.mapping(vni, name) if kind == "map" else keys.vpc(vni) if kind == "vpc" else keys.resource(vni, kind, name)


_Name = tuple[str, str]  # the kind of a record and its id, or the address of a mapping


def _references(records: VpcRecords) -> Iterator[tuple[Mapping[str, object], _Name, _Name]]:
    """Yield the records among which something must be, what it is, and who refers to it."""
    vpc_id = records.vpc.record.id
    yield records.groups, ("sg", default_group_id(vpc_id)), ("vpc", vpc_id)
    yield records.acls, ("acl", default_acl_id(vpc_id)), ("vpc", vpc_id)
    for eni_id, stored in records.enis.items():
        eni, by = stored.record, ("eni", eni_id)
        yield records.subnets, ("subnet", eni.subnet), by
        for group_id in eni.groups:
            yield records.groups, ("sg", group_id), by
        if eni.instance:
            yield records.instances, ("i", eni.instance), by
            for address in eni.addresses:
                yield records.mappings, ("map", address), by
    for address, mapping in records.mappings.items():
        yield records.enis, ("eni", mapping.record.eni), ("map", address)
    for instance_id in records.instances:
        yield records.enis, ("eni", primary_eni_id(instance_id)), ("i", instance_id)
    for subnet_id, subnet in records.subnets.items():
        by = ("subnet", subnet_id)
        if subnet.record.route_table:
            yield records.route_tables, ("rtb", subnet.record.route_table), by
        if subnet.record.acl:
            yield records.acls, ("acl", subnet.record.acl), by
    for group_id, group in records.groups.items():
        for peer in referred(group.record):
            if peer.startswith(GROUP_PREFIX):
                yield records.groups, ("sg", peer), ("sg", group_id)
            else:
                yield records.prefix_lists, ("pl", peer), ("sg", group_id)


def _contradictions(records: VpcRecords, hosts: Mapping[str, Host]) -> Iterator[tuple[str, str, str]]:
    """Yield the keys of two records that cannot both be right, and why."""
    vni = records.vni
    for kind, field in _NAMED.items():
        seen: dict[str, str] = {}
        for found, stored in getattr(records, field).items():
            if (other := seen.setdefault(stored.record.name, found)) != found:
                yield keys.resource(vni, kind, found), keys.resource(vni, kind, other), f"both are called {stored.record.name}"
    vpc = records.vpc.record
    blocks = [parse_prefix(text) for text in vpc.cidrs + vpc.ipv6_cidrs]
    subnets = {subnet_id: stored.record for subnet_id, stored in records.subnets.items()}
    ranges = [(prefix, subnet_id) for subnet_id, subnet in subnets.items() for prefix in _ranges(subnet)]
    for prefix, subnet_id in ranges:
        if not any(block.contains(prefix) for block in blocks):
            yield keys.subnet(vni, subnet_id), keys.vpc(vni), f"{prefix} is outside the VPC's ranges"
    for one, other in first_overlaps(ranges):
        yield keys.subnet(vni, one), keys.subnet(vni, other), "their ranges overlap"
    by_subnet = {subnet_id: _ranges(subnet) for subnet_id, subnet in subnets.items()}
    holders: dict[str, str] = {}
    for eni_id, stored in records.enis.items():
        eni = stored.record
        for holding in (eni.mac, *eni.addresses):
            if (other := holders.setdefault(holding, eni_id)) != eni_id:
                yield keys.eni(vni, eni_id), keys.eni(vni, other), f"both hold {holding}"
        for address in eni.addresses:
            version, value = parse_ip(address)
            if not any(p.holds(version, value) and not rules.is_reserved(p, value) for p in by_subnet[eni.subnet]):
                yield keys.eni(vni, eni_id), keys.subnet(vni, eni.subnet), f"{address} is not one of the subnet's"
    yield from _misplaced(records, hosts)


def _ranges(subnet: Subnet) -> list[Prefix]:
    return [parse_prefix(text) for text in (subnet.cidr, subnet.ipv6_cidr) if text]


def _misplaced(records: VpcRecords, hosts: Mapping[str, Host]) -> Iterator[tuple[str, str, str]]:
    """Yield the mappings that do not say of an interface or host what that says of itself. Hosts in quarantine say nothing."""
    for address, stored in records.mappings.items():
        mapping = stored.record
        key = keys.mapping(records.vni, address)
        eni: NetworkInterface = records.enis[mapping.eni].record
        if not eni.instance or (mapping.mac, mapping.groups) != (eni.mac, eni.groups) or address not in eni.addresses:
            yield key, keys.eni(records.vni, eni.id), "they are not of one address, MAC and set of groups"
        places = [(mapping.host, mapping.vtep)]
        places += [(mapping.move.host, mapping.move.vtep)] if mapping.move is not None else []
        for host, vtep in places:
            if host in hosts and hosts[host].underlay != vtep:
                yield key, keys.host_spec(host), f"the host's underlay address is {hosts[host].underlay}, not {vtep}"
