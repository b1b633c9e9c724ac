"""Valid IKE identities of a customer's device (RFC 7296 section 3.5): they identify one device and have one spelling.

strongSwan accepts more texts. Some match many devices: wildcards, networks, address ranges, 0.0.0.0, types before a colon. A
device with such an identity could authenticate as another device. strongSwan ignores case in comparisons. Source: strongSwan's
identification_create_from_string, matches.
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
_LETTER: Final = re.compile(r"[A-Za-z]")  # without a letter, the text is an address or an address range
_MOST: Final = 255  # characters
_UNICAST: Final = range(1 << 24, 224 << 24)  # not 0.0.0.0/8, which means no host or any host; not multicast and above


def is_identity(text: str) -> bool:
    """Return whether a text is an IPv4 address, a domain name, user@domain, or a distinguished name such as `C=DE, O=acme`."""
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
    """Return whether IKE treats two identities as the same device."""
    return compared(first) == compared(second)


def compared(identity: str) -> str:
    """Return the form of an identity that comparisons use."""
    return identity.lower()
