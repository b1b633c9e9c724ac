"""What Linux refuses of nftables objects as things stand, and what it takes along; for the kernel in memory."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping

from netorch.state.base import OVERLAY, KernelObject, Key
from netorch.state.nft import VPC_TABLE, NftChain, NftElement, NftMap, NftTable, PortChain

NFT: tuple[type[KernelObject], ...] = (NftTable, NftMap, NftChain, NftElement, PortChain)

Objects = Mapping[Key, KernelObject]


def check_birth(obj: KernelObject, objects: Objects) -> None:
    """Raise OSError when the object cannot be made, or changed into this."""
    found = objects.get(obj.key)
    match obj:
        case NftMap():
            _need(VPC_TABLE in objects)
            if isinstance(found, NftMap) and found.spec != obj.spec:
                raise OSError(errno.EEXIST, f"its type is {found.spec}")
        case NftChain():
            own = {held.name for held in obj.sets}
            chains, holders = _referred(obj.rules)
            _need(VPC_TABLE in objects and all(_has(objects, "chain", name) for name in chains))
            _need(all(_has(objects, "(?:set|map)", name) for name in holders - own))
        case NftElement():
            table = objects.get(("nft-table", obj.netns, obj.family))
            held = _in_text(table, "(?:set|map)", obj.set) or isinstance(objects.get(("nft-set", obj.netns, obj.set)), NftMap)
            _need(held and all(_has(objects, "chain", name) for name in _referred([obj.value])[0]))
        case _:
            pass


def check_death(obj: KernelObject, objects: Objects) -> None:
    """Raise OSError when something that stands leads to the object."""
    place = {NftChain: 0, NftMap: 1}.get(type(obj))
    if place is None:
        return
    name = str(obj.key[2])
    for other in objects.values():
        rules = other.rules if isinstance(other, NftChain) else [other.value] if isinstance(other, NftElement) else ()
        if other.key != obj.key and name in _referred(rules)[place]:
            raise OSError(errno.EBUSY, f"{other.key[-1]} leads there")


def is_in_table(obj: KernelObject, table: NftTable) -> bool:
    """Return whether a chain of a port, whose parent is the port, goes with this table."""
    return isinstance(obj, PortChain) and (obj.netns, "netdev") == (table.netns, table.family)


def _referred(rules: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the chains that rules lead to, and the sets and maps that they look into."""
    chains: set[str] = set()
    holders: set[str] = set()
    for rule in rules:
        chains |= set(re.findall(r"\b(?:goto|jump) (\S+)", rule))
        holders |= set(re.findall(r"@(?!th,)(\S+)", rule))
    return chains, holders


def _has(objects: Objects, kind: str, name: str) -> bool:
    own = objects.get(("nft-rules" if kind == "chain" else "nft-set", OVERLAY, name))
    return own is not None or _in_text(objects.get(VPC_TABLE), kind, name)


def _in_text(table: KernelObject | None, kind: str, name: str) -> bool:
    return isinstance(table, NftTable) and re.search(rf"\b{kind} {re.escape(name)} ", table.body) is not None


def _need(there: bool) -> None:
    if not there:
        raise OSError(errno.ENOENT, "")
