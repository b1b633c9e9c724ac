"""What a customer's device may call itself in IKE (RFC 7296 section 3.5): what means one device, and is written in one way.

strongSwan takes more for an identity, and some of it stands for many devices: wildcards, networks, ranges of addresses, 0.0.0.0,
types before a colon. Whoever had such a one could prove himself to be somebody else. It compares without regard to case. Source:
strongSwan's identification_create_from_string, matches.
"""

from __future__ import annotations

import re
from typing import Final

from netorch.model.addr import AddressError, canonical_ip, parse_ip

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN: Final = rf"{_LABEL}(?:\.{_LABEL})*"
_USER: Final = r"[A-Za-z0-9._+-]{1,64}"
_VALUE: Final = r"[A-Za-z0-9._()'-]+(?: [A-Za-z0-9._()'-]+)*"
_PART: Final = rf"(?:C|ST|L|O|OU|CN)={_VALUE}"
_NAME: Final = re.compile(rf"(?:{_USER}@)?{_DOMAIN}")
_DISTINGUISHED: Final = re.compile(rf"{_PART}(?:, {_PART})*")
_LETTER: Final = re.compile(r"[A-Za-z]")  # without one it is an address, or a range of addresses
_MOST: Final = 255  # characters
_UNICAST: Final = range(1 << 24, 224 << 24)  # not 0.0.0.0/8, which means nobody or anybody; not multicast and what follows


def is_identity(text: str) -> bool:
    """Return whether a text is an IPv4 address, a domain name, user@domain, or a distinguished name as `C=DE, O=acme`."""
    if len(text) > _MOST:
        return False
    if _DISTINGUISHED.fullmatch(text):
        return True
    if _NAME.fullmatch(text) and _LETTER.search(text):
        return True
    try:
        version, value = parse_ip(text)
    except AddressError:
        return False
    return version == 4 and value in _UNICAST and canonical_ip(text) == text


def is_same(first: str, second: str) -> bool:
    """Return whether two identities mean one device to IKE."""
    return compared(first) == compared(second)


def compared(identity: str) -> str:
    """Return an identity as it is compared with others."""
    return identity.lower()
