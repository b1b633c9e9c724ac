"""Operations in words, as an operator would type them; for error texts and plans."""

from __future__ import annotations

from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Neighbour, Route, Rule
from netorch.state.link import AdminUp, Gro, HalfMade, Link, Settings, Sysctl, TapPort, VethPort, Vrf, Vxlan
from netorch.state.nft import NftChain, NftElement, NftMap, NftTable, PortChain
from netorch.state.op import Create, Delete, Op


def describe(op: Op) -> str:
    """Return e.g. `create route 10.0.0.5/32 table 5000 via 192.0.2.12 dev vx5000`."""
    verb = "create" if isinstance(op, Create) else "delete" if isinstance(op, Delete) else "replace"
    return f"{verb} {describe_object(op.obj)}"


def describe_object(obj: KernelObject) -> str:
    """Return the object in the words of ip(8), bridge(8), sysctl(8) or nft(8)."""
    match obj:
        case Link():
            return _link(obj)
        case AdminUp():
            return f"up state of {obj.ifname}"
        case Gro():
            return f"gro {'on' if obj.on else 'off'} of {obj.ifname}"
        case Settings():
            return f"settings of {obj.ifname}"
        case Sysctl():
            return f"sysctl {obj.path}={obj.value}"
        case Route():
            via = f" via {obj.via}" if obj.via else ""
            metric = f" metric {obj.metric}" if obj.metric else ""
            target = f"route {obj.dst}" if obj.ifname else f"unreachable route {obj.dst}"
            return f"{target} table {obj.table}{via}" + (f" dev {obj.ifname}" if obj.ifname else "") + metric
        case Neighbour():
            return f"neighbour {obj.dst} lladdr {obj.lladdr} dev {obj.ifname}"
        case Fdb():
            return f"fdb entry {obj.lladdr} dev {obj.ifname} dst {obj.dst}"
        case Address():
            return f"address {obj.address} dev {obj.ifname}"
        case Rule():
            return f"IPv{obj.version} rule pref {obj.priority} lookup {obj.table or '[l3mdev-table]'}"
        case NftTable():
            return f"nft table {obj.family} netorch ({obj.scope.value})"
        case PortChain():
            return f"nft chain netdev netorch {obj.ifname}"
        case NftMap():
            return f"nft {'map' if ' : ' in obj.spec else 'set'} inet netorch {obj.name}"
        case NftChain():
            return f"nft chain inet netorch {obj.name}"
        case NftElement():
            value = f" : {obj.value}" if obj.value else ""
            return f"nft element {obj.family} netorch {obj.set} {{ {' . '.join(obj.items)}{value} }} ({obj.scope.value})"
        case _:
            return " ".join(str(part) for part in obj.key)


def _link(link: Link) -> str:
    match link:
        case Vrf():
            return f"link {link.ifname} type vrf table {link.table}"
        case Vxlan():
            return f"link {link.ifname} type vxlan id {link.vni} local {link.local} master {link.vrf}"
        case VethPort():
            where = f" peer {link.inside.ifname} netns {link.netns}" if link.netns else ""
            return f"link {link.ifname} type veth master {link.vrf}{where}"
        case TapPort():
            return f"link {link.ifname} type tap master {link.vrf}"
        case HalfMade():
            return f"half made link {link.ifname}"
        case _:
            return f"link {link.ifname}"
