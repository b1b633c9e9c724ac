"""Security groups and network ACLs as chains: what each local interface may send and receive.

  a port's packets  ->  border-<vni>-<subnet>-<identity>-egress    ->  egress-<vni>-<identity>     (policy.borders: ACLs, known
                                                                                                    connections)
  packets to it     ->  border-<vni>-<subnet>-<identity>-ingress   ->  ingress-<vni>-<identity>

* An *identity* is a set of groups. Interfaces with the same groups share their chains. The rules of all their groups are one
  set of permissions, so a packet costs the same however many groups and rules there are.
* A rule that refers to a group matches the private addresses of its members. The map `identity-<vni>.4` gives each address of
  the VPC and of its active peers the number of its identity. The chain then looks up that number among identities with the
  group. A member that comes, goes or moves is one element of the map; a rule is a few elements of one chain's sets. So the cost
  of a member does not depend on the number of rules, nor the cost of a rule on the number of members.
* IPv4 and IPv6 have their own sets. Only the numbers of identities, which are no addresses, serve both.
* Packets that no rule permits reach the last rule, which drops them.

policy.skeleton describes a packet's way to these chains, and the chains `sent`, `received` and `deliver`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import (
    HostView,
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
from netorch.model.eni import Role
from netorch.model.ids import port_name, vni_of
from netorch.model.mapping import Mapping
from netorch.model.security import Direction, NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import Vpc
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.names import inlet_name, vrf_name
from netorch.state.nft import PORT_POLICIES, ZONES, NftElement, NftMap
from policy import skeleton
from policy.borders import BORDERS, FORWARDERS, border_chain
from policy.groups import MOST_ENTRIES, GroupRules, group_chain, peers_left_out, references
from policy.identities import group_chain_name, identity_map, identity_number, own_numbers, peer_number, peer_numbers
from policy.offload import free_chain, offload_part

# A packet sent to an interface of this host returns to `forward`, which sends it to the receiver's chains.
_ENTER: Final = {Direction.EGRESS: "jump", Direction.INGRESS: "goto"}
_IDENTITY_SPEC: Final = {4: "type ipv4_addr : mark", 6: "type ipv6_addr : mark"}


def _devices(view: VpcView) -> Iterator[KernelObject]:
    """Yield the zone of each device, the chains of each port, and the maps from addresses to identities."""
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
            verdict = f"{_ENTER[direction]} {border_chain(view, item, direction)}"
            yield _overlay(view, PORT_POLICIES[direction.value], port, verdict)


def _rules(view: VpcView) -> Iterator[KernelObject]:
    """Yield the chains of the local interfaces' identities. Raises CompileError."""
    left_out, of_peers = _left_out(view), peer_numbers(view.of(PeerIdentity))
    # Filter only after numbers shared by two identities are removed: a left-out peer's number must not pass for another peer's.
    known = {number: groups for number, groups in of_peers.items() if groups and vni_of(groups[0]) not in left_out}
    rules = GroupRules(view.of(SecurityGroup), view.of(PrefixList), own_numbers(view.of(Identity)) | known)
    for groups in sorted({_groups(item) for item in view.local}):
        for direction in Direction:
            name, free = group_chain_name(view.vni, groups, direction), free_chain(view.vni, direction)
            yield group_chain(name, view, rules, groups, direction, free)


def _too_many_of_peers(view: VpcView) -> str:
    """Return a message about peers whose groups no rule can refer to on this host, or nothing. Raises CompileError."""
    left_out = _left_out(view)
    if not left_out:
        return ""
    peers = " and ".join(map(str, left_out))
    what = f"rules that refer to groups of the peer {peers} permit nothing on this host: with its sets of groups"
    return f"security groups: {what} they come to more than {MOST_ENTRIES} entries; give these rules CIDRs"


def _left_out(view: VpcView) -> list[int]:
    """Return the VNIs of the peers whose identities belong to no group on this host. Raises CompileError."""
    referred = references(view.of(SecurityGroup), {_groups(item) for item in view.local})
    of_peers: dict[int, list[tuple[str, ...]]] = {}  # by the VNI in the ids of a peer's groups
    for groups in (found.groups for found in view.of(PeerIdentity) if found.groups):
        of_peers.setdefault(vni_of(groups[0]), []).append(groups)
    return peers_left_out(referred, [found.groups for found in view.of(Identity)], of_peers)


def _identity_of(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield the identity of the address. An interface without groups has no identity, so no rule can refer to it."""
    if mapping.groups:
        version = 6 if ":" in mapping.address else 4
        number = hex(identity_number(mapping.groups))
        yield _overlay(view, identity_map(mapping.vni, version), mapping.address, number)


def _class_of_peers(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield the identity of a peer's address, unless another peer's ranges hold it too: then the sender is ambiguous."""
    version = 6 if ":" in mapping.address else 4
    if (version == 4 or view.dual_stack) and mapping.groups and sum(p.holds(mapping.address) for p in view.of(Peer)) == 1:
        yield _overlay(view, identity_map(view.vni, version), mapping.address, hex(peer_number(mapping.groups)))


def _groups(item: LocalEni) -> tuple[str, ...]:
    return item.eni.groups


def _overlay(view: VpcView, name: str, item: str, value: str) -> NftElement:
    return NftElement(netns=OVERLAY, family="inet", set=name, items=(item,), vni=view.vni, value=value)


_DEVICES: Final = VpcPart(
    id="chains",
    compile=_devices,
    inputs=frozenset({HostView, Vpc, LocalEni, LocalTable, LocalPeer, Middlebox}),
    role=Role.HYPERVISOR,
)
_RULES: Final = VpcPart(
    id="chains.rules",
    compile=_rules,
    inputs=frozenset({HostView, Vpc, LocalEni, SecurityGroup, PrefixList, Identity, PeerIdentity}),
    role=Role.HYPERVISOR,
)


class Chains:
    """Yields the chains of a VPC's rules, their assignment to ports, and the conntrack zones of its devices."""

    name: Final = "chains"
    reads: Final[frozenset[type]] = frozenset({SecurityGroup, NetworkAcl, PrefixList})
    parts: Final[tuple[Part, ...]] = (
        _DEVICES,
        _RULES,
        BORDERS,
        FORWARDERS,
        offload_part(_DEVICES, _RULES, BORDERS, FORWARDERS),
        ProblemPart(
            id="chains.peers",
            problem=_too_many_of_peers,
            peers=_left_out,
            inputs=frozenset({HostView, LocalEni, SecurityGroup, Identity, PeerIdentity}),
            role=Role.HYPERVISOR,
        ),
        MappingPart(id="chains.mapping", compile=_identity_of, inputs=frozenset({HostView}), role=Role.HYPERVISOR),
        PeerMappingPart(id="chains.peer", compile=_class_of_peers, inputs=frozenset({HostView, Vpc, Peer}), role=Role.HYPERVISOR),
    )
