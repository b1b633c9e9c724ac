"""Numbers of identities, i.e. sets of groups: the keys that rules with group references look up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from netorch.compiler.base import Identity, PeerIdentity
from netorch.errors import CompileError
from netorch.model.security import Direction

# The bit set in numbers of peers' sets of groups. No identity has it alone: it is the mark SLOW (policy.skeleton).
_PEER: Final = 1 << 31


@lru_cache(maxsize=1024)
def identity_number(groups: tuple[str, ...]) -> int:
    """Return the number of a set of groups: 1 to 2^31 - 1, the same on every host, independent of other sets."""
    digest = hashlib.sha256(" ".join(groups).encode()).digest()
    return int.from_bytes(digest[:4], "big") & _PEER - 1 or 1


def peer_number(groups: tuple[str, ...]) -> int:
    """Return the number of a peer's set of groups. No set of the VPC's own has it, whatever sets the peer's owner tries."""
    return identity_number(groups) | _PEER


def identity_map(vni: int, version: int) -> str:
    """Return the name of the map from a VPC's addresses to the numbers of their identities."""
    return f"identity-{vni:06x}.{version}"


def group_chain_name(vni: int, groups: tuple[str, ...], direction: Direction) -> str:
    """Return the name of the chain with the rules of all these groups in one direction."""
    return f"{direction.value}-{vni:06x}-{identity_number(groups):08x}"


def own_numbers(identities: Iterable[Identity]) -> dict[int, tuple[str, ...]]:
    """Return the VPC's own identities by number. Raises CompileError for two with one number: packets would be ambiguous."""
    known: dict[int, tuple[str, ...]] = {}
    for groups in (found.groups for found in identities):
        other = known.setdefault(identity_number(groups), groups)
        if other != groups:
            text = f"the groups {' '.join(groups)} and {' '.join(other)} have the same number {identity_number(groups):#x}"
            raise CompileError(f"chains: {text}; add a group to the interfaces of one of them")
    return known


def peer_numbers(identities: Iterable[PeerIdentity]) -> dict[int, tuple[str, ...]]:
    """Return peers' identities by number, without numbers that two share: one of them may be a deliberate collision.

    A collision takes some 2^31 attempts, and a peer's owner can make that many sets. The owner must neither pass for another
    peer, nor stop the compilation of this VPC's rules.
    """
    found: dict[int, list[tuple[str, ...]]] = {}
    for identity in identities:
        found.setdefault(peer_number(identity.groups), []).append(identity.groups)
    return {number: groups for number, (groups, *others) in found.items() if not others}
