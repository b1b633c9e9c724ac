"""The borders of subnets: network ACLs, evaluated before the groups' rules.

  from a port   border-<vni>-<subnet>-<identity>-egress     -> acl-<vni>-<acl>-egress, unless to the own subnet
                                                            -> egress-<vni>-<identity>
  to a port     border-<vni>-<subnet>-<identity>-ingress    -> acl-<vni>-<acl>-ingress, unless from the own subnet
                                                            -> ingress-<vni>-<identity>

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

from netorch.compiler.base import HostView, LocalEni, Middlebox, VpcPart, VpcView
from netorch.errors import CompileError
from netorch.model.eni import Role
from netorch.model.routing.next_hop import target_hop
from netorch.model.security import Direction, NetworkAcl
from netorch.model.vpc import Subnet, Vpc
from netorch.state.base import KernelObject
from netorch.state.nft import NftChain
from policy.acl import acl_chain, allows_everything
from policy.identities import group_chain_name, identity_number

_FORWARDER: Final = "forwarder"


def border_name(view: VpcView, item: LocalEni, direction: Direction) -> str:
    """Return the name of the chain that a port's packets in one direction enter."""
    end = _FORWARDER if _forwards(item, direction) else direction.value
    return f"border-{view.vni:06x}-{item.subnet.id[-11:]}-{identity_number(item.eni.groups):08x}-{end}"


def _forwards(item: LocalEni, direction: Direction) -> bool:
    return direction is Direction.EGRESS and not item.eni.source_dest_check


def _borders(view: VpcView) -> Iterator[KernelObject]:
    """Yield the chains of ports, and of the ACLs of their subnets. Raises CompileError."""
    for direction in Direction:
        for item in _apart(item for item in view.local if not _forwards(item, direction)):
            acl = acl_of(view, item.subnet)
            yield from _acl_chain(acl, direction)
            yield _border(view, item, direction, _crossing(view, item.subnet, acl, direction))


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
        rules = [*_crossing(view, item.subnet, own, direction), *_for_others(view, item.subnet, acls)]
        yield _border(view, item, direction, rules)


def _apart(items: Iterable[LocalEni]) -> list[LocalEni]:
    """Return one port of each group of ports that share their chains."""
    return [item for _, item in sorted({(item.subnet.id, item.eni.groups): item for item in items}.items())]


def _crossing(view: VpcView, subnet: Subnet, acl: NetworkAcl, direction: Direction) -> list[str]:
    """Return the rules that send packets across a subnet's border to its ACL."""
    if allows_everything(acl, direction):
        return []
    far, name = "daddr" if direction is Direction.EGRESS else "saddr", _acl_name(acl, direction)
    rules = [f"ip {far} != {subnet.cidr} jump {name}"]
    if view.dual_stack:
        inside = subnet.ipv6_cidr
        rules.append(f"ip6 {far} != {inside} jump {name}" if inside else f"meta nfproto ipv6 jump {name}")
    return rules


def _for_others(view: VpcView, own: Subnet, acls: dict[str, NetworkAcl]) -> Iterator[str]:
    """Yield the rules that send packets from another subnet's addresses into that subnet to its ACL."""
    for subnet in view.of(Subnet):
        if subnet.id == own.id or allows_everything(acls[subnet.id], Direction.INGRESS):
            continue
        name = _acl_name(acls[subnet.id], Direction.INGRESS)
        boxes = [box.eni.id for box in view.of(Middlebox) if box.eni.subnet == subnet.id]
        ranges = [(4, "ip", subnet.cidr)]
        if view.dual_stack and subnet.ipv6_cidr:
            ranges.append((6, "ip6", subnet.ipv6_cidr))
        for version, word, cidr in ranges:
            yield f"{word} saddr {cidr} {word} daddr {cidr} jump {name}"
            for eni_id in boxes:
                yield f"{word} saddr {cidr} rt {word} nexthop {target_hop(eni_id, version)} jump {name}"


def _border(view: VpcView, item: LocalEni, direction: Direction, rules: Iterable[str]) -> NftChain:
    last = f"goto {group_chain_name(view.vni, item.eni.groups, direction)}"
    return NftChain(vni=view.vni, name=border_name(view, item, direction), rules=(*rules, last))


def _acl_chain(acl: NetworkAcl, direction: Direction) -> Iterator[NftChain]:
    if not allows_everything(acl, direction):
        yield acl_chain(_acl_name(acl, direction), acl, direction)


def acl_of(view: VpcView, subnet: Subnet) -> NetworkAcl:
    """Return the ACL of a subnet. Raises CompileError when its record is missing."""
    for acl in view.of(NetworkAcl):
        if acl.id == subnet.acl or (not subnet.acl and acl.is_default):
            return acl
    wanted = subnet.acl or "the default one"
    raise CompileError(f"subnet {subnet.name} ({subnet.id}): its network ACL, {wanted}, is not there; associate one that is")


def _acl_name(acl: NetworkAcl, direction: Direction) -> str:
    return f"acl-{acl.vni:06x}-{acl.id[-11:]}-{direction.value}"


BORDERS: Final = VpcPart(
    id="chains.borders", compile=_borders, inputs=frozenset({HostView, Vpc, LocalEni, NetworkAcl}), role=Role.HYPERVISOR
)
FORWARDERS: Final = VpcPart(
    id="chains.forwarders",
    compile=_forwarders,
    inputs=frozenset({HostView, Vpc, LocalEni, Subnet, NetworkAcl, Middlebox}),
    role=Role.HYPERVISOR,
)
