"""Network ACLs: ordered stateless entries that allow or deny, compiled to one chain for each direction.

The compiler resolves the order: the chain holds the finally allowed traffic in sets, and drops the rest. So a packet costs the
same whatever the number of entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from msgspec import structs

from netorch.compiler.base import VpcView
from netorch.errors import CompileError
from netorch.model.addr import parse_prefix
from netorch.model.ids import vni_of
from netorch.model.security import AclEntry, Direction, NetworkAcl
from netorch.model.vpc import Subnet
from netorch.state.nft import NftChain
from policy.intervals import Stretch, lookups, ordered
from policy.services import EVERYTHING, WITH_PORTS, services


def acl_of(view: VpcView, subnet: Subnet) -> NetworkAcl:
    """Return the ACL of a subnet. Raises CompileError when its record is missing."""
    for acl in view.of(NetworkAcl):
        if acl.id == subnet.acl or (not subnet.acl and acl.is_default):
            return acl
    wanted = subnet.acl or "the default one"
    raise CompileError(f"subnet {subnet.name} ({subnet.id}): its network ACL, {wanted}, is not there; associate one that is")


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


def answers_chain(name: str, acl: NetworkAcl, direction: Direction, first: Iterable[str], agree: str) -> NftChain:
    """Return the chain that agrees if an ACL allows the answers to a TCP or UDP packet of this direction. It always returns.

    Args:
      first: its rules before the look-ups
      agree: the statement that notes an agreement in the packet's mark
    """
    far = "daddr" if direction is Direction.EGRESS else "saddr"
    rules, sets = [*first], []
    for version, word in ((4, "ip"), (6, "ip6")):
        stretches = _allowed(_entries(acl, direction.other), version)
        if _is_all(stretches):
            rules.append(f"meta nfproto ipv{version} {agree} return")
            continue
        flows = [structs.replace(stretch, services=stretch.services.only(WITH_PORTS)) for stretch in stretches]
        for lookup in lookups(name, version, f"{word} {far}", flows, "sport"):
            rules += lookup.rules(f"{agree} return")
            sets += [lookup.set] if lookup.set is not None else []
    return NftChain(
        vni=vni_of(acl.id), name=name, rules=(*rules, "return"), sets=tuple(sorted(sets, key=lambda found: found.name))
    )


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
