"""Rules for Direct Connect connections and virtual interfaces. The limits are those of the Direct Connect guide.

Static routes instead of BGP are a netorch extension: AWS Direct Connect has BGP only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from netorch.model import rules
from netorch.model.addr import AddressError, Prefix, canonical_ip, format_ip, parse_ip, parse_prefix
from netorch.model.outside.direct_connect import MTUS, VLAN_LAST, Connection, HostedConnection
from netorch.model.outside.vpn_rules import INSIDE, INSIDE_LENGTH, INSIDE_RESERVED, customer_asn
from netorch.model.rules import Violation, number_text

KEY_LENGTHS: Final = (6, 80)  # characters of a BGP key
MAX_ROUTES: Final = 100  # per virtual interface, equal to the limit for prefixes announced by BGP
_LENGTHS: Final = (30, 31)
_PRIVATE: Final = tuple(map(parse_prefix, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")))
_EXAMPLE: Final = "write e.g. the edge's 169.254.100.1/30 and the customer's 169.254.100.2, or leave both out"


def vlan_violation(vlan: int, outer_vlan: int = 0) -> Violation | None:
    """Return the error in a VLAN and its outer service tag (802.1ad; 0: none), or None."""
    if not 1 <= vlan <= VLAN_LAST:
        return Violation(f"{number_text(vlan)} is not a VLAN", f"choose 1 to {VLAN_LAST}")
    if not 0 <= outer_vlan <= VLAN_LAST:
        return Violation(f"{number_text(outer_vlan)} is not a service tag", f"choose 1 to {VLAN_LAST}, or 0 for none")
    return None


def vlan_text(vlan: int, outer_vlan: int = 0) -> str:
    """Return a VLAN as text: 101, or 300.5 for VLAN 5 inside service tag 300."""
    return f"{outer_vlan}.{vlan}" if outer_vlan else str(vlan)


def mtu_violation(mtu: int) -> Violation | None:
    """Return the error in the MTU of a virtual interface (bytes), or None."""
    if mtu in MTUS:
        return None
    return Violation(f"{number_text(mtu)} is not the MTU of a virtual interface", f"choose {' or '.join(map(str, MTUS))}")


def asn_violation(asn: int) -> Violation | None:
    """Return the error in the AS number of a customer's router, or None. 0 means no BGP."""
    return customer_asn(asn) if asn else None


def key_violation(key: str) -> Violation | None:
    """Return the error in a BGP key, or None. The error text does not contain the key."""
    first, last = KEY_LENGTHS
    if first <= len(key) <= last and key.isascii() and key.isprintable() and not set(key) & set(' "'):
        return None
    return Violation("the BGP key cannot be one", f"use {first} to {last} printable ASCII characters, neither spaces nor quotes")


def routing_violation(asn: int, routes: Sequence[str], *, bfd: bool, has_key: bool) -> Violation | None:
    """Return the error in a virtual interface's routing, which uses either BGP or static routes, or None."""
    if asn and routes:
        return Violation("has an AS number and static routes", "leave one of the two out: BGP announces the customer's networks")
    if not asn and not routes:
        return Violation("has neither an AS number nor static routes", "give the AS number of the customer's router")
    if not asn and (bfd or has_key):
        return Violation("has BFD or a BGP key and no AS number", "give the AS number, or leave them out")
    if len(routes) > MAX_ROUTES:
        return Violation(f"has {len(routes)} static routes", f"keep at most {MAX_ROUTES}")
    return None


def route(text: str, ranges: Iterable[Prefix] = ()) -> Prefix | Violation:
    """Return the prefix of a static route, or the error in it. It must not be inside `ranges`, the VPC's own."""
    try:
        prefix = parse_prefix(text)
    except AddressError as error:
        return Violation(str(error), "write e.g. 192.168.0.0/16")
    if prefix.version != 4:
        return Violation(f"{text} is IPv6", "write an IPv4 CIDR")
    for found in ranges:
        if found.contains(prefix):
            return Violation(f"{text} is inside {found}, which is the VPC's own", "choose another range")
    return prefix


def link_of(address: str, peer: str, ranges: Iterable[Prefix] = ()) -> Prefix | Violation:
    """Return the network of the two ends of a virtual interface, or the error in them.

    `address` is the edge's, with the prefix length; `peer` is the customer's router. The network must not overlap `ranges`.
    """
    try:
        network, own = parse_prefix(address, strict=False), parse_ip(address.partition("/")[0])
        if network.version == 4 and network.length not in _LENGTHS:
            return Violation(f"{address} is neither in a /30 nor in a /31", _EXAMPLE)
        other = parse_ip(peer)
    except AddressError as error:
        return Violation(str(error), _EXAMPLE)
    if network.version != 4 or other[0] != 4:
        return Violation(f"{address} and {peer} are not both IPv4", _EXAMPLE)
    if not any(block.contains(network) for block in _PRIVATE):
        blocks = ", ".join(map(str, _PRIVATE))
        return Violation(f"{network} is not private", f"choose one inside {blocks}")
    if any(block.overlaps(network) for block in INSIDE_RESERVED):
        return Violation(f"{network} is reserved", "choose another one, or leave both addresses out")
    ends = ends_of(network)
    if {own[1], other[1]} != set(ends):
        return Violation(f"{address} and {peer} are not the two ends of {network}", _ends_text(ends, network))
    if canonical_ip(peer) != peer or f"{format_ip(*own)}/{network.length}" != address:
        return Violation(f"{address} and {peer} are not in canonical form", _EXAMPLE)
    for found in ranges:
        if found.overlaps(network):
            return Violation(f"{network} overlaps {found}, which the VPC already uses", "choose another one, or leave both out")
    return network


def other_end(address: str) -> str:
    """Return the other end of an address with the length /30 or /31; empty for other addresses."""
    try:
        network, (version, own) = parse_prefix(address, strict=False), parse_ip(address.partition("/")[0])
    except AddressError:
        return ""
    if version != 4 or network.length not in _LENGTHS:
        return ""
    return next((format_ip(4, end) for end in reversed(ends_of(network)) if end != own), "")


def ends_of(network: Prefix) -> tuple[int, int]:
    """Return the two usable addresses of a /30 or /31 (RFC 3021), the edge's first."""
    first = network.network + (network.length == INSIDE_LENGTH)
    return first, first + 1


def _ends_text(ends: tuple[int, int], network: Prefix) -> str:
    first, second = (format_ip(4, end) for end in ends)
    return f"write {first}/{network.length} and {second}, in either order"


def drawn(number: int, taken: Iterable[Prefix]) -> tuple[str, str] | None:
    """Return an edge's address, with length, and a customer router's address from a free /30; None if no /30 is free.

    The /30 overlaps none of `taken`. The search begins at `number`, so that two VPCs rarely get the same /30.
    """
    count = INSIDE.size >> 32 - INSIDE_LENGTH
    blocked = [*INSIDE_RESERVED, *taken]
    for step in range(count):
        network = Prefix(4, INSIDE.network + ((number + step) % count << 32 - INSIDE_LENGTH), INSIDE_LENGTH)
        if not any(network.overlaps(block) for block in blocked):
            first, second = ends_of(network)
            return f"{format_ip(4, first)}/{INSIDE_LENGTH}", format_ip(4, second)
    return None


def connection_violation(connection: Connection) -> Violation | None:
    """Return the error in a connection's owner and hosted VLANs, or None."""
    if connection.owner and (violation := rules.name(connection.owner)):
        return violation
    seen: dict[tuple[int, int], HostedConnection] = {}
    for hosted in connection.hosted:
        if violation := rules.name(hosted.owner) or vlan_violation(hosted.vlan, hosted.outer_vlan):
            return violation
        other = seen.setdefault((hosted.outer_vlan, hosted.vlan), hosted)
        if other is not hosted:
            what = f"VLAN {vlan_text(hosted.vlan, hosted.outer_vlan)} is hosted for {other.owner} and again for {hosted.owner}"
            return Violation(what, "a VLAN has one owner; remove one of the two")
    return None


def may_use(connection: Connection, owner: str, vlan: int, outer_vlan: int = 0) -> bool:
    """Return whether an owner may use a VLAN: it is hosted for this owner, or not hosted and the connection is this owner's."""
    hosted = [each.owner for each in connection.hosted if (each.vlan, each.outer_vlan) == (vlan, outer_vlan)]
    return hosted == [owner] if hosted else bool(owner) and connection.owner == owner
