"""Security groups and network ACLs as chains: what each interface here may send and receive.

    sends   v-…  ->  border-<vni>-<subnet>-<identity>-egress  ->  acl-<vni>-<acl>-egress, unless to the own subnet
                                                        ->  egress-<vni>-<identity>
    takes   v-…  ->  border-<vni>-<subnet>-<identity>-ingress   ->  acl-<vni>-<acl>-ingress, unless from the own subnet
                                                        ->  ingress-<vni>-<identity>

* An *identity* is a set of groups. Interfaces with the same groups share their chains, and the rules of all their groups are one
  set of permissions, so a packet costs the same however many groups and rules there are.
* A rule that refers to a group means the private addresses of its members. The map `identity-<vni>.4` gives each address of the
  VPC and of its active peers the number of its identity; the chain then looks that number up among identities that hold the
  group. A member that comes, goes or moves is one element of that map; a rule is a few elements of one chain's sets; neither
  costs what the other counts.
* Of IPv4 and IPv6 each has its own sets. Only the numbers of identities, which are no addresses, serve both.
* What nothing permits runs into the last rule, which refuses it.

policy.skeleton tells the packet's way to these chains, and what `sent`, `received` and `deliver` do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from netorch.compiler.base import (
    Identity,
    LocalEni,
    LocalPeer,
    LocalTable,
    MappingPart,
    Middlebox,
    Part,
    Peer,
    PeerIdentity,
    PeerMappingPart,
    ProblemPart,
    VpcPart,
    VpcView,
)
from netorch.errors import CompileError
from netorch.model.ids import port_name, vni_of
from netorch.model.mapping import Mapping
from netorch.model.security import Direction, NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import Subnet, Vpc
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.names import inlet_name, vrf_name
from netorch.state.nft import ZONES, NftChain, NftElement, NftMap
from policy import skeleton
from policy.acl import acl_chain, allows_everything
from policy.groups import MOST_ENTRIES, GroupRules, group_chain, peers_left_out, references

# What is sent to an interface of this host comes back to `forward`, which leads it to the receiver's chains.
_ENTER: Final = {Direction.EGRESS: "jump", Direction.INGRESS: "goto"}
_IDENTITY_SPEC: Final = {4: "type ipv4_addr : mark", 6: "type ipv6_addr : mark"}


def _devices(view: VpcView) -> Iterator[KernelObject]:
    """Yield which zone each device belongs to, which chains serve each port, and the maps for the identities of addresses."""
    for version in (4, 6) if view.dual_stack else (4,):
        yield NftMap(vni=view.vni, name=identity_map(view.vni, version), spec=_IDENTITY_SPEC[version])
    ports = [port_name(item.eni.id) for item in view.local]
    vrfs = (vrf_name(view.vni, table.number) for table in view.of(LocalTable))
    cables = (peer.ends(view.vni)[0] for peer in view.of(LocalPeer))
    for device in (*vrfs, view.vxlan, *cables):
        yield _overlay(view, ZONES, device, hex(view.zone))
    for interval in view.of(Middlebox):
        if interval.inlet is not None:
            for device in (inlet_name(view.vni, interval.eni.id), vrf_name(view.vni, interval.inlet.number)):
                yield _overlay(view, ZONES, device, hex(interval.inlet.zone))
    for port in ports:
        yield _overlay(view, skeleton.PORT_ZONES, port, hex(view.zone))
    for item, port in zip(view.local, ports, strict=True):
        for direction in Direction:
            verdict = f"{_ENTER[direction]} {_border_name(view, item, direction)}"
            yield _overlay(view, skeleton.POLICY_MAPS[direction.value], port, verdict)


def _rules(view: VpcView) -> Iterator[KernelObject]:
    """Yield the chains of the identities, subnets and ACLs that the interfaces here have."""
    places = {(item.subnet.id, _groups(item)): item for item in view.local}
    left_out, of_peers = _left_out(view), _peers(view.of(PeerIdentity))
    # Not before numbers that two have are out: a number of one that is left out must not pass for another peer's.
    known = {number: groups for number, groups in of_peers.items() if groups and vni_of(groups[0]) not in left_out}
    rules = GroupRules(view.of(SecurityGroup), view.of(PrefixList), _own(view.of(Identity)) | known)
    for groups in sorted({groups for _, groups in places}):
        for direction in Direction:
            yield group_chain(_group_chain_name(view.vni, groups, direction), view, rules, groups, direction)
    acls = {subnet.id: _acl_of(view, subnet) for subnet in {item.subnet.id: item.subnet for item in places.values()}.values()}
    for acl in {acl.id: acl for acl in acls.values()}.values():
        for direction in Direction:
            if not allows_everything(acl, direction):
                yield acl_chain(_acl_name(acl, direction), acl, direction)
    for _, item in sorted(places.items()):
        for direction in Direction:
            yield _border(view, item, acls[item.subnet.id], direction)


def _too_many_of_peers(view: VpcView) -> str:
    """Return which peers' groups no rule can refer to on this host, or nothing. Raises CompileError."""
    left_out = _left_out(view)
    if not left_out:
        return ""
    peers = " and ".join(map(str, left_out))
    what = f"rules that refer to groups of the peer {peers} permit nothing on this host: with its sets of groups"
    return f"security groups: {what} they come to more than {MOST_ENTRIES} entries; give these rules CIDRs"


def _left_out(view: VpcView) -> list[int]:
    """Return the VNIs of the peers whose identities belong to no group here. Raises CompileError."""
    referred = references(view.of(SecurityGroup), {_groups(item) for item in view.local})
    of_peers: dict[int, list[tuple[str, ...]]] = {}  # by the VNI that the ids of a peer's groups bear
    for groups in (found.groups for found in view.of(PeerIdentity) if found.groups):
        of_peers.setdefault(vni_of(groups[0]), []).append(groups)
    return peers_left_out(referred, [found.groups for found in view.of(Identity)], of_peers)


def _identity_of(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield the class of the address; one whose interface has no groups is in none that a rule could refer to."""
    if mapping.groups:
        version = 6 if ":" in mapping.address else 4
        number = hex(identity_number(mapping.groups))
        yield _overlay(view, identity_map(mapping.vni, version), mapping.address, number)


def _class_of_peers(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield the class of a peer's address, unless another peer's ranges hold it too: nobody can tell whose packet it is then."""
    version = 6 if ":" in mapping.address else 4
    if (version == 4 or view.dual_stack) and mapping.groups and sum(p.holds(mapping.address) for p in view.of(Peer)) == 1:
        yield _overlay(view, identity_map(view.vni, version), mapping.address, hex(peer_number(mapping.groups)))


_PEER: Final = 1 << 31  # a bit of the numbers of peers' sets of groups


@lru_cache(maxsize=1024)
def identity_number(groups: tuple[str, ...]) -> int:
    """Return the number of a set of groups: 1 to 2^31 - 1, the same on every host whatever other sets there are."""
    digest = hashlib.sha256(" ".join(groups).encode()).digest()
    return int.from_bytes(digest[:4], "big") & _PEER - 1 or 1


def peer_number(groups: tuple[str, ...]) -> int:
    """Return the number of a peer's set of groups: no own one has it, whatever sets the peer's owner tries."""
    return identity_number(groups) | _PEER


def identity_map(vni: int, version: int) -> str:
    """Return the name of the map from a VPC's addresses to the numbers of their identities."""
    return f"identity-{vni:06x}.{version}"


def _own(identities: Iterable[Identity]) -> dict[int, tuple[str, ...]]:
    """Return the VPC's own identities by number. Raises CompileError for two with one: a packet could not tell them apart."""
    known: dict[int, tuple[str, ...]] = {}
    for groups in (found.groups for found in identities):
        other = known.setdefault(identity_number(groups), groups)
        if other != groups:
            text = f"the groups {' '.join(groups)} and {' '.join(other)} have the same number {identity_number(groups):#x}"
            raise CompileError(f"chains: {text}; add a group to the interfaces of one of them")
    return known


def _peers(identities: Iterable[PeerIdentity]) -> dict[int, tuple[str, ...]]:
    """Return peers' identities by number. A number that two have is nobody's: one of them may have been made to have it.

    It takes some 2^31 sets to find one, and a peer has so many. Its owner must neither be taken for another peer, nor stop the
    compilation of this VPC's rules.
    """
    found: dict[int, list[tuple[str, ...]]] = {}
    for identity in identities:
        found.setdefault(peer_number(identity.groups), []).append(identity.groups)
    return {number: groups for number, (groups, *others) in found.items() if not others}


def _groups(item: LocalEni) -> tuple[str, ...]:
    return item.eni.groups


def _overlay(view: VpcView, name: str, item: str, value: str) -> NftElement:
    return NftElement(netns=OVERLAY, family="inet", set=name, items=(item,), vni=view.vni, value=value)


def _group_chain_name(vni: int, groups: tuple[str, ...], direction: Direction) -> str:
    return f"{direction.value}-{vni:06x}-{identity_number(groups):08x}"


def _acl_name(acl: NetworkAcl, direction: Direction) -> str:
    return f"acl-{acl.vni:06x}-{acl.id[-11:]}-{direction.value}"


def _border_name(view: VpcView, item: LocalEni, direction: Direction) -> str:
    return f"border-{view.vni:06x}-{item.subnet.id[-11:]}-{identity_number(_groups(item)):08x}-{direction.value}"


def _acl_of(view: VpcView, subnet: Subnet) -> NetworkAcl:
    for acl in view.of(NetworkAcl):
        if acl.id == subnet.acl or (not subnet.acl and acl.is_default):
            return acl
    wanted = subnet.acl or "the default one"
    raise CompileError(f"subnet {subnet.name} ({subnet.id}): its network ACL, {wanted}, is not there; associate one that is")


def _border(view: VpcView, item: LocalEni, acl: NetworkAcl, direction: Direction) -> NftChain:
    """Return the chain in front of a class's: what crosses the subnet's border meets its ACL first."""
    rules = []
    if not allows_everything(acl, direction):
        far = "daddr" if direction is Direction.EGRESS else "saddr"
        name = _acl_name(acl, direction)
        rules.append(f"ip {far} != {item.subnet.cidr} jump {name}")
        if view.dual_stack:
            inside = item.subnet.ipv6_cidr
            rules.append(f"ip6 {far} != {inside} jump {name}" if inside else f"meta nfproto ipv6 jump {name}")
    rules.append(f"goto {_group_chain_name(view.vni, _groups(item), direction)}")
    return NftChain(vni=view.vni, name=_border_name(view, item, direction), rules=tuple(rules))


class Chains:
    """Yields the chains of a VPC's rules, who they are for, and the conntrack zone of its devices."""

    name: Final = "chains"
    reads: Final[frozenset[type]] = frozenset({SecurityGroup, NetworkAcl, PrefixList})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(id="chains", compile=_devices, inputs=frozenset({Vpc, LocalEni, LocalTable, LocalPeer, Middlebox})),
        VpcPart(
            id="chains.rules",
            compile=_rules,
            inputs=frozenset({Vpc, LocalEni, SecurityGroup, NetworkAcl, PrefixList, Identity, PeerIdentity}),
        ),
        ProblemPart(
            id="chains.peers", problem=_too_many_of_peers, inputs=frozenset({LocalEni, SecurityGroup, Identity, PeerIdentity})
        ),
        MappingPart(id="chains.mapping", compile=_identity_of),
        PeerMappingPart(id="chains.peer", compile=_class_of_peers, inputs=frozenset({Vpc, Peer})),
    )
