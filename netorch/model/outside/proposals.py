"""A tunnel's proposals in strongSwan's syntax: AES256-GCM-16, SHA2-256 and group 19 are aes256gcm16-prfsha256-ecp256.

EC2 lists the permitted encryption algorithms, integrity algorithms and Diffie-Hellman groups. A strongSwan proposal can name
several of each. AEAD ciphers (AES-GCM) need a separate proposal, because they take no integrity algorithm: phase 1 derives its
keys with the pseudo-random function of a hash instead (RFC 5282 section 4), phase 2 needs none.

The order is of preference. Secure and fast algorithms come first; SHA-1, and groups of less than 112 bits or of unknown origin
(RFC 8247 section 2.4), come last. Keywords: swanctl.conf(5), libstrongswan/crypto/proposal/proposal_keywords_static.txt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Final, Literal, TypeVar

from netorch.model.outside.vpn import TunnelOptions

Phase = Literal[1, 2]

PLAIN: Final = {"AES256": "aes256", "AES128": "aes128"}
_AUTHENTICATED: Final = {"AES256-GCM-16": "aes256gcm16", "AES128-GCM-16": "aes128gcm16"}
INTEGRITY: Final = {"SHA2-256": "sha256", "SHA2-384": "sha384", "SHA2-512": "sha512", "SHA1": "sha1"}
GROUPS: Final = {
    19: "ecp256",
    20: "ecp384",
    21: "ecp521",
    14: "modp2048",
    15: "modp3072",
    16: "modp4096",
    17: "modp6144",
    18: "modp8192",
    24: "modp2048s256",
    23: "modp2048s224",
    22: "modp1024s160",
    5: "modp1536",
    2: "modp1024",
}

Row = tuple[tuple[str, ...], ...]  # the keywords of a proposal, grouped by purpose
Name = TypeVar("Name", str, int)


def proposals(options: TunnelOptions, phase: Phase) -> tuple[str, ...]:
    """Return the proposals for a tunnel, the preferred one first; empty if no combination of these options is possible.

    Phase 1 is the IKE_SA, phase 2 the CHILD_SA. With IKEv1 alone, each combination gets its own proposal, because strongSwan
    offers only the first algorithm of a proposal (libcharon/encoding/payloads/proposal_substructure.c, set_from_proposal_v1), and
    phase 1 has no AES-GCM. Phase 2 always has a Diffie-Hellman group, as in EC2.
    """
    if "ikev2" in options.ike_versions:
        return tuple("-".join(word for words in row for word in words) for row in _rows(options, phase))
    rows = (row for row in _rows(options, phase) if phase == 2 or row[0][0] not in _AUTHENTICATED.values())
    return tuple("-".join(each) for row in rows for each in product(*row))


def _rows(options: TunnelOptions, phase: Phase) -> Iterator[Row]:
    """Yield the AEAD proposal and the plain proposal, each with all permitted algorithms; skip one that lacks a kind."""
    if phase == 1:
        encryption, integrity, groups = options.phase1_encryption, options.phase1_integrity, options.phase1_dh_groups
        functions = tuple(f"prf{word}" for word in _chosen(INTEGRITY, integrity))
        authenticated: Row = (_chosen(_AUTHENTICATED, encryption), functions, _chosen(GROUPS, groups))
    else:
        encryption, integrity, groups = options.phase2_encryption, options.phase2_integrity, options.phase2_dh_groups
        authenticated = (_chosen(_AUTHENTICATED, encryption), _chosen(GROUPS, groups))
    plain = (_chosen(PLAIN, encryption), _chosen(INTEGRITY, integrity), _chosen(GROUPS, groups))
    yield from (row for row in (authenticated, plain) if all(row))


def _chosen(words: Mapping[Name, str], names: Iterable[Name]) -> tuple[str, ...]:
    """Return the keywords for these names, in the order of `words`."""
    wanted = set(names)
    return tuple(word for name, word in words.items() if name in wanted)
