"""Kernel objects and operations as text, one a line, in the words of ip(8), bridge(8) and nft(8): for dry runs and golden files.

+ route 10.44.12.4/32 via 192.0.2.12 dev vx5000
~ route 10.44.12.4/32 via 192.0.2.13 dev vx5000 (was: via 192.0.2.12)
- neigh 192.0.2.12 lladdr 02:4e:c0:00:02:0c dev vx5000
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netorch.state.base import KernelObject, Key
from netorch.state.foreign import Foreign
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Neighbour, Route, Rule
from netorch.state.link import AdminUp, Gro, HalfMade, Inside, Settings, Sysctl, TapPort, VethPort, Vrf, Vxlan
from netorch.state.nft import NftChain, NftElement, NftMap, NftTable, PortChain
from netorch.state.op import Create, Delete, Op, Replace


def explain(ops: Iterable[Op]) -> str:
    """Return the operations in their order, one a line; nothing for none."""
    return "".join(f"{op_text(op)}\n" for op in ops)


def explain_state(objects: Mapping[Key, KernelObject]) -> str:
    """Return the objects in the order of their birth, one a line, by slice."""
    ordered = sorted(objects.values(), key=lambda obj: (obj.slice_id, obj.rank, obj.key))
    return "".join(f"{object_text(obj)}\n" for obj in ordered)


def op_text(op: Op) -> str:
    """Return one operation: + for making, ~ for changing in place, - for removing."""
    match op:
        case Create(obj):
            return f"+ {object_text(obj)}"
        case Delete(obj):
            return f"- {object_text(obj)}"
        case Replace(old, obj):
            return f"~ {object_text(obj)} ({_difference(object_text(old), object_text(obj))})"


def object_text(obj: KernelObject) -> str:
    """Return one object. Raises TypeError for a kind that has no text yet."""
    match obj:
        case Rule():
            table = {0: "[l3mdev-table]", 255: "local"}.get(obj.table, str(obj.table))
            return f"rule {_ip(obj.version)}pref {obj.priority} lookup {table}"
        case Sysctl():
            return f"sysctl net.{obj.path.replace('/', '.')} = {obj.value}"
        case Vrf() | Vxlan() | VethPort() | TapPort() | HalfMade():
            return _link_text(obj)
        case AdminUp():
            return f"link {obj.ifname} up"
        case Gro():
            return f"link {obj.ifname} gro {'on' if obj.on else 'off'}"
        case Settings():
            return " ".join([f"settings of {obj.ifname}:", *(f"{each.setting} {each.found}," for each in obj.deviations)])
        case Foreign():
            return f"foreign {obj.text}"
        case Address():
            return f"address {obj.address} dev {obj.ifname}"
        case Route():
            return _route_text(obj)
        case Neighbour():
            return f"neigh {obj.dst} lladdr {obj.lladdr} dev {obj.ifname}"
        case Fdb():
            return f"fdb {obj.lladdr} dst {obj.dst}{f' {obj.strange}' if obj.strange else ''} dev {obj.ifname}"
        case NftTable():
            return f"nft table {obj.family} netorch in {obj.scope.value} ({len(obj.text.splitlines())} lines)"
        case PortChain():
            return f"nft chain netdev {obj.ifname} {{ {'; '.join(obj.rules)} }}"
        case NftMap():
            return f"nft {'map' if ' : ' in obj.spec else 'set'} inet {obj.name} {{ {obj.spec} }}"
        case NftChain():
            sets = "".join(f" @{held.name} {{ {', '.join(held.elements)} }}" for held in obj.sets)
            return f"nft chain inet {obj.name} {{ {'; '.join(obj.rules)} }}{sets}"
        case NftElement():
            value = f" : {obj.value}" if obj.value else ""
            return f"nft element {obj.family} {obj.set} {{ {' . '.join(obj.items)}{value} }} in {obj.scope.value}"
        case _:
            raise TypeError(f"explain: {type(obj).__name__} has no text; add it to object_text")


def _link_text(obj: Vrf | Vxlan | VethPort | TapPort | HalfMade) -> str:
    match obj:
        case Vrf():
            return f"link {obj.ifname} type vrf table {obj.table}"
        case Vxlan():
            common = f"address {obj.lladdr} mtu {obj.mtu} group {obj.group:#x} master {obj.vrf or 'none'}"
            return f"link {obj.ifname} type vxlan id {obj.vni} local {obj.local} {common}"
        case VethPort():
            common = f"address {obj.lladdr} mtu {obj.mtu} master {obj.vrf or 'none'}"
            return f"link {obj.ifname} type veth {common} netns {obj.netns} {_inside_text(obj.inside)}"
        case TapPort():
            return f"link {obj.ifname} type tap address {obj.lladdr} mtu {obj.mtu} master {obj.vrf or 'none'}"
        case HalfMade():
            return f"link {obj.ifname} half made"


def _inside_text(inside: Inside) -> str:
    words = [f"peer {inside.ifname} address {inside.lladdr}", *inside.addresses]
    noun = "gateway" if inside.is_primary else "router"
    return " ".join(words + [f"{noun} {gateway}" for gateway in inside.gateways])


def _route_text(route: Route) -> str:
    metric = f" metric {route.metric}" if route.metric else ""
    if not route.ifname:
        return f"route unreachable {route.dst} table {route.table}{metric}"
    via = f" via {route.via}" if route.via else ""
    mtu = f" mtu lock {route.mtu}" if route.mtu else ""
    return f"route {route.dst}{via} dev {route.ifname}{metric}{mtu}"


def _ip(version: int) -> str:
    return "-6 " if version == 6 else ""


def _difference(old: str, new: str) -> str:
    """Return `was: ` and the old words, without those that both texts begin or end with, but for one that introduces them."""
    if old == new:
        return "changed inside"
    before, after = old.split(), new.split()
    while before and after and before[-1] == after[-1]:
        before.pop()
        after.pop()
    same = next(
        (i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), min(len(before), len(after))
    )
    return "was: " + " ".join(before[max(same - 1, 0) :])
