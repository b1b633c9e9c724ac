"""Checks of stored gateways, public addresses and hosts. See netorch.records.valid.members."""

from __future__ import annotations

from netorch.model import rules
from netorch.model.addr import first_overlaps
from netorch.model.eni import Host, Role
from netorch.model.ids import prefix_of
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.outside import uplink
from netorch.model.outside.gateway import EgressOnlyInternetGateway, InternetGateway, NatGateway
from netorch.model.outside.public import AddressPool, ElasticIp
from netorch.model.routing.seats import gateway_kind
from netorch.model.rules import shown
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
    need_member,
    need_place,
    need_single,
    need_tags,
)


def check_gateway_mapping(key: str, mapping: GatewayMapping) -> None:
    """Check the mapping of a gateway. Raises Invalid."""
    need_key(key, keys.gateway_mapping(mapping.vni, mapping.gateway))
    try:
        gateway_kind(mapping.gateway)
    except ValueError as error:
        raise Invalid(f"gateway: {shown(mapping.gateway)} is none") from error
    need_id("gateway", mapping.gateway, prefix_of(mapping.gateway), mapping.vni)
    for seat in mapping.seats:
        need_place(seat.host, seat.vtep)
    need_single("seats", (seat.vtep for seat in mapping.seats))


def check_public_mapping(key: str, mapping: PublicMapping) -> None:
    """Check the mapping of a public address. Raises Invalid."""
    need_key(key, keys.public_mapping(mapping.vni, mapping.address))
    need_id("association", mapping.association, "eipassoc", mapping.vni)
    need_id("eni", mapping.eni, "eni", mapping.vni)
    need_address("address", mapping.address, 4)
    need_address("private_address", mapping.private_address, 4)
    need("pool", name_violation(mapping.pool))
    if mapping.allocation:
        need_id("allocation", mapping.allocation, "eipalloc")


def check_internet_gateway(key: str, gateway: InternetGateway) -> None:
    """Check an internet gateway. Raises Invalid."""
    need_member(key, gateway, "igw")
    if gateway.name:
        need("name", name_violation(gateway.name))


def check_egress_only_gateway(key: str, gateway: EgressOnlyInternetGateway) -> None:
    """Check an egress-only internet gateway. Raises Invalid."""
    need_member(key, gateway, "eigw")
    if gateway.name:
        need("name", name_violation(gateway.name))


def check_nat_gateway(key: str, gateway: NatGateway) -> None:
    """Check a NAT gateway. Raises Invalid."""
    need_member(key, gateway, "nat")
    need("name", name_violation(gateway.name))
    need_id("subnet", gateway.subnet, "subnet", gateway.vni)
    need_id("eni", gateway.eni, "eni", gateway.vni)
    for address in gateway.draining:
        need_address("draining", address, 4)


def check_pool(key: str, pool: AddressPool) -> None:
    """Check a pool of public addresses. Raises Invalid."""
    need_key(key, keys.pool(pool.name))
    need("name", name_violation(pool.name))
    need("pair", name_violation(pool.pair))
    if not pool.cidrs:
        raise Invalid("cidrs: there are none")
    ranges = [(need_cidr("cidrs", text, rules.public_cidr), text) for text in pool.cidrs]
    for first, second in first_overlaps(ranges):
        raise Invalid(f"cidrs: {second} overlaps {first}")
    need_labels(pool)


def check_elastic_ip(key: str, address: ElasticIp) -> None:
    """Check an elastic IP address. Raises Invalid."""
    need_id("id", address.id, "eipalloc", 0)
    need_key(key, keys.owned("eip", address.owner, address.id))
    need("owner", name_violation(address.owner))
    need_address("address", address.address, 4)
    need("pool", name_violation(address.pool))
    if address.name:
        need("name", name_violation(address.name))
    if address.vni and (violation := rules.vni(address.vni)):
        need("vni", violation)
    if address.tags:
        need_tags(address.tags)


def check_host(key: str, host: Host) -> None:
    """Check a host. Raises Invalid."""
    need_key(key, keys.host_spec(host.name))
    need_place(host.name, host.underlay)
    if (host.uplink is not None) != bool(host.pair) or (host.pair and host.role is not Role.EDGE):
        raise Invalid("pair: an edge needs a pair and an uplink, a hypervisor has neither")
    if host.uplink is not None:
        need("pair", name_violation(host.pair))
        need("uplink", uplink.violation_of(host.uplink))
    need("capacity", rules.capacity(host.capacity, hypervisor=host.role is Role.HYPERVISOR))
    if host.tags:
        need_tags(host.tags)
