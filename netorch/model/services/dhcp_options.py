"""DHCP options sets: the options that DHCP gives the interfaces of a VPC besides addresses. EC2's DhcpOptions, `dopt-`.

A set belongs to an owner and never changes. The record of an associated VPC contains a copy of the set, because hosts read only
the records of their VPCs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from netorch.model.addr import AddressError, canonical_ip, parse_prefix, version_of
from netorch.model.record import Part, Record
from netorch.model.rules import Violation, shown
from netorch.model.services.private_names import DOMAIN

PROVIDED_DNS: Final = "provided"  # as a name server: the VPC's own resolver, at the primary CIDR plus two
_EC2_PROVIDED: Final = "amazonprovideddns"  # EC2's name for it, in lower case
DEFAULT_SET: Final = "default"  # the set of a VPC that names no set

MAX_SERVERS: Final = 4  # EC2's
NODE_TYPES: Final = (1, 2, 4, 8)  # RFC 2132 section 8.7; EC2 recommends 2
_LABEL: Final = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\Z")
_UNUSABLE: Final = tuple(map(parse_prefix, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")))


class DhcpOptions(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The options of a set. Empty options are not sent."""

    domain_name: str = ""
    domain_name_servers: tuple[str, ...] = ()  # IPv4 addresses, or PROVIDED_DNS alone
    ntp_servers: tuple[str, ...] = ()
    netbios_name_servers: tuple[str, ...] = ()
    netbios_node_type: int = 0  # one of NODE_TYPES; 0: not sent


DEFAULT_OPTIONS: Final = DhcpOptions(domain_name=DOMAIN, domain_name_servers=(PROVIDED_DNS,))  # EC2's


class DhcpOptionsSet(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A DHCP options set. Stored at `dopt/<owner>/<id>`."""

    id: str
    owner: str
    name: str = ""
    options: DhcpOptions
    tags: dict[str, str] = {}


def normal(options: DhcpOptions) -> DhcpOptions:
    """Return valid options in normal form."""
    servers = (PROVIDED_DNS if text.lower() == _EC2_PROVIDED else text for text in options.domain_name_servers)
    return msgspec.structs.replace(options, domain_name=options.domain_name.lower(), domain_name_servers=tuple(servers))


def violations(options: DhcpOptions) -> Iterator[tuple[str, Violation]]:
    """Yield (field, error) for options in normal form."""
    if options == DhcpOptions():
        yield "domain_name_servers", Violation("the set has no options", f"set at least one option, e.g. to {PROVIDED_DNS}")
    if options.domain_name and not _DOMAIN.match(options.domain_name):
        fix = "write one name of letters, digits and '-' between dots, e.g. corp.example.com"
        yield "domain_name", Violation(f"{shown(options.domain_name)} is not a domain name", fix)
    for field in ("domain_name_servers", "ntp_servers", "netbios_name_servers"):
        for violation in filter(None, (_servers(field, getattr(options, field)),)):
            yield field, violation
    if options.netbios_node_type and options.netbios_node_type not in NODE_TYPES:
        what = f"{options.netbios_node_type} is not a type of NetBIOS nodes"
        yield "netbios_node_type", Violation(what, f"choose one of {', '.join(map(str, NODE_TYPES))}; EC2 recommends 2")


def _servers(field: str, servers: tuple[str, ...]) -> Violation | None:
    """Return the error in the addresses of servers, or None."""
    if len(servers) > MAX_SERVERS:
        return Violation(f"there are {len(servers)} servers", f"keep at most {MAX_SERVERS}")
    if PROVIDED_DNS in servers and field == "domain_name_servers":
        if servers == (PROVIDED_DNS,):
            return None
        return Violation(f"{PROVIDED_DNS} is listed with other servers", f"write {PROVIDED_DNS} alone, or addresses")
    for k, text in enumerate(servers):
        if violation := _server(text):
            return violation
        if text in servers[:k]:
            return Violation(f"{text} is listed twice", "write it once")
    return None


def _server(text: str) -> Violation | None:
    try:
        sound = version_of(text) == 4 and canonical_ip(text) == text
    except AddressError:
        sound = False
    if not sound:
        return Violation(f"{shown(text)} is not an IPv4 address", "write one, e.g. 10.44.0.2")
    if any(prefix.contains(parse_prefix(f"{text}/32")) for prefix in _UNUSABLE):
        return Violation(f"{text} is not a host address", "write the address of a server")
    return None
