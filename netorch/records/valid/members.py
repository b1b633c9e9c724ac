"""Checks of stored records: the rules for single values again, and the consistency of id, VNI and key.

A decoded record may still be invalid, because of a disk error, a manual edit or another version. Every reader runs these checks,
so that later code can rely on the model. The checks ignore other records and quotas, which may have changed.

Cost: about 10 us per record. Results for names and prefixes are cached, because customers repeat them.
"""

from __future__ import annotations

from netorch.model import flow_log, permission, rules
from netorch.model.addr import first_overlaps, version_of
from netorch.model.eni import Attachment, Instance, NetworkInterface, is_of_endpoint
from netorch.model.flow_log import FlowLog
from netorch.model.ids import VNI_FIRST, VNI_LAST, is_id, prefix_of, vni_of
from netorch.model.mapping import Mapping
from netorch.model.permission import LIST_PREFIX
from netorch.model.routing.mapped import pair_problem
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.target import TargetKind, target_of
from netorch.model.rules import shown
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
from netorch.model.services import metadata
from netorch.model.services.dhcp_options import DEFAULT_OPTIONS
from netorch.model.status import HostMtu
from netorch.model.vpc import TABLE_NUMBER_LAST, RouteTable, Subnet, Vpc, VpcRoute
from netorch.records import keys
from netorch.records.valid.needs import (
    Invalid,
    name_violation,
    need,
    need_address,
    need_cidr,
    need_id,
    need_key,
    need_labels,
    need_mac,
    need_member,
    need_place,
    need_single,
    need_tags,
)
from netorch.records.valid.services import need_options

_MTU_LEAST, _MTU_MOST = 68, (1 << 31) - 1  # of a device: minimum of RFC 791, maximum of Linux


def check_vpc(key: str, vpc: Vpc) -> None:
    """Check a VPC. Raises Invalid."""
    need_key(key, keys.vpc(vpc.vni))
    if not VNI_FIRST <= vpc.vni <= VNI_LAST:
        raise Invalid(f"vni: {vpc.vni} is not a VNI")
    need_id("id", vpc.id, "vpc", vpc.vni)
    need("name", name_violation(vpc.name))
    need("owner", name_violation(vpc.owner))
    if not vpc.cidrs:
        raise Invalid("cidrs: there are none")
    blocks = [need_cidr("cidrs", text, rules.vpc_cidr) for text in vpc.cidrs]
    blocks += [need_cidr("ipv6_cidrs", text, rules.vpc_ipv6_cidr) for text in vpc.ipv6_cidrs]
    if len(blocks) > 1:
        for first, second in first_overlaps((block, str(block)) for block in blocks):
            raise Invalid(f"cidrs: {second} overlaps {first}")
    for cidr, pool in vpc.ipv6_pools.items():
        if cidr not in vpc.ipv6_cidrs:
            raise Invalid(f"ipv6_pools: {shown(cidr)} is none of ipv6_cidrs")
        need("ipv6_pools", name_violation(pool))
    if vpc.dhcp_options:
        need_id("dhcp_options", vpc.dhcp_options, "dopt", 0)
        need_options("dhcp", vpc.dhcp)
    elif vpc.dhcp != DEFAULT_OPTIONS:
        raise Invalid("dhcp: it differs from the default set, but no other set is named")
    if vpc.tags:
        need_tags(vpc.tags)


def check_subnet(key: str, subnet: Subnet) -> None:
    """Check a subnet. Raises Invalid."""
    need_member(key, subnet, "subnet")
    need("name", name_violation(subnet.name))
    need_cidr("cidr", subnet.cidr, rules.subnet_cidr)
    if subnet.ipv6_cidr:
        need_cidr("ipv6_cidr", subnet.ipv6_cidr, rules.subnet_ipv6_cidr)
    if subnet.route_table:
        need_id("route_table", subnet.route_table, "rtb", subnet.vni)
    if subnet.acl:
        need_id("acl", subnet.acl, "acl", subnet.vni)


def check_route_table(key: str, table: RouteTable) -> None:
    """Check a route table. Raises Invalid."""
    need_member(key, table, "rtb")
    need("name", name_violation(table.name))
    if not 0 <= table.number <= TABLE_NUMBER_LAST:
        raise Invalid(f"number: {table.number} is out of range")
    for route in table.routes:
        _route(route, table.vni)
    need_single("routes", (route.destination for route in table.routes))
    for gateway in table.propagating:
        need_id("propagating", gateway, "vgw", table.vni)
    need_single("propagating", table.propagating)


def _route(route: VpcRoute, vni: int) -> None:
    if route.destination.startswith(LIST_PREFIX):
        need_id("routes", route.destination, "pl", vni)
    else:
        need_cidr("routes", route.destination)
    try:
        target = target_of(route.target)
    except ValueError as error:
        raise Invalid(f"routes: {shown(route.target)} is not a target") from error
    if target.id and target.kind is not TargetKind.PEERING and vni_of(target.id) != vni:
        raise Invalid(f"routes: {target.id} is not of VNI {vni}")


def check_interface(key: str, eni: NetworkInterface) -> None:
    """Check a network interface. Raises Invalid."""
    need_member(key, eni, "eni")
    need_id("subnet", eni.subnet, "subnet", eni.vni)
    if not eni.gateway:
        need_mac(eni.mac)
    elif is_of_endpoint(eni):
        _of_endpoint(eni)
    elif eni.mac != gateway_mac(eni.gateway) or eni.instance or eni.groups:
        raise Invalid("gateway: it has a MAC other than the gateway's, an instance, or security groups")
    else:
        need_id("gateway", eni.gateway, "nat", eni.vni)
    if eni.secondary and (not eni.gateway or is_of_endpoint(eni)):
        raise Invalid("secondary: only the interface of a NAT gateway has secondary addresses")
    for address in eni.secondary:
        need_address("secondary", address, 4)
    need_single("secondary", (eni.address, *eni.secondary))
    need_address("address", eni.address, 4)
    if eni.ipv6_address:
        need_address("ipv6_address", eni.ipv6_address, 6)
    if eni.instance:
        need_id("instance", eni.instance, "i", eni.vni)
    _memberships(eni.groups, eni.vni)
    if eni.name:
        need("name", name_violation(eni.name))


def _of_endpoint(eni: NetworkInterface) -> None:
    """Check the interface of an endpoint or of an endpoint connection. Raises Invalid."""
    need_mac(eni.mac)
    is_service = prefix_of(eni.gateway) == "vpce-svc"
    need_id("gateway", eni.gateway, "vpce-svc" if is_service else "vpce", eni.vni)
    if eni.instance or eni.ipv6_address or (is_service and eni.groups):
        raise Invalid("gateway: it has an instance, an IPv6 address, or a service's has security groups")


def _memberships(groups: tuple[str, ...], vni: int) -> None:
    for group in groups:
        need_id("groups", group, "sg", vni)
    if len(groups) > 1 and list(groups) != sorted(set(groups)):
        raise Invalid("groups: they are not sorted, or one is listed twice")


def check_instance(key: str, instance: Instance) -> None:
    """Check an instance. Raises Invalid."""
    need_member(key, instance, "i")
    need("name", name_violation(instance.name))
    if instance.attachment is Attachment.EXISTING:
        need("netns", rules.netns(instance.netns))
    elif instance.netns:
        raise Invalid(f"netns: {shown(instance.netns)} is set, but the attachment is {instance.attachment.value}")
    if instance.user_data:
        need("user_data", metadata.user_data(instance.user_data))
    need("metadata", metadata.hop_limit(instance.metadata.http_put_response_hop_limit))


def check_group(key: str, group: SecurityGroup) -> None:
    """Check a security group. Raises Invalid."""
    need_member(key, group, "sg")
    need("name", rules.referable_name(group.name, permission.GROUP_PREFIX))
    need("description", rules.description(group.description))
    for field, found in (("ingress", group.ingress), ("egress", group.egress)):
        for rule in found:
            _rule(field, rule, group.vni)


def _rule(field: str, rule: SecurityGroupRule, vni: int) -> None:
    need_id(field, rule.id, "sgr", vni)
    _traffic(field, rule)
    if sum(map(bool, (rule.cidr, rule.group, rule.prefix_list))) != 1:
        raise Invalid(f"{field}: rule {rule.id} does not have exactly one peer")
    if rule.cidr:
        prefix = need_cidr(field, rule.cidr)
        need(field, permission.other_family(rule.protocol, prefix.version, rule.cidr))
    elif rule.group:
        need_id(field, rule.group, "sg")  # may be a peer's group
    else:
        need_id(field, rule.prefix_list, "pl", vni)
    if rule.description:
        need(field, rules.description(rule.description))


def _traffic(field: str, rule: SecurityGroupRule | AclEntry) -> None:
    """Check a protocol and its `from_port` and `to_port`."""
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
    need_member(key, acl, "acl")
    need("name", name_violation(acl.name))
    for field, entries in (("ingress", acl.ingress), ("egress", acl.egress)):
        before = 0
        for entry in entries:
            if not before < entry.number <= ACL_NUMBER_LAST:
                raise Invalid(f"{field}: the number {entry.number} is out of range or out of order")
            before = entry.number
            _traffic(field, entry)
            need(field, permission.other_family(entry.protocol, need_cidr(field, entry.cidr).version, entry.cidr))


def check_prefix_list(key: str, found: PrefixList) -> None:
    """Check a prefix list. Raises Invalid."""
    need_member(key, found, "pl")
    need("name", rules.referable_name(found.name, permission.LIST_PREFIX))
    if not found.entries or not len(found.entries) <= found.max_entries <= rules.MAX_ENTRIES:
        raise Invalid(f"max_entries: {found.max_entries} does not match {len(found.entries)} entries")
    for entry in found.entries:
        if need_cidr("entries", entry.cidr).version != found.version:
            raise Invalid(f"entries: {entry.cidr} is not of version {found.version}")
        need("entries", rules.description(entry.description))
    need_single("entries", (entry.cidr for entry in found.entries))


def check_flow_log(key: str, log: FlowLog) -> None:
    """Check a flow log. Raises Invalid."""
    need_member(key, log, "fl")
    need("name", name_violation(log.name))
    kind = log.resource.partition("-")[0]
    if kind not in ("vpc", "subnet", "eni"):
        raise Invalid(f"resource: {shown(log.resource)} has no flow logs")
    need_id("resource", log.resource, kind, log.vni)
    need("interval_s", flow_log.interval(log.interval_s))
    if log.format != flow_log.DEFAULT_FORMAT:
        need("format", flow_log.parse_format(" ".join(log.format)))


def check_peering(key: str, connection: PeeringConnection) -> None:
    """Check one VPC's record of a peering connection. Raises Invalid."""
    need_key(key, keys.member(connection.vni, connection.id))
    ends = [("requester", connection.requester), ("accepter", connection.accepter)]
    for field, end in ends:
        if not is_id(end.id, "vpc"):
            raise Invalid(f"{field}: {shown(end.id)} is not the id of a VPC")
        need(field, name_violation(end.owner))
    vnis = [vni_of(end.id) for _, end in ends]
    if len(set(vnis)) == 1:
        raise Invalid("accepter: it is also the requester")
    _check_mapped(connection)
    if connection.vni not in vnis:
        raise Invalid(f"vni: {connection.vni} belongs to neither VPC")
    need_id("id", connection.id, "pcx", vnis[0])
    if connection.ended_by not in ("", connection.requester.id, connection.accepter.id):
        raise Invalid(f"ended_by: {shown(connection.ended_by)} is neither VPC")
    if connection.name:
        need("name", name_violation(connection.name))
    need_labels(connection)


def _check_mapped(connection: PeeringConnection) -> None:
    """Check the ranges of a mapped connection, and the edges that carry it."""
    ends = [("requester", connection.requester), ("accepter", connection.accepter)]
    texts = [text for _, end in ends for text in (end.range, end.alias)]
    if not all(texts) and any((*texts, *connection.seats)):
        raise Invalid(
            "requester: a mapped connection has a range and an alias at each end, and only mapped connections have seats"
        )
    for field, end in ends if all(texts) else ():
        own, alias = (need_cidr(field, text) for text in (end.range, end.alias))
        need(field, pair_problem(own, alias))
    for seat in connection.seats:
        need_place(seat.host, seat.vtep)
    need_single("seats", (seat.vtep for seat in connection.seats))


def check_mapping(key: str, mapping: Mapping) -> None:
    """Check a mapping. Raises Invalid."""
    need_key(key, keys.mapping(mapping.vni, mapping.address))
    need_address("address", mapping.address, version_of(mapping.address))
    need_id("eni", mapping.eni, "eni", mapping.vni)
    need_mac(mapping.mac)
    _memberships(mapping.groups, mapping.vni)
    need_place(mapping.host, mapping.vtep)
    if mapping.move is not None:
        need_place(mapping.move.host, mapping.move.vtep)


def check_host_mtu(_key: str, said: HostMtu) -> None:
    """Check a host's underlay MTU. Raises Invalid."""
    if not _MTU_LEAST <= said.mtu <= _MTU_MOST:
        raise Invalid(f"mtu: {said.mtu} is not one of {_MTU_LEAST} to {_MTU_MOST}")
