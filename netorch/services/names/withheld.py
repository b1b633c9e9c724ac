"""Names that customers may not ask the operator's resolvers for, because the answers could reveal the operator's own network.

These names do not exist on the internet, but the operator's network may have them. A domain in /etc/netorch/forward
makes the names below it available.
"""

from __future__ import annotations

from typing import Final

from dns.rdatatype import RdataType

from netorch.services.names.labels import Labels, labels_of, upward

# RFC 6761, 6762 (with appendix G), 7686, 8375, 9476; ICANN's resolution 2024.07.29.06 for internal.
_SPECIAL: Final = (
    *("local", "localhost", "localdomain", "internal", "home.arpa", "test", "invalid", "onion", "alt"),
    *("intranet", "private", "corp", "home", "lan"),
)
# RFC 6303 section 4, RFC 7793 for 100.64.0.0/10, RFC 4193 for fc00::/7.
_REVERSE: Final = (
    *(f"{network}.in-addr.arpa" for network in ("0", "10", "127", "254.169", "168.192", "2.0.192", "100.51.198", "113.0.203")),
    *(f"{octet}.172.in-addr.arpa" for octet in range(16, 32)),
    *(f"{octet}.100.in-addr.arpa" for octet in range(64, 128)),
    "255.255.255.255.in-addr.arpa",
    *(f"{last}.{'0.' * 31}ip6.arpa" for last in "01"),
    *(f"{prefix}.ip6.arpa" for prefix in ("c.f", "d.f", "8.e.f", "9.e.f", "a.e.f", "b.e.f", "8.b.d.0.1.0.0.2")),
)
ZONES: Final = frozenset(labels_of(zone) for zone in (*_SPECIAL, *_REVERSE))
ROOT: Final = labels_of("")
_SINGLE: Final = 2  # labels of a single-label name, with the root's
_OF_INTERNET: Final = frozenset({RdataType.NS, RdataType.SOA, RdataType.DS, RdataType.DNSKEY})  # validators query these


def zone_above(name: Labels, rdtype: RdataType) -> Labels | None:
    """Return the zone for which a name is withheld, the root for a single label, or None if the name is not withheld."""
    zone = next((above for above in upward(name) if above in ZONES), None)
    if zone is None and len(name) == _SINGLE and rdtype not in _OF_INTERNET:
        return ROOT
    return zone
