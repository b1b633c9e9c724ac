"""The borders of subnets: network ACLs, evaluated before the groups' rules.

  from a port   border-<vni>-<subnet>-<identity>-egress     -> acl-<vni>-<acl>-egress, unless to the own subnet
                                                            -> answers-<vni>-<subnet>-egress, if its connection is assured
                                                            -> known_egress, if the port tracks the connection
                                                            -> egress-<vni>-<identity>
  to a port     border-<vni>-<subnet>-<identity>-ingress    -> acl-<vni>-<acl>-ingress, unless from the own subnet
                                                            -> answers-<vni>-<subnet>-ingress, if its sender agreed
                                                            -> known_ingress, if the port tracks the connection
                                                            -> ingress-<vni>-<identity>

Only subnets whose connections may be offloaded have `flow-<vni>-known-...` in place of the shared `known_...` (policy.offload).
Where their ACL does not allow everything back, they also have `answers-...`, which looks up whether it allows the answers to a
packet that crosses the border. At the sender's end only the look-up makes a packet agree, by a mark of its own, ANSWERABLE:
another processor may make the connection assured between two rules, and a rule that then finds it assured must not take the
missing look-up for an agreement. So `answers-<vni>-known-egress` leads packets with that mark to `flow-<vni>-known-egress`, and
all others to `known_egress`. At the receiver's end the packet loses the sender's agreement before the look-up.

For packets that a port sends from its own addresses, the addresses show whether they cross a border: the source is in the
sender's subnet, and a subnet's own range is never routed elsewhere. For packets that an interface without source/destination
check sends from other addresses, they do not: a source in the receiver's subnet does not mean that the packet comes from there.
The sender's host knows. So it also evaluates the receiver's ACL, for exactly those packets for which the receiver's host does
not:

  from a port   border-<vni>-<subnet>-<identity>-forwarder  -> as above, and before the groups' rules
  without check     from an address of another subnet S to one of S    -> the ingress ACL of S
                    from an address of S to an appliance in S          -> the ingress ACL of S

The packet's next hop shows that it goes to an appliance (`target_hop`). Only packets of these ports pay for these rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from netorch.compiler.base import HostView, LocalEni, LocalTable, Middlebox, VpcPart, VpcView
from netorch.model.eni import Role
from netorch.model.routing.next_hop import target_hop
from netorch.model.security import Direction, NetworkAcl
from netorch.model.vpc import Subnet, Vpc
from netorch.state.base import KernelObject
from netorch.state.names import acl_name, answered_name, answers_name, border_name
from netorch.state.nft import NftChain
from policy.acl import acl_chain, acl_of, allows_everything, answers_chain
from policy.identities import group_chain_name, identity_number
from policy.offload import ASSURED, agrees, asks, known_chain
from policy.skeleton import AGREED, ANSWERABLE, SLOW

_FORWARDER: Final = "forwarder"
_REFUSE: Final = {Direction.EGRESS: f"meta mark set {SLOW}", Direction.INGRESS: "meta mark set 0x0"}
_AGREE: Final = {Direction.EGRESS: f"meta mark set {ANSWERABLE}", Direction.INGRESS: f"meta mark set {AGREED}"}
# Packets of connections that an end tracks, whoever has opened them. See policy.skeleton for the bits of the mark.
TRACKED: Final = {
    Direction.EGRESS: ("ct direction original ct mark & 0x1 != 0x0", "ct direction reply ct mark & 0x2 != 0x0"),
    Direction.INGRESS: ("ct direction original ct mark & 0x2 != 0x0", "ct direction reply ct mark & 0x1 != 0x0"),
}
_CANDIDATES: Final = {Direction.EGRESS: ASSURED, Direction.INGRESS: f"meta mark {AGREED}"}  # packets that may be offloaded


def border_chain(view: VpcView, item: LocalEni, direction: Direction) -> str:
    """Return the name of the chain that a port's packets in one direction enter."""
    end = _FORWARDER if _forwards(item, direction) else direction.value
    return border_name(view.vni, item.subnet.id, identity_number(item.eni.groups), end)


def _forwards(item: LocalEni, direction: Direction) -> bool:
    return direction is Direction.EGRESS and not item.eni.source_dest_check


def _borders(view: VpcView) -> Iterator[KernelObject]:
    """Yield the chains of ports, and of the ACLs of their subnets. Raises CompileError."""
    for direction in Direction:
        for item in _apart(item for item in view.local if not _forwards(item, direction)):
            acl = acl_of(view, item.subnet)
            yield from _acl_chain(acl, direction)
            rules = _own_acl(view, item.subnet, acl, direction)
            if asks(view, item.subnet, direction):
                answers = _answers(view, item.subnet, acl, direction)
                yield answers
                if direction is Direction.EGRESS:
                    yield _by_answers(view.vni)
                rules.append(f"{_CANDIDATES[direction]} jump {answers.name}")
            yield _border(view, item, direction, rules)


def _forwarders(view: VpcView) -> Iterator[KernelObject]:
    """Yield the same for ports without source/destination check, with the ACLs of all subnets. Raises CompileError."""
    direction = Direction.EGRESS
    items = _apart(item for item in view.local if _forwards(item, direction))
    acls = {subnet.id: acl_of(view, subnet) for subnet in view.of(Subnet)} if items else {}
    for acl in {acl.id: acl for acl in acls.values()}.values():
        yield from _acl_chain(acl, Direction.INGRESS)
    for item in items:
        own = acls[item.subnet.id]
        yield from _acl_chain(own, direction)
        rules = [*_own_acl(view, item.subnet, own, direction), *_for_others(view, item.subnet, acls)]
        yield _border(view, item, direction, rules)


def _apart(items: Iterable[LocalEni]) -> list[LocalEni]:
    """Return one port of each group of ports that share their chains."""
    return [item for _, item in sorted({(item.subnet.id, item.eni.groups): item for item in items}.items())]


def _own_acl(view: VpcView, subnet: Subnet, acl: NetworkAcl, direction: Direction) -> list[str]:
    open_ = allows_everything(acl, direction)
    return [] if open_ else _crossing(view, subnet, direction, f"jump {acl_name(acl.vni, acl.id, direction.value)}")


def _crossing(view: VpcView, subnet: Subnet, direction: Direction, then: str) -> list[str]:
    """Return the rules for packets that cross a subnet's border: what becomes of them is `then`."""
    far = "daddr" if direction is Direction.EGRESS else "saddr"
    rules = [f"ip {far} != {subnet.cidr} {then}"]
    if view.dual_stack:
        inside = subnet.ipv6_cidr
        rules.append(f"{f'ip6 {far} != {inside}' if inside else 'meta nfproto ipv6'} {then}")
    return rules


def _answers(view: VpcView, subnet: Subnet, acl: NetworkAcl, direction: Direction) -> NftChain:
    """Return the chain that notes whether the ACL allows a packet's answers; it asks no ACL about packets within the subnet."""
    sends = direction is Direction.EGRESS
    far, agree = "daddr" if sends else "saddr", _AGREE[direction]
    ranges = [("ip", subnet.cidr), *([("ip6", subnet.ipv6_cidr)] if subnet.ipv6_cidr else [])]
    inside = [f"{word} {far} {cidr} {f'{agree} ' if sends else ''}return" for word, cidr in ranges]
    first = inside if sends else [*inside, _REFUSE[direction]]
    return answers_chain(answers_name(view.vni, subnet.id, direction.value), acl, direction, first, agree)


def _by_answers(vni: int) -> NftChain:
    """Return the chain for packets of tracked connections that leave a subnet with `answers-...`: only answerable ones agree."""
    agrees_by_answers = f"meta mark {ANSWERABLE} meta mark set 0x0 goto {known_chain(vni, Direction.EGRESS)}"
    return NftChain(vni=vni, name=answered_name(vni), rules=(agrees_by_answers, "goto known_egress"))


def _for_others(view: VpcView, own: Subnet, acls: dict[str, NetworkAcl]) -> Iterator[str]:
    """Yield the rules that send packets from another subnet's addresses into that subnet to its ACL."""
    for subnet in view.of(Subnet):
        if subnet.id == own.id or allows_everything(acls[subnet.id], Direction.INGRESS):
            continue
        name = acl_name(view.vni, acls[subnet.id].id, Direction.INGRESS.value)
        boxes = [box.eni.id for box in view.of(Middlebox) if box.eni.subnet == subnet.id]
        ranges = [(4, "ip", subnet.cidr)]
        if view.dual_stack and subnet.ipv6_cidr:
            ranges.append((6, "ip6", subnet.ipv6_cidr))
        for version, word, cidr in ranges:
            yield f"{word} saddr {cidr} {word} daddr {cidr} jump {name}"
            for eni_id in boxes:
                yield f"{word} saddr {cidr} rt {word} nexthop {target_hop(eni_id, version)} jump {name}"


def _border(view: VpcView, item: LocalEni, direction: Direction, rules: Iterable[str]) -> NftChain:
    """Return a chain with these rules, which then lets packets of connections that the end tracks pass. Raises CompileError."""
    sends = direction is Direction.EGRESS
    group = f"goto {group_chain_name(view.vni, item.eni.groups, direction)}"
    first, chain, last = "ct mark 0x0", known_chain(view.vni, direction), [group]
    if _forwards(item, direction) or not agrees(view, item.subnet, direction):
        first, chain, last = f"{first} {_REFUSE[direction]}", f"known_{direction.value}", [f"{_REFUSE[direction]} {group}"]
    elif sends and asks(view, item.subnet, direction):
        # `group` expects the marks of other subnets: 0 for packets that agree, SLOW for others.
        first, chain = f"{first} meta mark 0x0 meta mark set {SLOW}", answered_name(view.vni)
        last = [f"meta mark {ANSWERABLE} meta mark set 0x0 {group}", f"meta mark set {SLOW} {group}"]
    # No `ct state` in the match: a tracked connection without an answer yet, e.g. a stream of datagrams, also outlives its rule.
    # The mark alone excludes first packets and untracked flows.
    known = (f"{first} {group}", *(f"{match} jump {chain}" for match in TRACKED[direction]))
    # Neither SLOW nor ANSWERABLE: the packet passes to an interface of this host.
    passed = ("meta mark & 0xffff != 0x0 return",) if sends else ()
    return NftChain(vni=view.vni, name=border_chain(view, item, direction), rules=(*rules, *known, *passed, *last))


def _acl_chain(acl: NetworkAcl, direction: Direction) -> Iterator[NftChain]:
    if not allows_everything(acl, direction):
        yield acl_chain(acl_name(acl.vni, acl.id, direction.value), acl, direction)


BORDERS: Final = VpcPart(
    id="chains.borders",
    compile=_borders,
    inputs=frozenset({HostView, Vpc, LocalEni, LocalTable, NetworkAcl}),
    role=Role.HYPERVISOR,
)
FORWARDERS: Final = VpcPart(
    id="chains.forwarders",
    compile=_forwarders,
    inputs=frozenset({HostView, Vpc, LocalEni, Subnet, NetworkAcl, Middlebox}),
    role=Role.HYPERVISOR,
)
