"""The text form of an edge's uplink, and the rules for its values.

DEVICE,ADDRESS/LENGTH,GATEWAY[,IPv6 ADDRESS/LENGTH,IPv6 GATEWAY]
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from netorch.model.addr import AddressError, Prefix, canonical_ip, format_ip, parse_ip, parse_prefix
from netorch.model.eni import Role, Uplink
from netorch.model.rules import Violation, shown

_WRITE: Final = "write DEVICE,ADDRESS/LENGTH,GATEWAY, e.g. eth2,198.18.0.21/24,198.18.0.254; an IPv6 pair may follow"
_EXAMPLE: Final = "write e.g. the address 198.18.0.21/24 and the gateway 198.18.0.254"
_DEVICE: Final = re.compile(r"(?!\.{1,2}$)[!-.0-9;-~]{1,15}")  # IFNAMSIZ - 1, no slash, no colon: net/core/dev.c, dev_valid_name
_LINK_LOCAL: Final = parse_prefix("fe80::/10")
_WRITE_ASNS: Final = "write two, e.g. 64601 for the edge and 64512 for the border router, or none without BGP"
_ASN_LAST: Final = 0xFFFFFFFF  # reserved: RFC 7300
_RESERVED_ASNS: Final = {23456, 65535}  # RFC 6793, RFC 7300
_LENGTHS: Final = {4: 31, 6: 127}  # maximum length, because the network also contains the border router


def parse_uplink(text: str, asn: int = 0, gateway_asn: int = 0) -> Uplink | Violation:
    """Return the uplink of a text, with canonical addresses, or the error in the text.

    `asn` and `gateway_asn` are the AS numbers of the edge and of its gateway; 0 without BGP.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (3, 5):
        return Violation(f"{shown(text)} is not an uplink", _WRITE)
    try:
        addresses = [_canonical(part) for part in parts[1:]]
    except AddressError as error:
        return Violation(str(error), _WRITE)
    address, gateway, ipv6_address, ipv6_gateway = (*addresses, "", "")[:4]
    uplink = Uplink(
        device=parts[0],
        address=address,
        gateway=gateway,
        ipv6_address=ipv6_address,
        ipv6_gateway=ipv6_gateway,
        asn=asn,
        gateway_asn=gateway_asn,
    )
    return violation_of(uplink) or uplink


def uplink_text(uplink: Uplink) -> str:
    """Return an uplink in text form."""
    parts = (uplink.device, uplink.address, uplink.gateway, uplink.ipv6_address, uplink.ipv6_gateway)
    return ",".join(part for part in parts if part)


def violation_of(uplink: Uplink) -> Violation | None:
    """Return the error in an uplink, or None."""
    if violation := violation_of_device(uplink.device):
        return violation
    found = _violation_of_addresses(4, uplink.address, uplink.gateway)
    if found is None and (uplink.ipv6_address or uplink.ipv6_gateway):
        found = _violation_of_addresses(6, uplink.ipv6_address, uplink.ipv6_gateway)
    return found or _violation_of_numbers(uplink.asn, uplink.gateway_asn)


def violation_of_device(device: str) -> Violation | None:
    """Return the error in the name of a network device, or None."""
    if _DEVICE.fullmatch(device):
        return None
    return Violation(f"{shown(device)} is not the name of a network device", "write e.g. eth2")


def violation_of_edge(role: Role, pair: str, uplink: Uplink | str | None) -> Violation | None:
    """Return the error in a host's combination of role, pair and uplink, or None."""
    if (pair or uplink) and role is not Role.EDGE:
        return Violation("only an edge has a pair and an uplink", "leave them out")
    if bool(pair) != bool(uplink):
        return Violation(f"has no {'uplink' if pair else 'pair'}", "an edge carries gateways only with both")
    return None


def violation_of_underlay(underlay: str, uplink: Uplink) -> Violation | None:
    """Return why an edge's underlay address conflicts with its uplink, or None. Both must be well-formed."""
    network = parse_prefix(uplink.address, strict=False)
    if network.holds(*parse_ip(underlay)):
        what = f"the underlay address {underlay} is inside {network}, the network of its own uplink"
        return Violation(what, "choose an underlay address of another network")
    return None


def own_addresses(uplink: Uplink) -> tuple[str, ...]:
    """Return the edge's own addresses on an uplink. No other edge may have one of them."""
    return tuple(text.partition("/")[0] for text in (uplink.address, uplink.ipv6_address) if text)


def networks_of(underlay: str, uplink: Uplink | None) -> Iterator[Prefix]:
    """Yield a host's prefixes that no pool may overlap: its underlay address and its uplink's networks."""
    yield parse_prefix(f"{underlay}/32")
    for text in (uplink.address, uplink.ipv6_address) if uplink is not None else ():
        if text:
            yield parse_prefix(text, strict=False)


def _violation_of_addresses(version: int, address: str, gateway: str) -> Violation | None:
    try:
        if _canonical(address) != address or canonical_ip(gateway) != gateway:
            return Violation(f"{address} and {gateway} are not in canonical form", _EXAMPLE)
        network, own, router = parse_prefix(address, strict=False), parse_ip(address.partition("/")[0]), parse_ip(gateway)
    except AddressError as error:
        return Violation(str(error), _EXAMPLE)
    if own[0] != version or router[0] != version:
        return Violation(f"{address} and {gateway} are not both IPv{version}", _EXAMPLE)
    if network.length > _LENGTHS[version]:
        return Violation(f"{address} is in a network without room for a gateway", _EXAMPLE)
    if version == 4 and network.length < _LENGTHS[4] and own[1] in (network.network, network.last):
        kind = "network" if own[1] == network.network else "broadcast"
        return Violation(f"{format_ip(*own)} is the {kind} address of {network}", _EXAMPLE)
    if own == router:
        return Violation(f"{gateway} is the edge's own address, not that of its gateway", "write the border router's address")
    if not network.holds(*router) and not _LINK_LOCAL.holds(*router):
        return Violation(f"the gateway {gateway} is not in {network}", "write the border router's address in it")
    return None


def _violation_of_numbers(asn: int, gateway_asn: int) -> Violation | None:
    if asn == gateway_asn == 0:
        return None
    if 0 in (asn, gateway_asn):
        return Violation("has only one of the AS numbers asn and gateway_asn", _WRITE_ASNS)
    for number in (asn, gateway_asn):
        if number in _RESERVED_ASNS or not 0 < number < _ASN_LAST:
            return Violation(f"{number} is not the number of an autonomous system", _WRITE_ASNS)
    if asn == gateway_asn:
        return Violation(f"the edge and its gateway have the same AS number, {asn}", _WRITE_ASNS)
    return None


def _canonical(text: str) -> str:
    """Return an address, with or without a prefix length, in canonical form. Raises AddressError."""
    address, slash, _ = text.partition("/")
    return f"{canonical_ip(address)}/{parse_prefix(text, strict=False).length}" if slash else canonical_ip(address)
