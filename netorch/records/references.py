"""The consistency check of a VPC's records. Lists, plans and exports rely on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Dictionary
from typing import TYPE_CHECKING

from netorch.errors import UnreadableRecord
from netorch.model import rules
from netorch.model.addr import Prefix, first_overlaps, parse_ip, parse_prefix
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.eni import Host, NetworkInterface
from netorch.model.ids import prefix_of
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.outside.vpn import VpnConnection
from netorch.model.vpc import RouteTable, Subnet
from netorch.records import keys
from netorch.records.kinds import BY_PREFIX, BY_TYPE, MAPPINGS, of_vpc

if TYPE_CHECKING:
    from netorch.records.vpc import VpcRecords


def contradictions_in(records: VpcRecords, hosts: Dictionary[str, Host]) -> list[UnreadableRecord]:
    """Return the first inconsistency of a VPC's records; empty if they agree. Cost: O(records of the VPC).

    This is a reference to a missing record, or else two contradictory records. The records do not show which of the two is wrong,
    so the result names both.
    """
    for missing, name, referring in _missing(records):
        return [
            UnreadableRecord(missing, f"is missing, and {name} refers to it", referring),
            UnreadableRecord(referring, f"refers to {missing.rpartition('/')[2]}, which is missing", missing),
        ]
    for one, other, what in _contradictions(records, hosts):
        return [UnreadableRecord(key, f"contradicts {by}: {what}", by) for key, by in ((one, other), (other, one))]
    return []


def _missing(records: VpcRecords) -> Iterator[tuple[str, str, str]]:
    """Yield (key of a missing record, name and key of the record that refers to it)."""
    for kind in BY_TYPE.values():
        refers = kind.refers
        for resource_id, stored in records.of(kind.type).items():
            for of, name in refers(stored.record):
                if name not in records.of(of):
                    key = keys.mapping(records.vni, name) if of in MAPPINGS else keys.resource(name)
                    yield key, resource_id, keys.resource(resource_id)
    enis = records.of(NetworkInterface)
    holders = [(name, mapping.record.eni) for name, mapping in records.mappings.items()]
    holders += [(name, mapping.record.eni) for name, mapping in records.of(PublicMapping).items()]
    for name, eni_id in holders:
        if eni_id not in enis:
            yield keys.resource(eni_id), name, keys.mapping(records.vni, name)
    for gateway in records.of(GatewayMapping):
        if gateway not in records.of(BY_PREFIX[prefix_of(gateway)].type):
            yield keys.resource(gateway), gateway, keys.mapping(records.vni, gateway)


def _contradictions(records: VpcRecords, hosts: Dictionary[str, Host]) -> Iterator[tuple[str, str, str]]:
    """Yield the keys of two contradictory records, and the reason."""
    vni = records.vni
    for kind in of_vpc():
        seen: dict[str, str] = {}
        for found, stored in records.of(kind.type).items() if kind.unique_names else ():
            name = stored.record.name  # endpoints may have no name
            if name and (other := seen.setdefault(name, found)) != found:
                yield keys.resource(found), keys.resource(other), f"both are called {name}"
    yield from _doubles(records)
    vpc = records.vpc.record
    blocks = [parse_prefix(text) for text in vpc.cidrs + vpc.ipv6_cidrs]
    subnets = {subnet_id: stored.record for subnet_id, stored in records.of(Subnet).items()}
    ranges = [(prefix, subnet_id) for subnet_id, subnet in subnets.items() for prefix in _ranges(subnet)]
    for prefix, subnet_id in ranges:
        if not any(block.contains(prefix) for block in blocks):
            yield keys.resource(subnet_id), keys.vpc(vni), f"{prefix} is outside the VPC's ranges"
    for one, other in first_overlaps(ranges):
        yield keys.resource(one), keys.resource(other), "their ranges overlap"
    by_subnet = {subnet_id: _ranges(subnet) for subnet_id, subnet in subnets.items()}
    holders: dict[str, str] = {}
    for eni_id, stored in records.of(NetworkInterface).items():
        eni = stored.record
        for holding in (eni.mac, *eni.addresses):
            if (other := holders.setdefault(holding, eni_id)) != eni_id:
                yield keys.resource(eni_id), keys.resource(other), f"both hold {holding}"
        for address in eni.addresses:
            version, value = parse_ip(address)
            if not any(p.holds(version, value) and not rules.is_reserved(p, value) for p in by_subnet[eni.subnet]):
                yield keys.resource(eni_id), keys.resource(eni.subnet), f"{address} is not one of the subnet's"
    yield from _misplaced(records, hosts)


def _doubles(records: VpcRecords) -> Iterator[tuple[str, str, str]]:
    """Yield records that share a number or an inside CIDR."""
    held = [("number", str(table.number), table.id, "route tables") for table in records.each(RouteTable) if table.number]
    held += [("number", str(one.number), one.id, "endpoints") for one in records.each(VpcEndpoint) if one.number]
    for connection in records.each(VpnConnection):
        held.append(("number", str(connection.number), connection.id, "connections"))
        held += [("inside CIDR", tunnel.inside_cidr, connection.id, connection.gateway) for tunnel in connection.tunnels]
    seen: dict[tuple[str, str, str], str] = {}
    for what, value, found, among in held:
        if (other := seen.setdefault((what, value, among), found)) != found:
            yield keys.resource(found), keys.resource(other), f"both have the {what} {value}"


def _ranges(subnet: Subnet) -> list[Prefix]:
    return [parse_prefix(text) for text in (subnet.cidr, subnet.ipv6_cidr) if text]


def _misplaced(records: VpcRecords, hosts: Dictionary[str, Host]) -> Iterator[tuple[str, str, str]]:
    """Yield the mappings that contradict their interface or host. Isolated hosts are skipped."""
    for address, stored in records.mappings.items():
        mapping = stored.record
        key = keys.mapping(records.vni, address)
        eni: NetworkInterface = records.of(NetworkInterface)[mapping.eni].record
        if not eni.instance or (mapping.mac, mapping.groups) != (eni.mac, eni.groups) or address not in eni.addresses:
            yield key, keys.resource(eni.id), "they are not of one address, MAC and set of groups"
        places = [(mapping.host, mapping.vtep)]
        places += [(mapping.move.host, mapping.move.vtep)] if mapping.move is not None else []
        yield from _strayed(key, places, hosts)
    for gateway, stored_gateway in records.of(GatewayMapping).items():
        seats = [(seat.host, seat.vtep) for seat in stored_gateway.record.seats]
        yield from _strayed(keys.mapping(records.vni, gateway), seats, hosts)


def _strayed(key: str, places: Iterable[tuple[str, str]], hosts: Dictionary[str, Host]) -> Iterator[tuple[str, str, str]]:
    """Yield a mapping whose VTEP differs from its host's underlay address."""
    for host, vtep in places:
        if host in hosts and hosts[host].underlay != vtep:
            yield key, keys.host_spec(host), f"the host's underlay address is {hosts[host].underlay}, not {vtep}"
