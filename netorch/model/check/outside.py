"""Checks of a cloud's edges, address pools, gateways and elastic IPs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from netorch.model import rules
from netorch.model.addr import Prefix, first_overlaps, parse_ip
from netorch.model.check.notes import Notes, Where, path_of
from netorch.model.cloud import (
    DEFAULT_VPC_NAME,
    GATEWAY_FIELDS,
    AddressPoolDecl,
    Cloud,
    ElasticIpDecl,
    HostDecl,
    InstanceDecl,
    VpcDecl,
    VpnGatewayDecl,
    declared_gateways,
)
from netorch.model.eni import Role, Uplink
from netorch.model.outside import vpn_rules
from netorch.model.outside.uplink import networks_of, own_addresses, violation_of, violation_of_edge, violation_of_underlay
from netorch.model.rules import Violation, shown
from netorch.model.vpc import DEFAULT_OWNER

EDGES = 2  # per pair


class KnownHost(msgspec.Struct, frozen=True):
    """A stored host, as far as the checks need it."""

    role: Role
    pair: str = ""


class Roles(Mapping[str, Role]):
    """The roles of the stored hosts, and of those that a file declares."""

    def __init__(self, known: Mapping[str, KnownHost], declared: Mapping[str, Role]) -> None:
        self._known = known
        self._declared = declared

    def __getitem__(self, name: str) -> Role:
        """Return a host's role. Raises KeyError."""
        return self._declared[name] if name in self._declared else self._known[name].role

    def __iter__(self) -> Iterator[str]:
        """Yield the names of all hosts."""
        return iter(dict.fromkeys((*self._known, *self._declared)))

    def __len__(self) -> int:
        """Return how many hosts there are."""
        return sum(1 for _ in self)


def check_edges(notes: Notes, hosts: Sequence[HostDecl]) -> None:
    """Report errors in pairs and uplinks."""
    pairs: dict[str, list[int]] = {}
    addresses: dict[str, int] = {}  # address of an uplink -> index of its host
    for i, host in enumerate(hosts):
        where: Where = ("hosts", i)
        if not host.pair and host.uplink is None:
            continue
        if violation := violation_of_edge(host.role, host.pair, host.uplink):
            notes.add(violation, where, ("pair" if host.pair else "uplink",))
        if host.pair and (violation := notes.names[host.pair]):
            notes.add(violation, where, ("pair",))
        elif host.pair and host.role is Role.EDGE:
            others = pairs.setdefault(host.pair, [])
            if len(others) == EDGES:
                what = f"pair {host.pair} has two edges, {' and '.join(f'hosts[{other}]' for other in others)}"
                notes.add(Violation(what, "name another pair"), where, ("pair",))
            else:
                others.append(i)
        if host.uplink is not None and _is_whole(host.uplink):
            if violation := violation_of(host.uplink):
                notes.add(violation, where, ("uplink",))
            else:
                _check_uplink(notes, host.underlay, host.uplink, i, addresses)


def _check_uplink(notes: Notes, underlay: str, uplink: Uplink, i: int, taken: dict[str, int]) -> None:
    """Report conflicts of a well-formed uplink with its host's underlay address and with the uplinks of earlier hosts."""
    where: Where = ("hosts", i)
    underlay_is_bad = isinstance(rules.underlay_address(underlay), Violation)
    if not underlay_is_bad and (violation := violation_of_underlay(underlay, uplink)):
        notes.add(violation, where, ("underlay",))
    for address in own_addresses(uplink):
        if (other := taken.setdefault(address, i)) != i:
            what = f"{address} is also the uplink address of hosts[{other}]"
            notes.add(Violation(what, "give each edge its own"), where, ("uplink",))


def _is_whole(uplink: Uplink) -> bool:
    """Return whether all fields of an uplink were decoded. Missing fields and wrong types are already reported."""
    return not any("\0" in str(value) for value in msgspec.structs.astuple(uplink))


def check_pools(notes: Notes, pools: Sequence[AddressPoolDecl], hosts: Sequence[HostDecl], pairs: Collection[str] | None) -> None:
    """Report errors in address pools. `pairs` are the pairs with edges, or None if they are unknown."""
    names: dict[str, int] = {}
    ranges: list[tuple[Prefix, tuple[int, int]]] = []
    for i, pool in enumerate(pools):
        where: Where = ("address_pools", i)
        if violation := notes.names[pool.name]:
            notes.add(violation, where, ("name",))
        elif (other := names.setdefault(pool.name, i)) != i:
            notes.add(Violation(f"{shown(pool.name)} is also the name of address_pools[{other}]", "rename one"), where, ("name",))
        if violation := notes.names[pool.pair]:
            notes.add(violation, where, ("pair",))
        elif pairs is not None and pool.pair not in pairs:
            fix = "give edges this pair and an uplink, or name another pair"
            notes.add(Violation(f"pair {shown(pool.pair)} has no edges", fix), where, ("pair",))
        if not pool.cidrs:
            notes.add(Violation("the pool has no range", "give it one, e.g. [198.51.100.0/24]"), where, ("cidrs",))
        for k, text in enumerate(pool.cidrs):
            prefix = rules.public_cidr(text)
            if isinstance(prefix, Violation):
                notes.add(prefix, where, ("cidrs", k))
            else:
                ranges.append((prefix, (i, k)))
        if pool.tags:
            notes.tags(pool.tags, where)
    _check_ranges(notes, ranges, hosts)


def _check_ranges(notes: Notes, ranges: list[tuple[Prefix, tuple[int, int]]], hosts: Sequence[HostDecl]) -> None:
    """Report ranges that overlap other ranges or a host's networks. Cost: O(ranges of pools * hosts)."""
    for pair in first_overlaps((prefix, index) for index, (prefix, _) in enumerate(ranges)):
        (first, (i, _)), (second, (j, k)) = (ranges[index] for index in sorted(pair))
        what = f"{second} overlaps {first} of address_pools[{i}]"
        notes.add(Violation(what, "choose a range that is free"), ("address_pools", j, "cidrs", k))
    for network, host in _networks(hosts) if ranges else ():
        for prefix, (i, k) in ranges:
            if prefix.overlaps(network):
                what = f"{prefix} overlaps {network} of hosts[{host}]"
                notes.add(Violation(what, "choose another range"), ("address_pools", i, "cidrs", k))


def _networks(hosts: Sequence[HostDecl]) -> Iterator[tuple[Prefix, int]]:
    """Yield the prefixes of hosts that no pool may overlap, each with the host's index. Skip invalid ones."""
    for i, host in enumerate(hosts):
        uplink = host.uplink if host.uplink is not None and violation_of(host.uplink) is None else None
        if not isinstance(rules.underlay_address(host.underlay), Violation):
            yield from ((network, i) for network in networks_of(host.underlay, uplink))


def known_pairs(hosts: Sequence[HostDecl], known: Mapping[str, KnownHost] | None) -> Collection[str] | None:
    """Return the pairs with edges, declared or stored; None if no hosts are known."""
    if known is None and not hosts:
        return None
    named = {host.name for host in hosts}
    others = {host.pair for name, host in (known or {}).items() if name not in named}
    return {host.pair for host in hosts if host.role is Role.EDGE} | others


def check_gateways(notes: Notes, vpc: VpcDecl, where: Where) -> None:
    """Report errors in the gateways of which a VPC has at most one."""
    for kind, decl in declared_gateways(vpc).items():
        here = (*where, GATEWAY_FIELDS[kind])
        if decl.name and (violation := notes.names[decl.name]):
            notes.add(violation, here, ("name",))
        if isinstance(decl, VpnGatewayDecl) and (violation := vpn_rules.gateway_asn(decl.asn)):
            notes.add(violation, here, ("asn",))
        if decl.tags:
            notes.tags(decl.tags, here)


def check_elastic_ips(notes: Notes, cloud: Cloud) -> None:
    """Report errors in elastic IPs, and in the instances and NAT gateways that name them."""
    names: dict[tuple[str, str], int] = {}
    addresses: dict[str, Where] = {}
    for i, decl in enumerate(cloud.elastic_ips):
        where: Where = ("elastic_ips", i)
        for field, text in (("name", decl.name), ("owner", decl.owner)):
            if violation := notes.names[text]:
                notes.add(violation, where, (field,))
        if (other := names.setdefault((decl.owner, decl.name), i)) != i and not notes.names[decl.name]:
            what = f"{shown(decl.name)} is also the name of elastic_ips[{other}] of owner {shown(decl.owner)}"
            notes.add(Violation(what, "rename one"), where, ("name",))
        if decl.pool and (violation := notes.names[decl.pool]):
            notes.add(violation, where, ("pool",))
        if decl.address:
            _check_address(notes, decl, where, addresses, cloud.address_pools)
        if decl.tags:
            notes.tags(decl.tags, where)
    taken: dict[tuple[str, str], _Use] = {}
    for use in _uses(cloud):
        if violation := _violation_of(use, names, taken):
            notes.add(violation, use.where, use.field)


def _check_address(
    notes: Notes, decl: ElasticIpDecl, where: Where, taken: dict[str, Where], pools: Sequence[AddressPoolDecl]
) -> None:
    if isinstance(violation := rules.address(decl.address, 4), Violation):
        notes.add(violation, where, ("address",))
        return
    if (other := taken.setdefault(decl.address, where)) != where:
        what = f"{decl.address} is also the address of {path_of(other)}"
        notes.add(Violation(what, "choose another one, or leave it out"), where, ("address",))
    for pool in pools:
        ranges = [prefix for prefix in map(rules.public_cidr, pool.cidrs) if isinstance(prefix, Prefix)]
        if pool.name == decl.pool and ranges and not any(prefix.holds(*parse_ip(decl.address)) for prefix in ranges):
            notes.add(Violation(f"{decl.address} is not in pool {pool.name}", "leave one of the two out"), where, ("address",))


class _Use(msgspec.Struct, frozen=True, kw_only=True):
    """An elastic IP that an instance or a NAT gateway names."""

    path: tuple[str, str]  # its owner and name
    where: Where  # what names it
    field: Where  # the field that names it
    has_gateway: bool  # whether the VPC has an internet gateway; for NAT gateways another check reports this
    is_ephemeral: bool = False  # the instance also asks for an ephemeral address


def _uses(cloud: Cloud) -> Iterator[_Use]:
    """Yield the elastic IPs that instances and NAT gateways name."""
    default = next((vpc for vpc in cloud.vpcs if (vpc.owner, vpc.name) == (DEFAULT_OWNER, DEFAULT_VPC_NAME)), None)
    for i, vpc in enumerate(cloud.vpcs):
        for j, nat in enumerate(vpc.nat_gateways):
            for k, name in enumerate(nat.elastic_ips):
                where: Where = ("vpcs", i, "nat_gateways", j)
                yield _Use(path=(vpc.owner, name), where=where, field=("elastic_ips", k), has_gateway=True)
        for j, instance in enumerate(vpc.instances):
            if instance.elastic_ip:
                yield _of_instance(instance, vpc.owner, ("vpcs", i, "instances", j), has_gateway=_has_gateway(vpc))
    for j, instance in enumerate(cloud.instances):
        if instance.elastic_ip:  # a stored default VPC may have a gateway
            yield _of_instance(instance, DEFAULT_OWNER, ("instances", j), has_gateway=default is None or _has_gateway(default))


def _of_instance(instance: InstanceDecl, owner: str, where: Where, *, has_gateway: bool) -> _Use:
    return _Use(
        path=(owner, instance.elastic_ip),
        where=where,
        field=("elastic_ip",),
        has_gateway=has_gateway,
        is_ephemeral=instance.public_address is True,
    )


def _has_gateway(vpc: VpcDecl) -> bool:
    return not isinstance(vpc.internet_gateway, msgspec.UnsetType)


def _violation_of(use: _Use, names: Collection[tuple[str, str]], taken: dict[tuple[str, str], _Use]) -> Violation | None:
    owner, name = use.path
    if use.path not in names:
        what = f"owner {shown(owner)} has no elastic IP {shown(name)} here"
        return Violation(what, f"add it to elastic_ips: {{name: {name}, owner: {owner}}}")
    if (other := taken.setdefault(use.path, use)) is not use:
        if other.where == use.where:
            return Violation(f"{shown(name)} is named twice", "name it once")
        return Violation(f"{shown(name)} is also an elastic IP of {path_of(other.where)}", "give each of the two its own")
    if use.is_ephemeral:
        return Violation(
            "the instance also asks for an ephemeral public address", "leave out one of elastic_ip and public_address"
        )
    if not use.has_gateway:
        return Violation("the VPC has no internet gateway", "add `internet_gateway: {}` to the VPC, or leave elastic_ip out")
    return None
