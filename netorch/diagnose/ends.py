"""The ends of a trace: an instance or interface, an address, or the internet; and the packet between them."""

from __future__ import annotations

from typing import Final, NamedTuple

from netorch.control.views.describe import resolve
from netorch.errors import NetorchError
from netorch.model.addr import AddressError, canonical_ip, parse_ip, parse_prefix, version_of
from netorch.model.eni import NetworkInterface, primary_eni_id
from netorch.model.ids import is_id
from netorch.model.mapping import PublicMapping
from netorch.model.outside.public import AddressPool
from netorch.model.packet import Packet, echo
from netorch.model.routing.effective import ranges_of
from netorch.model.security import ICMP, ICMPV6, PORT_LAST, TCP, UDP
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.read import listed
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store

INTERNET: Final = "internet"
# The address for this word: one of a documentation range, where no host is. Source: RFC 5737.
_SOMEBODY: Final = ("203.0.113.1", "198.51.100.1", "192.0.2.1")
# Linux treats these as the sender itself, 0.0.0.0 and :: too.
_OWN = tuple(parse_prefix(text) for text in ("0.0.0.0/32", "127.0.0.0/8", "::/128", "::1/128"))
_PROTOCOLS = {"icmp": ICMP, "icmpv6": ICMPV6, "tcp": TCP, "udp": UDP}


class End(NamedTuple):
    """An interface, with the records of its VPC."""

    records: VpcRecords
    eni: NetworkInterface


def resources_of(source: str, destination: str) -> list[tuple[str, str]]:
    """Return the kinds and names of those ends of a trace that are not addresses."""
    return [(_kind(end), end) for end in (source, destination) if not is_outside(end)]


def addresses_of(source: str, destination: str) -> list[str]:
    """Return those ends of a trace that are addresses."""
    return [canonical_ip(end) for end in (source, destination) if _is_address(end)]


def is_outside(text: str) -> bool:
    """Return whether an end is not an interface of a VPC: an address, or the internet."""
    return text == INTERNET or _is_address(text)


def _is_address(text: str) -> bool:
    try:
        return bool(canonical_ip(text))
    except AddressError:
        return False


def _kind(end: str) -> str:
    return "eni" if is_id(end, "eni") else "i"


def interface(inventory: Inventory, caller: Caller, text: str) -> End:
    """Return an interface by its id, or an instance's primary one by the instance's name or id. Raises ApiError."""
    if _kind(text) == "eni":
        return End(*resolve(inventory, caller, "eni", text))
    records, instance = resolve(inventory, caller, "i", text)
    own = records.of(NetworkInterface).get(primary_eni_id(instance.id))
    if own is None:
        raise NetorchError(f"trace: {text} has no network interface of its own; name one: netorch eni list")
    return End(records, own.record)


def somebody(store: Store, inventory: Inventory, text: str) -> str:
    """Return the address of an outside end. `internet` stands for one that is not in any pool or VPC."""
    if text != INTERNET:
        return canonical_ip(text)
    found = listed(store, keys.pool_prefix(), AddressPool).values()
    pools = [parse_prefix(cidr) for pool in found for cidr in pool.record.cidrs]
    ranges = [prefix for records in inventory.vpcs.values() for prefix in ranges_of(records.vpc.record)]
    free = (address for address in _SOMEBODY if not any(prefix.holds(*parse_ip(address)) for prefix in (*pools, *ranges)))
    return next(free, _SOMEBODY[0])


def public_end(inventory: Inventory, caller: Caller, address: str) -> End | None:
    """Return the interface behind a public address, or with a public IPv6 address of a range from a pool.

    An interface that the caller does not see is part of the internet, so the result is None.
    """
    for records in inventory.vpcs.values():
        eni_id = _interface_with(records, address) if caller.sees(records.vpc.record.owner) else ""
        if eni_id:
            eni = records.one(NetworkInterface, eni_id)
            return End(records, eni) if eni is not None else None
    return None


def _interface_with(records: VpcRecords, address: str) -> str:
    """Return the id of a VPC's interface behind a public address, or ""."""
    if version_of(address) == 4:
        return next((mapping.eni for mapping in records.each(PublicMapping) if mapping.address == address), "")
    ranges = map(parse_prefix, records.vpc.record.ipv6_pools)
    if not any(prefix.holds(*parse_ip(address)) for prefix in ranges):
        return ""
    return next((eni.id for eni in records.each(NetworkInterface) if eni.ipv6_address == address), "")


def public_of(end: End, version: int = 4) -> str:
    """Return the public IPv4 address of an interface, or its own IPv6 address of a range from a pool; "" if there is none."""
    if version == 6:
        own = end.eni.ipv6_address
        return own if own and _interface_with(end.records, own) else ""
    found = (mapping.address for mapping in end.records.each(PublicMapping) if mapping.eni == end.eni.id)
    return next(found, "")


def refuse_own(near: NetworkInterface, address: str, source: str, destination: str) -> None:
    """Refuse a packet from an interface to itself. Raises NetorchError."""
    if address in (near.address, near.ipv6_address):
        raise NetorchError(
            f"trace: {source} to {destination}: both are one interface, and its packets to itself never leave it; choose two"
        )
    if any(inside.holds(*parse_ip(address)) for inside in _OWN):
        raise NetorchError(
            f"trace: {destination} is an address of the sender itself; name an instance, or an address of `netorch map list`"
        )


def source_of(near: NetworkInterface, address: str) -> str:
    """Return the address from which an interface sends to another. Raises NetorchError."""
    version = version_of(address)
    source = near.address if version == 4 else near.ipv6_address
    if not source:
        raise NetorchError(f"trace: {near.id} has no IPv{version} address; trace to an address of the other version")
    return source


def make_packet(source: str, address: str, service: str) -> Packet:
    """Return the first packet for a service such as `tcp/443`, `icmp` or `47`. Raises NetorchError."""
    version = version_of(address)
    if version_of(source) != version:
        raise NetorchError(f"trace: {source} and {address} have different IP versions; choose two of one version")
    word, slash, port = service.partition("/")
    protocol = _PROTOCOLS.get(word, int(word) if word.isascii() and word.isdigit() and int(word) <= 255 else -1)
    if word.isdigit() and protocol == (ICMPV6 if version == 4 else ICMP):
        raise NetorchError(f"trace: protocol {word} does not exist in IPv{version}; write icmp")
    if protocol in (ICMP, ICMPV6) and not slash:
        return echo(source, address)
    if protocol in (TCP, UDP) and port.isascii() and port.isdigit() and int(port) <= PORT_LAST:
        return Packet(source=source, destination=address, protocol=protocol, source_port=49152, destination_port=int(port))
    if protocol < 0 or protocol in (TCP, UDP) or slash:
        raise NetorchError(
            f"trace: {service!r} is not a service; write tcp/PORT, udp/PORT, icmp or the number of a protocol, 0 to 255"
        )
    return Packet(source=source, destination=address, protocol=protocol)
