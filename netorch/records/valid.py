"""What is wrong with a record as it is stored: the rules for single values once more, and whether id, VNI and key agree.

A record that decodes may still make no sense: a disk, a hand or another version wrote it. Whoever reads one asks here, so that
everything behind it may rely on what the model says. Nothing here looks at other records, or at quotas, which may have changed.

Cost: some 10 us a record; names and prefixes are remembered, because customers use the same ones again and again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from netorch.model import flow_log, permission, rules
from netorch.model.addr import AddressError, Prefix, canonical_ip, first_overlaps, parse_prefix, version_of
from netorch.model.eni import Attachment, Host, Instance, NetworkInterface
from netorch.model.flow_log import FlowLog
from netorch.model.ids import VNI_FIRST, VNI_LAST, is_id, vni_of
from netorch.model.mapping import Mapping
from netorch.model.permission import LIST_PREFIX
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.target import TargetKind, target_of
from netorch.model.rules import Violation, shown
from netorch.model.security import (
    ACL_NUMBER_LAST,
    ALL_PROTOCOLS,
    ANY,
    ICMP,
    ICMPV6,
    PORT_LAST,
    TCP,
    UDP,
    AclEntry,
    NetworkAcl,
    PrefixList,
    SecurityGroup,
    SecurityGroupRule,
)
from netorch.model.status import HostMtu
from netorch.model.vpc import TABLE_NUMBER_LAST, RouteTable, Subnet, Tags, Vpc, VpcRoute
from netorch.records import keys

SOURCE_TAG: Final = "netorch:source"  # netorch's own: which file made a VPC, or an instance at the top level

_REMEMBERED: Final = 1 << 16
_MTU_LEAST, _MTU_MOST = 68, (1 << 31) - 1  # of a device; RFC 791, and Linux's greatest
_DIGITS = re.compile(r"[0-9a-f]{17}\Z")


class Invalid(ValueError):
    """A record's value makes no sense; says which one."""


def _at(key: str, own: str) -> None:
    if key != own:
        raise Invalid(f"it says that it is {shown(own)}")


def _ok(field: str, violation: object) -> None:
    """Raise for what a rule found; rules return a value or nothing when all is well."""
    if isinstance(violation, Violation):
        raise Invalid(f"{field}: {violation.what}")


_name = lru_cache(_REMEMBERED)(rules.name)
_tag_key = lru_cache(_REMEMBERED)(rules.tag_key)
_tag_value = lru_cache(_REMEMBERED)(rules.tag_value)


@lru_cache(_REMEMBERED)
def _prefix(text: str, rule: Callable[[str], Prefix | Violation] | None) -> Prefix | Violation:
    """Return the prefix of a canonical text that the rule permits."""
    try:
        found = parse_prefix(text)
    except AddressError as error:
        return Violation(str(error), "")
    if str(found) != text:
        return Violation(f"{shown(text)} is not written as {found}", "")
    return rule(text) if rule is not None else found


def _cidr(field: str, text: str, rule: Callable[[str], Prefix | Violation] | None = None) -> Prefix:
    found = _prefix(text, rule)
    if isinstance(found, Violation):
        raise Invalid(f"{field}: {found.what}")
    return found


def _address(field: str, text: str, version: int) -> None:
    try:
        if version_of(text) == version and canonical_ip(text) == text:
            return
    except AddressError:
        pass
    raise Invalid(f"{field}: {shown(text)} is not an IPv{version} address in its usual form")


def _mac(text: str) -> None:
    if rules.mac(text) != text:
        raise Invalid(f"mac: {shown(text)} is not a MAC address in its usual form")


def _tags(tags: Tags) -> None:
    for key, value in tags.items():
        if key == SOURCE_TAG:
            if not value.isprintable():
                raise Invalid(f"tags: {shown(value)} is not the name of a file")
        elif violation := _tag_key(key) or _tag_value(value):
            raise Invalid(f"tags: {violation.what}")


def _id(field: str, text: str, kind: str, vni: int | None = None) -> None:
    """Raise unless a text is the id of something of that kind in the VPC, or in any."""
    if not text.startswith(f"{kind}-" if vni is None else f"{kind}-{vni:06x}") or not _DIGITS.match(text, len(kind) + 1):
        raise Invalid(f"{field}: {shown(text)} is no {kind}" + (f" of VNI {vni}" if vni is not None else ""))


def _member(key: str, record: Any, kind: str) -> None:  # noqa: ANN401 - anything that a VPC has
    """Check what all members of a VPC have."""
    _at(key, keys.member(record.vni, record.id))
    _id("id", record.id, kind, record.vni)
    _labels(record)


def _labels(record: Any) -> None:  # noqa: ANN401 - anything that has tags
    if record.tags:
        _tags(record.tags)


def check_vpc(key: str, vpc: Vpc) -> None:
    """Check a VPC. Raises Invalid."""
    _at(key, keys.vpc(vpc.vni))
    if not VNI_FIRST <= vpc.vni <= VNI_LAST:
        raise Invalid(f"vni: {vpc.vni} is not a VNI")
    _id("id", vpc.id, "vpc", vpc.vni)
    _ok("name", _name(vpc.name))
    _ok("owner", _name(vpc.owner))
    if not vpc.cidrs:
        raise Invalid("cidrs: there is none")
    blocks = [_cidr("cidrs", text, rules.vpc_cidr) for text in vpc.cidrs]
    blocks += [_cidr("ipv6_cidrs", text, rules.vpc_ipv6_cidr) for text in vpc.ipv6_cidrs]
    if len(blocks) > 1:
        for first, second in first_overlaps((block, str(block)) for block in blocks):
            raise Invalid(f"cidrs: {second} overlaps {first}")
    if vpc.tags:
        _tags(vpc.tags)


def check_subnet(key: str, subnet: Subnet) -> None:
    """Check a subnet. Raises Invalid."""
    _member(key, subnet, "subnet")
    _ok("name", _name(subnet.name))
    _cidr("cidr", subnet.cidr, rules.subnet_cidr)
    if subnet.ipv6_cidr:
        _cidr("ipv6_cidr", subnet.ipv6_cidr, rules.subnet_ipv6_cidr)
    if subnet.route_table:
        _id("route_table", subnet.route_table, "rtb", subnet.vni)
    if subnet.acl:
        _id("acl", subnet.acl, "acl", subnet.vni)


def check_route_table(key: str, table: RouteTable) -> None:
    """Check a route table. Raises Invalid."""
    _member(key, table, "rtb")
    _ok("name", _name(table.name))
    if not 0 <= table.number <= (0 if table.main else TABLE_NUMBER_LAST):
        raise Invalid(f"number: {table.number} is out of range")
    for route in table.routes:
        _route(route, table.vni)
    _no_double("routes", (route.destination for route in table.routes))


def _route(route: VpcRoute, vni: int) -> None:
    if route.destination.startswith(LIST_PREFIX):
        _id("routes", route.destination, "pl", vni)
    else:
        _cidr("routes", route.destination)
    try:
        target = target_of(route.target)
    except ValueError as error:
        raise Invalid(f"routes: {shown(route.target)} is not a target") from error
    if target.id and target.kind is not TargetKind.PEERING and vni_of(target.id) != vni:
        raise Invalid(f"routes: {target.id} is not of VNI {vni}")


def check_interface(key: str, eni: NetworkInterface) -> None:
    """Check a network interface. Raises Invalid."""
    _member(key, eni, "eni")
    _id("subnet", eni.subnet, "subnet", eni.vni)
    _mac(eni.mac)
    _address("address", eni.address, 4)
    if eni.ipv6_address:
        _address("ipv6_address", eni.ipv6_address, 6)
    if eni.instance:
        _id("instance", eni.instance, "i", eni.vni)
    _memberships(eni.groups, eni.vni)
    if eni.name:
        _ok("name", _name(eni.name))


def _memberships(groups: tuple[str, ...], vni: int) -> None:
    for group in groups:
        _id("groups", group, "sg", vni)
    if len(groups) > 1 and list(groups) != sorted(set(groups)):
        raise Invalid("groups: they are not sorted, or one stands there twice")


def check_instance(key: str, instance: Instance) -> None:
    """Check an instance. Raises Invalid."""
    _member(key, instance, "i")
    _ok("name", _name(instance.name))
    if instance.attachment is Attachment.EXISTING:
        _ok("netns", rules.netns(instance.netns))
    elif instance.netns:
        raise Invalid(f"netns: {shown(instance.netns)} is set, but the attachment is {instance.attachment.value}")


def check_group(key: str, group: SecurityGroup) -> None:
    """Check a security group. Raises Invalid."""
    _member(key, group, "sg")
    _ok("name", rules.referable_name(group.name, permission.GROUP_PREFIX))
    _ok("description", rules.description(group.description))
    for field, found in (("ingress", group.ingress), ("egress", group.egress)):
        for rule in found:
            _rule(field, rule, group.vni)


def _rule(field: str, rule: SecurityGroupRule, vni: int) -> None:
    _id(field, rule.id, "sgr", vni)
    _traffic(field, rule)
    if sum(map(bool, (rule.cidr, rule.group, rule.prefix_list))) != 1:
        raise Invalid(f"{field}: rule {rule.id} has not exactly one other end")
    if rule.cidr:
        prefix = _cidr(field, rule.cidr)
        _ok(field, permission.other_family(rule.protocol, prefix.version, rule.cidr))
    elif rule.group:
        _id(field, rule.group, "sg")  # a peer's, too
    else:
        _id(field, rule.prefix_list, "pl", vni)
    if rule.description:
        _ok(field, rules.description(rule.description))


def _traffic(field: str, rule: SecurityGroupRule | AclEntry) -> None:
    """Check a protocol and what its two numbers mean."""
    protocol, first, last = rule.protocol, rule.from_port, rule.to_port
    if not ALL_PROTOCOLS <= protocol <= permission.PROTOCOL_LAST:
        raise Invalid(f"{field}: {protocol} is not a protocol")
    if protocol in (TCP, UDP):
        sound = 0 <= first <= last <= PORT_LAST
    elif protocol in (ICMP, ICMPV6):
        limit = permission.ICMP_LAST
        sound = ANY <= first <= limit and ANY <= last <= limit and (first != ANY or last == ANY)
    else:
        sound = first == last == ANY
    if not sound:
        raise Invalid(f"{field}: protocol {protocol} has no ports {first} to {last}")


def check_acl(key: str, acl: NetworkAcl) -> None:
    """Check a network ACL. Raises Invalid."""
    _member(key, acl, "acl")
    _ok("name", _name(acl.name))
    for field, entries in (("ingress", acl.ingress), ("egress", acl.egress)):
        before = 0
        for entry in entries:
            if not before < entry.number <= ACL_NUMBER_LAST:
                raise Invalid(f"{field}: the number {entry.number} is out of range or out of order")
            before = entry.number
            _traffic(field, entry)
            _ok(field, permission.other_family(entry.protocol, _cidr(field, entry.cidr).version, entry.cidr))


def check_prefix_list(key: str, found: PrefixList) -> None:
    """Check a prefix list. Raises Invalid."""
    _member(key, found, "pl")
    _ok("name", rules.referable_name(found.name, permission.LIST_PREFIX))
    if not found.entries or not len(found.entries) <= found.max_entries <= rules.MAX_ENTRIES:
        raise Invalid(f"max_entries: {found.max_entries} does not go with {len(found.entries)} entries")
    for entry in found.entries:
        if _cidr("entries", entry.cidr).version != found.version:
            raise Invalid(f"entries: {entry.cidr} is not of version {found.version}")
        _ok("entries", rules.description(entry.description))
    _no_double("entries", (entry.cidr for entry in found.entries))


def _no_double(field: str, texts: Iterable[str]) -> None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise Invalid(f"{field}: {text} stands there twice")
        seen.add(text)


def check_flow_log(key: str, log: FlowLog) -> None:
    """Check a flow log. Raises Invalid."""
    _member(key, log, "fl")
    _ok("name", _name(log.name))
    kind = log.resource.partition("-")[0]
    if kind not in ("vpc", "subnet", "eni"):
        raise Invalid(f"resource: {shown(log.resource)} has no flow logs")
    _id("resource", log.resource, kind, log.vni)
    _ok("interval_s", flow_log.interval(log.interval_s))
    if log.format != flow_log.DEFAULT_FORMAT:
        _ok("format", flow_log.parse_format(" ".join(log.format)))


def check_peering(key: str, connection: PeeringConnection) -> None:
    """Check what one of two VPCs has of a peering connection. Raises Invalid."""
    _at(key, keys.member(connection.vni, connection.id))
    ends = [("requester", connection.requester), ("accepter", connection.accepter)]
    for field, end in ends:
        if not is_id(end.id, "vpc"):
            raise Invalid(f"{field}: {shown(end.id)} is not the id of a VPC")
        _ok(field, _name(end.owner))
    vnis = [vni_of(end.id) for _, end in ends]
    if len(set(vnis)) == 1:
        raise Invalid("accepter: it is the requester")
    if connection.vni not in vnis:
        raise Invalid(f"vni: {connection.vni} is of neither VPC")
    _id("id", connection.id, "pcx", vnis[0])
    if connection.ended_by not in ("", connection.requester.id, connection.accepter.id):
        raise Invalid(f"ended_by: {shown(connection.ended_by)} is neither VPC")
    if connection.name:
        _ok("name", _name(connection.name))
    _labels(connection)


def check_mapping(key: str, mapping: Mapping) -> None:
    """Check a mapping. Raises Invalid."""
    _at(key, keys.mapping(mapping.vni, mapping.address))
    _address("address", mapping.address, version_of(mapping.address))
    _id("eni", mapping.eni, "eni", mapping.vni)
    _mac(mapping.mac)
    _memberships(mapping.groups, mapping.vni)
    _place(mapping.host, mapping.vtep)
    if mapping.move is not None:
        _place(mapping.move.host, mapping.move.vtep)


@lru_cache(_REMEMBERED)
def _place(host: str, vtep: str) -> None:
    _ok("host", rules.host_name(host))
    _ok("vtep", rules.underlay_address(vtep))
    _address("vtep", vtep, 4)


def check_host(key: str, host: Host) -> None:
    """Check a host. Raises Invalid."""
    _at(key, keys.host_spec(host.name))
    _place(host.name, host.underlay)
    if host.tags:
        _tags(host.tags)


def check_host_mtu(_key: str, said: HostMtu) -> None:
    """Check a host's word on its underlay. Raises Invalid."""
    if not _MTU_LEAST <= said.mtu <= _MTU_MOST:
        raise Invalid(f"mtu: {said.mtu} is not one of {_MTU_LEAST} to {_MTU_MOST}")
