"""Rules for single values of a customer's request: names, CIDRs, addresses, MACs, tags. `check` applies them to a whole cloud.

A rule returns the parsed value or a Violation and never raises, because netorch reports all errors of a file at once.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from netorch.model.addr import AddressError, Prefix, format_ip, parse_ip, parse_prefix
from netorch.model.ids import VNI_FIRST, VNI_LAST, is_id

MAX_CIDRS: Final = 5  # per IP version and VPC; EC2's default
VPC_LENGTHS: Final = (16, 28)
IPV6_VPC_LENGTH: Final = 56
IPV6_SUBNET_LENGTH: Final = 64
MAX_TAGS: Final = 50
MAX_TAG_KEY: Final = 128
MAX_TAG_VALUE: Final = 256
MAX_DESCRIPTION: Final = 255  # EC2's limit for groups and rules
MAX_DNS_NAME: Final = 253
MAX_CAPACITY: Final = 1_000_000  # interfaces of a host
MAX_ENTRIES: Final = 1000  # EC2's limit for a prefix list
RESERVED_TAG_PREFIXES: Final = ("aws:", "netorch:")
PORT_MAC: Final = "02:4e:54:ff:ff:01"  # the host's end of every port; an instance with the same MAC could not reach its router
GATEWAY_OUI: Final = "02:4f:"  # the prefix of the MACs of gateways and of cable ends

NAME_RULE: Final = "use 1 to 255 letters, digits, '.', '_' and '-', a letter or digit first"
HOST_NAME_RULE: Final = "use 1 to 63 letters, digits, '.', '_' and '-', a letter or digit first"
# No slash, space or leading dash, because a name becomes part of store keys, file names and command lines. A name must not look
# like an id of any kind, present or future, so that X in `netorch vpc show X` is unambiguous.
NAME_PATTERN: Final = r"^(?![a-z-]+-[0-9a-f]{17}$)[A-Za-z0-9][A-Za-z0-9._-]{0,254}$"
HOST_NAME_PATTERN: Final = r"^(?![a-z-]+-[0-9a-f]{17}$)[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
MAC_PATTERN: Final = r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"
_NAME = re.compile(NAME_PATTERN.replace("$", r"\Z"))
_HOST_NAME = re.compile(HOST_NAME_PATTERN.replace("$", r"\Z"))
_MAC = re.compile(MAC_PATTERN.replace("$", r"\Z"))
_ID_LIKE = re.compile(r"[a-z-]+-[0-9a-f]{17}\Z")
_ID_DIGITS = re.compile(r"[0-9a-f]{17}\Z")
_DNS_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
_NETNS = re.compile(r"[!-~]{1,255}\Z")
_NETNS_DIRECTORIES: Final = ("/run/netns/", "/var/run/netns/")
_PROCESS_NETNS = re.compile(r"/proc/(?!1/)[1-9][0-9]*/ns/net\Z")

# EC2 refuses the first four. Linux treats 240.0.0.0/4 as unicast, but other systems drop it. 198.19.0.0/16 is missing because EC2
# refuses it only as a secondary block, for its own services.
_UNUSABLE_V4: Final = tuple(
    (parse_prefix(text), why)
    for text, why in (
        ("0.0.0.0/8", "this network (RFC 1122)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved (RFC 1112)"),
    )
)
_PRIVATE_V4: Final = tuple(
    (parse_prefix(text), source)
    for text, source in (
        ("10.0.0.0/8", "RFC 1918"),
        ("172.16.0.0/12", "RFC 1918"),
        ("192.168.0.0/16", "RFC 1918"),
        ("100.64.0.0/10", "RFC 6598"),
    )
)
_GLOBAL_V6: Final = parse_prefix("2000::/3")  # RFC 4291 section 2.4
_USABLE_V6: Final = (_GLOBAL_V6, parse_prefix("fc00::/7"))
_EC2_SERVICES_V6: Final = parse_prefix("fd00:ec2::/32")


class Violation(msgspec.Struct, frozen=True):
    """The error in a value: `what` quotes the value, `fix` says what to do."""

    what: str
    fix: str


def shown(value: object) -> str:
    """Return a value as error texts quote it: on one line, cut at 60 characters."""
    text = repr(value) if not isinstance(value, str) else "'" + repr(value)[1:-1] + "'"
    return text if len(text) <= 62 else f"{text[:58]}...'"


def number_text(number: int) -> str:
    """Return a number as error texts show it."""
    return str(number) if abs(number) < 10**18 else "so large a number"  # Python refuses to print 4,300 digits


def name(text: str) -> Violation | None:
    """Return the error in the name of a VPC, subnet, route table, instance or owner, or None."""
    if _NAME.match(text):
        return None
    return _bad_name(text, NAME_RULE)


def referable_name(text: str, prefix: str) -> Violation | None:
    """Return the error in the name of a security group or prefix list, or None. Rules write `prefix` in front of it."""
    if text.startswith(prefix):
        return Violation(f"{shown(text)} begins with {prefix}, as ids do", f"choose a name that does not begin with {prefix}")
    if _ID_DIGITS.match(text):
        return Violation(f"{shown(text)} is 17 hex digits, as in ids", "choose another name")
    return name(text)


def description(text: str) -> Violation | None:
    """Return the error in the description of a group or rule, or None. It may be empty."""
    if len(text) <= MAX_DESCRIPTION and (text.isprintable() or not text):
        return None
    return Violation(f"{shown(text)} is not a description", f"use at most {MAX_DESCRIPTION} printable characters")


def host_name(text: str) -> Violation | None:
    """Return the error in a host's name, or None. It is shorter than other names: it becomes part of a namespace's name."""
    if _HOST_NAME.match(text):
        return None
    return _bad_name(text, HOST_NAME_RULE)


def dns_name(text: str) -> Violation | None:
    """Return the error in a DNS name of two labels or more, or None. Source: RFC 1123 section 2.1."""
    labels = text.split(".")
    if len(text) <= MAX_DNS_NAME and len(labels) > 1 and all(map(_DNS_LABEL.match, labels)):
        return None
    return Violation(f"{shown(text)} is not a DNS name", "write lowercase letters, digits and '-', e.g. db.example.com")


def _bad_name(text: str, rule: str) -> Violation:
    if not text:
        return Violation("the name is empty", rule)
    if _ID_LIKE.match(text):
        return Violation(f"{shown(text)} looks like an id", "choose a name that is not letters, a dash and 17 hex digits")
    return Violation(f"{shown(text)} is not a name", rule)


def _cidr(text: str, version: int, example: str) -> Prefix | Violation:
    """Return the prefix of IP version `version`, or why the text is not one."""
    try:
        prefix = parse_prefix(text)
    except AddressError:
        return _bad_cidr(text, example)
    if prefix.version != version:
        return Violation(f"{text} is IPv{prefix.version}", f"write an IPv{version} CIDR here, e.g. {example}")
    return prefix


def _bad_cidr(text: str, example: str) -> Violation:
    try:
        network = parse_prefix(text, strict=False)
    except AddressError:
        return Violation(f"{shown(text)} is not a CIDR", f"write a network address and a length, e.g. {example}")
    return Violation(f"{text} has host bits set", f"write {network}")


def public_cidr(text: str) -> Prefix | Violation:
    """Return the prefix of an address pool, or the error in it. Any routable range is valid."""
    try:
        prefix = parse_prefix(text)
    except AddressError:
        return _bad_cidr(text, "198.51.100.0/24 or 2001:db8:100::/40")
    return _public_ipv4(prefix) if prefix.version == 4 else _public_ipv6(prefix)


def private_note(prefix: Prefix) -> str:
    """Return a note about private addresses in a pool's range, which labs and private clouds may use; empty if there are none."""
    found = ((block, source) for block, source in _PRIVATE_V4 if block.overlaps(prefix))
    return next((f"{prefix} has private addresses ({source}), which the internet does not route" for _, source in found), "")


def _public_ipv6(prefix: Prefix) -> Prefix | Violation:
    if prefix.length > IPV6_VPC_LENGTH:
        return Violation(f"{prefix} is smaller than a VPC's range", f"an IPv6 range of a pool is a /{IPV6_VPC_LENGTH} or larger")
    if not _GLOBAL_V6.contains(prefix):
        return Violation(f"{prefix} is not inside {_GLOBAL_V6}, where public addresses are", "choose another range")
    return prefix


def _public_ipv4(prefix: Prefix) -> Prefix | Violation:
    return next(
        (
            Violation(f"{prefix} overlaps {block}: {why}", "choose another range")
            for block, why in _UNUSABLE_V4
            if block.overlaps(prefix)
        ),
        prefix,
    )


def vpc_cidr(text: str) -> Prefix | Violation:
    """Return the prefix of a VPC's IPv4 CIDR, or the error in it."""
    prefix = _cidr(text, 4, "10.0.0.0/16")
    if isinstance(prefix, Violation):
        return prefix
    if not VPC_LENGTHS[0] <= prefix.length <= VPC_LENGTHS[1]:
        return Violation(f"{text} is a /{prefix.length}", f"a VPC's CIDR is a /{VPC_LENGTHS[0]} to /{VPC_LENGTHS[1]}")
    return unusable(prefix) or prefix


def subnet_cidr(text: str) -> Prefix | Violation:
    """Return the prefix of a subnet's IPv4 CIDR, or the error that it has in any VPC."""
    prefix = _cidr(text, 4, "10.0.0.0/24")
    if isinstance(prefix, Prefix) and not VPC_LENGTHS[0] <= prefix.length <= VPC_LENGTHS[1]:
        return Violation(f"{text} is a /{prefix.length}", f"a subnet's CIDR is a /{VPC_LENGTHS[0]} to /{VPC_LENGTHS[1]}")
    return prefix


def vpc_ipv6_cidr(text: str) -> Prefix | Violation:
    """Return the prefix of a VPC's IPv6 CIDR, or the error in it."""
    prefix = _cidr(text, 6, "fd12:3456:789a:bc00::/56")
    if isinstance(prefix, Violation):
        return prefix
    if prefix.length != IPV6_VPC_LENGTH:
        return Violation(f"{text} is a /{prefix.length}", f"a VPC's IPv6 CIDR is a /{IPV6_VPC_LENGTH}")
    if not any(usable.contains(prefix) for usable in _USABLE_V6):
        return Violation(f"{text} is not unicast of global or unique local scope", "choose it inside 2000::/3 or fc00::/7")
    if _EC2_SERVICES_V6.contains(prefix):
        return Violation(f"{text} is inside {_EC2_SERVICES_V6}, which EC2 reserves for its services", "choose another one")
    return prefix


def subnet_ipv6_cidr(text: str) -> Prefix | Violation:
    """Return the prefix of a subnet's IPv6 CIDR, or the error that it has in any VPC."""
    prefix = _cidr(text, 6, "fd12:3456:789a:bc01::/64")
    if isinstance(prefix, Prefix) and prefix.length != IPV6_SUBNET_LENGTH:
        return Violation(f"{text} is a /{prefix.length}", f"a subnet's IPv6 CIDR is a /{IPV6_SUBNET_LENGTH}")
    return prefix


def unusable(prefix: Prefix) -> Violation | None:
    """Return why an IPv4 range cannot be used inside a VPC, or None."""
    for block, why in _UNUSABLE_V4:
        if block.contains(prefix):
            return Violation(f"{prefix} is inside {block}: {why}", "choose another one, e.g. inside 10.0.0.0/8")
    return None


def address(text: str, version: int) -> int | Violation:
    """Return the value of an address of IP version `version`, or the error that it has in any subnet."""
    try:
        found, value = parse_ip(text)
    except AddressError:
        example = "10.0.1.4" if version == 4 else "fd12:3456:789a:bc01::4"
        hint = (
            f"write it without the length: {text.partition('/')[0]}"
            if "/" in text
            else f"write an IPv{version} address, e.g. {example}"
        )
        return Violation(f"{shown(text)} is not an address", hint)
    if found != version:
        return Violation(f"{text} is an IPv{found} address", f"write an IPv{version} address here")
    return value


def underlay_address(text: str) -> int | Violation:
    """Return the value of a host's VTEP address, or the error in it."""
    value = address(text, 4)
    if isinstance(value, Violation):
        if ":" in text:
            return Violation(value.what, "give the host an IPv4 underlay address; VXLAN over IPv6 is not supported")
        return value
    for block, why in _UNUSABLE_V4:
        if block.holds(4, value):
            return Violation(f"{text} is inside {block}: {why}", "write the unicast address at which other hosts reach this one")
    return value


def reserved_addresses(prefix: Prefix) -> tuple[int, int, int, int, int]:
    """Return the five reserved addresses of a subnet: network, router, DNS, one for future use, and the last address."""
    first = prefix.network
    return first, first + 1, first + 2, first + 3, prefix.last


def is_reserved(prefix: Prefix, value: int) -> bool:
    """Return whether `value`, an address of the subnet, is reserved."""
    return value - prefix.network < 4 or value == prefix.last


def first_free(prefix: Prefix) -> str:
    """Return the lowest address of a subnet that an interface may have."""
    return format_ip(prefix.version, prefix.network + 4)


def mac(text: str) -> str | Violation:
    """Return the canonical form of an interface's MAC, or the error in it."""
    if not _MAC.match(text):
        return Violation(f"{shown(text)} is not a MAC address", "write six pairs of hex digits, e.g. 02:00:00:00:00:01")
    canonical = text.lower()
    if int(text[:2], 16) & 1:
        return Violation(f"{text} is a multicast address", "make its first pair even, e.g. 02")
    if canonical == "00:00:00:00:00:00":
        return Violation(f"{text} is the null address", "write a unicast one, e.g. 02:00:00:00:00:01")
    if canonical == PORT_MAC:
        return Violation(f"{text} is the router's MAC address on every port", "choose another one")
    if canonical.startswith(GATEWAY_OUI):
        return Violation(f"{text} is reserved for gateways", "choose another one, e.g. 02:00:00:00:00:01")
    return canonical


def vni(number: int) -> Violation | None:
    """Return the error in a requested VNI, or None."""
    if VNI_FIRST <= number <= VNI_LAST:
        return None
    return Violation(f"{number_text(number)} is not a VNI", f"choose one from {VNI_FIRST} to {VNI_LAST}, or leave it out")


def capacity(number: int, *, hypervisor: bool) -> Violation | None:
    """Return the error in the number of interfaces that a host may carry, or None."""
    if number and not hypervisor:
        return Violation("only a hypervisor has a capacity", "leave it out")
    if 0 <= number <= MAX_CAPACITY:
        return None
    what = f"{number_text(number)} is no number of interfaces"
    return Violation(what, f"use 1 to {MAX_CAPACITY}, or 0 for any number")


def tag_key(text: str) -> Violation | None:
    """Return the error in the key of a tag, or None."""
    if not text:
        return Violation("the key of a tag is empty", f"use 1 to {MAX_TAG_KEY} printable characters")
    if len(text) > MAX_TAG_KEY or not text.isprintable():
        return Violation(f"{shown(text)} is not the key of a tag", f"use 1 to {MAX_TAG_KEY} printable characters")
    if text.lower().startswith(RESERVED_TAG_PREFIXES):
        return Violation(
            f"{shown(text)} begins with {shown(text.partition(':')[0] + ':')}, which is reserved", "choose another key"
        )
    return None


def tag_value(text: str) -> Violation | None:
    """Return the error in the value of a tag, or None. It may be empty."""
    if len(text) <= MAX_TAG_VALUE and (text.isprintable() or not text):
        return None
    return Violation(f"{shown(text)} is not the value of a tag", f"use at most {MAX_TAG_VALUE} printable characters")


def netns(text: str) -> Violation | None:
    """Return the error in the name of an existing namespace (a name in /run/netns or an absolute path), or None.

    This checks the text only. The agent on the host checks the namespace itself, including links and mounts.
    """
    spelled, parts = text.split("/"), normal_netns(text).split("/")
    if not _NETNS.match(text) or (len(parts) > 1 and parts[0]) or "" in spelled[1:] or not {".", ".."}.isdisjoint(spelled):
        return Violation(f"{shown(text)} is not a network namespace", "write a name in /run/netns or an absolute path")
    if parts[-1].startswith("netorch-"):
        return Violation(f"{shown(text)} is one of netorch's own namespaces", "name the instance's namespace")
    if is_id(parts[-1], "i"):
        return Violation(f"{shown(text)} is the namespace of another instance", "name one that netorch did not make")
    if parts[:2] == ["", "proc"] and not _PROCESS_NETNS.match(text):
        what = f"{shown(text)} is the host's own namespace, or not that of a process"
        return Violation(what, "write /proc/PID/ns/net with the number of a process of the instance")
    return None


def normal_netns(text: str) -> str:
    """Return the canonical name of a namespace: the bare name for a path in /run/netns."""
    for directory in _NETNS_DIRECTORIES:
        text = text.removeprefix(directory)
    return text
