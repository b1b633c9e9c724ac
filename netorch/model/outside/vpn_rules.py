"""EC2's rules for single VPN values, the same for files, commands and stored records.

A rule returns None or a Violation and never raises. Source: EC2's API reference, VpnTunnelOptionsSpecification,
CreateCustomerGateway, CreateVpnGateway.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final, TypeVar

from netorch.model import rules
from netorch.model.addr import AddressError, Prefix, parse_prefix
from netorch.model.outside.ike_identity import is_identity
from netorch.model.outside.vpn import NUMBER_LAST, TUNNELS, TunnelOptions
from netorch.model.permission import cidr
from netorch.model.rules import Violation, number_text, shown

V = TypeVar("V", str, int)

INSIDE: Final = parse_prefix("169.254.0.0/16")  # contains the networks of all tunnels
INSIDE_LENGTH: Final = 30
# EC2 reserves these; some contain its services.
INSIDE_RESERVED: Final = tuple(
    parse_prefix(f"169.254.{middle}/30") for middle in ("0.0", "1.0", "2.0", "3.0", "4.0", "5.0", "169.252")
)

IKE_VERSIONS: Final = ("ikev1", "ikev2")
ENCRYPTION: Final = ("AES128", "AES256", "AES128-GCM-16", "AES256-GCM-16")
INTEGRITY: Final = ("SHA1", "SHA2-256", "SHA2-384", "SHA2-512")
PHASE1_DH_GROUPS: Final = (2, *range(14, 25))
PHASE2_DH_GROUPS: Final = (2, 5, *range(14, 25))
PHASE1_LIFETIME: Final = (900, 28800)
PHASE2_LIFETIME: Final = (900, 3600)
REKEY_MARGIN_LEAST: Final = 60
REKEY_FUZZ: Final = (0, 100)
REPLAY_WINDOW: Final = (64, 2048)
DPD_TIMEOUT: Final = (3, 3600)  # EC2's minimum is 30

PSK_RULE: Final = "use 8 to 64 letters, digits, '.' and '_', the first not 0"
_PSK: Final = re.compile(r"(?!0)[A-Za-z0-9._]{8,64}")
_PEM: Final = re.compile(r"(-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=]{1,76}\n)+-----END CERTIFICATE-----\n?)+")
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN ((RSA |EC )?PRIVATE KEY)-----\n([A-Za-z0-9+/=]{1,76}\n)+-----END \1-----\n?")
_PEM_MOST: Final = 32_768  # characters
_RESERVED_ASNS: Final = {23456, 65535}  # RFC 6793, RFC 7300
_ASN_LAST: Final = 0xFFFFFFFF  # reserved: RFC 7300
_PRIVATE_ASNS: Final = (range(64512, 65535), range(4_200_000_000, 4_294_967_295))  # RFC 6996


def number(value: int) -> Violation | None:
    """Return the error in the number of a VPN connection, or None."""
    return None if 1 <= value <= NUMBER_LAST else Violation(f"{number_text(value)} is out of range", f"use 1 to {NUMBER_LAST}")


def gateway_asn(value: int) -> Violation | None:
    """Return the error in the AS number of a virtual private gateway, or None. It must be private, as in EC2."""
    if any(value in numbers for numbers in _PRIVATE_ASNS):
        return None
    what = f"{number_text(value)} is not a private AS number"
    return Violation(what, "choose 64512 to 65534, or 4200000000 to 4294967294")


def customer_asn(value: int) -> Violation | None:
    """Return the error in the AS number of a customer's router, or None."""
    if value not in _RESERVED_ASNS and 0 < value < _ASN_LAST:
        return None
    return Violation(f"{number_text(value)} is not the number of an autonomous system", "write e.g. 65000")


def customer_address(text: str) -> Violation | None:
    """Return the error in the address of a customer gateway, or None."""
    value = rules.address(text, 4)
    if isinstance(value, Violation):
        return Violation(value.what, "write the IPv4 address of the customer's device, or of the NAT in front of it")
    found = rules.public_cidr(f"{text}/32")
    return found if isinstance(found, Violation) else None


def identity(text: str) -> Violation | None:
    """Return the error in an IKE identity (an address, a domain name or a distinguished name), or None."""
    if is_identity(text):
        return None
    fix = "write a domain name, user@domain, an IPv4 address, or e.g. 'C=DE, O=acme, CN=router'"
    return Violation(f"{shown(text)} is not an identity", fix)


def psk(text: str) -> Violation | None:
    """Return the error in a pre-shared key, or None. The error text does not contain the key."""
    if _PSK.fullmatch(text):
        return None
    return Violation(f"a text of {len(text)} characters is not a pre-shared key", PSK_RULE)


def certificates(text: str) -> Violation | None:
    """Return the error in the form of certificates, or None. IKE checks their validity."""
    if len(text) <= _PEM_MOST and _PEM.fullmatch(text):
        return None
    return Violation("the text is not a certificate in PEM", "paste the text that begins with -----BEGIN CERTIFICATE-----")


def private_key(text: str) -> Violation | None:
    """Return the error in the form of a private key, or None. The error text does not contain the key."""
    if len(text) <= _PEM_MOST and _PRIVATE_KEY.fullmatch(text):
        return None
    return Violation(
        "the text is not an unencrypted private key in PEM", "paste the text that begins with -----BEGIN PRIVATE KEY-----"
    )


def inside_cidr(text: str) -> Prefix | Violation:
    """Return the inside network of a tunnel, or the error in it."""
    example = f"write a /{INSIDE_LENGTH} of {INSIDE}, e.g. 169.254.10.0/30"
    try:
        prefix = parse_prefix(text)
    except AddressError:
        return Violation(f"{shown(text)} is not a tunnel's inside network", example)
    if prefix.version != 4 or prefix.length != INSIDE_LENGTH or not INSIDE.contains(prefix):
        return Violation(f"{text} is not a /{INSIDE_LENGTH} of {INSIDE}", example)
    if prefix in INSIDE_RESERVED:
        return Violation(f"{text} is one of the networks that EC2 reserves", example)
    return prefix


def traffic_cidr(text: str) -> Prefix | Violation:
    """Return an IPv4 network at one end of a connection, or the error in it."""
    found = cidr(text, references=False)
    if isinstance(found, Prefix) and found.version != 4:
        return Violation(f"{text} is IPv{found.version}, and a virtual private gateway's VPN has IPv4 only", "write an IPv4 CIDR")
    return found


def selector(text: str, *, static: bool) -> Prefix | Violation:
    """Return the traffic selector for one end of a connection, or the error in it.

    BGP runs between the inside addresses of the tunnels, so without static routes the selector must contain them.
    """
    found = traffic_cidr(text)
    if isinstance(found, Violation) or static or found.contains(INSIDE):
        return found
    what = f"{text} does not contain {INSIDE}, which BGP uses inside the tunnels"
    return Violation(what, "leave it out, or make the connection static")


def count_of_tunnels(count: int) -> Violation | None:
    """Return the error in the number of a connection's tunnels, or None."""
    return None if count == TUNNELS else Violation(f"{count} tunnels are given", f"a connection has {TUNNELS}")


def options(found: TunnelOptions) -> Iterator[tuple[str, Violation]]:
    """Yield (field, error) for the options of a tunnel."""
    texts = (
        ("ike_versions", found.ike_versions, IKE_VERSIONS),
        ("phase1_encryption", found.phase1_encryption, ENCRYPTION),
        ("phase1_integrity", found.phase1_integrity, INTEGRITY),
        ("phase2_encryption", found.phase2_encryption, ENCRYPTION),
        ("phase2_integrity", found.phase2_integrity, INTEGRITY),
    )
    groups = (
        ("phase1_dh_groups", found.phase1_dh_groups, PHASE1_DH_GROUPS),
        ("phase2_dh_groups", found.phase2_dh_groups, PHASE2_DH_GROUPS),
    )
    phase2_most = min(PHASE2_LIFETIME[1], found.phase1_lifetime - 1)
    numbers = (
        ("phase1_lifetime", found.phase1_lifetime, *PHASE1_LIFETIME),
        ("phase2_lifetime", found.phase2_lifetime, PHASE2_LIFETIME[0], max(phase2_most, PHASE2_LIFETIME[0])),
        ("rekey_margin", found.rekey_margin, REKEY_MARGIN_LEAST, max(found.phase2_lifetime // 2, REKEY_MARGIN_LEAST)),
        ("rekey_fuzz", found.rekey_fuzz, *REKEY_FUZZ),
        ("replay_window", found.replay_window, *REPLAY_WINDOW),
        ("dpd_timeout", found.dpd_timeout, *DPD_TIMEOUT),
    )
    for field, chosen, known in texts:
        yield from ((field, violation) for violation in _choice(chosen, known))
    for field, wanted, possible in groups:
        yield from ((field, violation) for violation in _choice(wanted, possible))
    for field, value, least, most in numbers:
        if not least <= value <= most:
            yield field, Violation(f"{number_text(value)} is out of range", f"choose {least} to {most}")


def _choice(chosen: Collection[V], known: Collection[V]) -> Iterator[Violation]:
    """Yield the errors in a choice of one or more values."""
    fix = f"choose among {', '.join(map(str, known))}"
    if not chosen:
        yield Violation("nothing is chosen", fix)
    if len(set(chosen)) < len(chosen):
        yield Violation("an algorithm is listed twice", "list each once")
    yield from (Violation(f"{shown(one)} is not known", fix) for one in chosen if one not in known)
