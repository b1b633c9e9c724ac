"""Rules for the values of gateway services and endpoints. Like netorch.model.rules, they return a value or a Violation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from netorch.model.addr import AddressError, Prefix, parse_prefix, version_of
from netorch.model.routing.effective import is_reserved
from netorch.model.rules import Violation, shown
from netorch.model.services.private_names import SERVICES_DOMAIN

MAX_PREFIXES: Final = 32  # per service
MAX_POLICY: Final = 20_480  # characters; EC2's and S3's limit
_SHORTEST: Final = 8
_UNUSABLE: Final = tuple(
    (parse_prefix(text), why)
    for text, why in (
        ("0.0.0.0/8", "this network (RFC 1122)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("192.0.0.0/24", "netorch's own (RFC 7335)"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "netorch's own"),
    )
)
SERVICE_PATTERN: Final = "^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$"
_NAME: Final = re.compile(SERVICE_PATTERN[1:-1] + r"\Z")
# S3's rules: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET: Final = re.compile(r"(?!\d+\.\d+\.\d+\.\d+\Z)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_HOST: Final = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_UPSTREAM: Final = re.compile(r"http://([^/@?#\s]+)\Z")


def service_name(text: str) -> Violation | None:
    """Return the error in the name of a gateway service, or None."""
    if _NAME.match(text):
        return None
    return Violation(f"{shown(text)} is not a service name", "use 1 to 32 lowercase letters, digits and dashes, e.g. s3")


def bucket_name(text: str) -> Violation | None:
    """Return the error in the name of a bucket, or None."""
    if _BUCKET.match(text):
        return None
    fix = "use 3 to 63 lowercase letters, digits, dots and dashes, a letter or digit first and last"
    return Violation(f"{shown(text)} is not a bucket name", fix)


def own_names(name: str, hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the DNS names of a service inside VPCs: `hosts`, or the default name."""
    return tuple(hosts) or (f"{name}.{SERVICES_DOMAIN}",)


def service_prefix(text: str) -> Prefix | Violation:
    """Return a prefix of a gateway service, or the error in it."""
    try:
        found = parse_prefix(text)
    except AddressError as error:
        return Violation(str(error), "write e.g. 198.19.0.0/24")
    if found.version != 4:
        return Violation(f"{found} is IPv6, and gateway endpoints take IPv4 only", "write e.g. 198.19.0.0/24")
    if found.length < _SHORTEST:
        return Violation(f"{found} is too large", f"choose a /{_SHORTEST} or a part of one")
    for block, why in _UNUSABLE:
        if block.overlaps(found):
            return Violation(f"{found} overlaps {block}: {why}", "choose another one, e.g. 198.19.0.0/24")
    if is_reserved(found):
        return Violation(f"{found} is reserved for EC2's services", "choose another one, e.g. 198.19.0.0/24")
    return found


def known_name(text: str) -> Violation | None:
    """Return the error in a DNS name of a service, or None."""
    if _HOST.match(text):
        return None
    return Violation(f"{shown(text)} is not a host name", f"write it in lowercase, e.g. s3.{SERVICES_DOMAIN}")


def upstream(text: str) -> Violation | None:
    """Return the error in a service's `upstream` (http:// with an IPv4 address and a port), or None."""
    found = _UPSTREAM.match(text)
    if found is None:
        return Violation(f"{shown(text)} is not the URL of a service", "write http://ADDRESS:PORT, e.g. http://192.0.2.80:9000")
    return socket_address(found[1])


def socket_address(text: str) -> Violation | None:
    """Return the error in an IPv4 address and a port, or None."""
    address, colon, port = text.rpartition(":")
    try:
        good = bool(colon) and version_of(address) == 4 and port.isdecimal() and port.isascii() and 0 < int(port) < 65536
    except (AddressError, ValueError):
        good = False
    return None if good else Violation(f"{shown(text)} is not an IPv4 address and a port", "write e.g. 192.0.2.80:9000")


def policy_size(text: str) -> Violation | None:
    """Return the error in the size of a policy, or None."""
    if len(text) <= MAX_POLICY:
        return None
    return Violation(f"the policy has {len(text)} characters", f"use at most {MAX_POLICY:,}")
