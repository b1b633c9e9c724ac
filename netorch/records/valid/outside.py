"""What is wrong with a stored record of the outside: gateways, public addresses, edges. See netorch.records.valid.members."""

from __future__ import annotations

import re
from typing import Final

from netorch.model.addr import AddressError, parse_prefix
from netorch.model.eni import Host, Role, Uplink
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.outside.gateway import InternetGateway
from netorch.model.outside.public import AddressPool
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

_DEVICE: Final = re.compile(r"(?!\.{1,2}$)[!-.0-9;-~]{1,15}")  # IFNAMSIZ - 1, no slash, no colon: net/core/dev.c, dev_valid_name


def check_gateway_mapping(key: str, mapping: GatewayMapping) -> None:
    """Check the mapping of a gateway. Raises Invalid."""
    need_key(key, keys.gateway_mapping(mapping.vni, mapping.gateway))
    try:
        gateway_kind(mapping.gateway)
    except ValueError as error:
        raise Invalid(f"gateway: {shown(mapping.gateway)} is none") from error
    need_id("gateway", mapping.gateway, mapping.gateway.partition("-")[0], mapping.vni)
    for seat in mapping.seats:
        need_place(seat.host, seat.vtep)
    need_single("seats", (seat.vtep for seat in mapping.seats))


def check_public_mapping(key: str, mapping: PublicMapping) -> None:
    """Check what a public address stands for. Raises Invalid."""
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


def check_pool(key: str, pool: AddressPool) -> None:
    """Check a pool of public addresses. Raises Invalid."""
    need_key(key, keys.pool(pool.name))
    need("name", name_violation(pool.name))
    need("pair", name_violation(pool.pair))
    for text in pool.cidrs:
        if need_cidr("cidrs", text).version != 4:
            raise Invalid(f"cidrs: {text} is not an IPv4 prefix")
    if not pool.cidrs:
        raise Invalid("cidrs: there is none")
    need_labels(pool)


def check_host(key: str, host: Host) -> None:
    """Check a host. Raises Invalid."""
    need_key(key, keys.host_spec(host.name))
    need_place(host.name, host.underlay)
    if (host.uplink is not None) != bool(host.pair) or (host.pair and host.role is not Role.EDGE):
        raise Invalid("pair: an edge has a pair and an uplink, and a hypervisor has neither")
    if host.uplink is not None:
        need("pair", name_violation(host.pair))
        _uplink(host.uplink)
    if host.tags:
        need_tags(host.tags)


def _uplink(uplink: Uplink) -> None:
    if not _DEVICE.fullmatch(uplink.device):
        raise Invalid(f"uplink: {shown(uplink.device)} is not the name of a device")
    for version, address, gateway in (
        (4, uplink.address, uplink.gateway),
        (6, uplink.ipv6_address, uplink.ipv6_gateway),
    ):
        if version == 6 and not address and not gateway:
            continue
        need_address("uplink", address.partition("/")[0], version)
        try:
            parse_prefix(address, strict=False)
        except AddressError as error:
            raise Invalid(f"uplink: {error}") from error
        need_address("uplink", gateway, version)
