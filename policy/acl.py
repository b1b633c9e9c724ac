"""Network ACLs: ordered stateless entries that allow or deny, compiled to one chain for each direction.

The compiler resolves the order: the chain holds the finally allowed traffic in sets, and drops the rest. So a packet costs the
same whatever the number of entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from netorch.model.addr import parse_prefix
from netorch.model.ids import vni_of
from netorch.model.security import AclEntry, Direction, NetworkAcl
from netorch.state.nft import NftChain
from policy.intervals import Stretch, lookups, ordered
from policy.services import EVERYTHING, services


def allows_everything(acl: NetworkAcl, direction: Direction) -> bool:
    """Return whether an ACL lets every packet pass, as an unmodified default ACL does."""
    return all(_is_all(_allowed(_entries(acl, direction), version)) for version in (4, 6))


def acl_chain(name: str, acl: NetworkAcl, direction: Direction) -> NftChain:
    """Return the chain that returns for allowed packets, and drops all others."""
    far = "daddr" if direction is Direction.EGRESS else "saddr"
    rules, sets = [], []
    for version, word in ((4, "ip"), (6, "ip6")):
        stretches = _allowed(_entries(acl, direction), version)
        if _is_all(stretches):
            rules.append(f"meta nfproto ipv{version} return")
            continue
        for lookup in lookups(name, version, f"{word} {far}", stretches):
            rules += lookup.rules("return")
            sets += [lookup.set] if lookup.set is not None else []
    rules.append("goto drop_acl_egress" if direction is Direction.EGRESS else "goto drop_acl_ingress")
    return NftChain(vni=vni_of(acl.id), name=name, rules=tuple(rules), sets=tuple(sorted(sets, key=lambda found: found.name)))


def _entries(acl: NetworkAcl, direction: Direction) -> tuple[AclEntry, ...]:
    return acl.egress if direction is Direction.EGRESS else acl.ingress


@lru_cache(maxsize=1024)
def _allowed(entries: tuple[AclEntry, ...], version: int) -> tuple[Stretch, ...]:
    """Return the traffic that entries allow. Cached: each subnet needs it again, and most ACLs equal the default one."""
    parsed = [(parse_prefix(entry.cidr), entry) for entry in sorted(entries, key=lambda entry: entry.number)]
    of_version = [
        (prefix, services(entry.protocol, entry.from_port, entry.to_port), entry.allow)
        for prefix, entry in parsed
        if prefix.version == version
    ]
    return tuple(ordered(version, of_version))


def _is_all(stretches: Sequence[Stretch]) -> bool:
    return len(stretches) == 1 and stretches[0].everywhere and stretches[0].services == EVERYTHING
