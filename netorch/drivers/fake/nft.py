"""The nftables operations that Linux would refuse in the present state, and what a table's deletion takes along."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from netorch.drivers.base import KernelEvent, Lost
from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.drivers.nft.loads import fitting
from netorch.state.base import KernelObject, Key
from netorch.state.nft import (
    NFT_KINDS,
    VPC_TABLE,
    Flowtable,
    FlowtableDevice,
    NftChain,
    NftElement,
    NftMap,
    NftTable,
    PortChain,
    freed_zone,
)
from netorch.state.op import Create, Delete, Op, Reload

Objects = Mapping[Key, KernelObject]


class FakeNft(FakeDriver):
    """The fake of `netorch.drivers.nft`, of one namespace."""

    no_parent = errno.ENOENT

    def __init__(self, host: FakeHost, netns: str, flush_zone: Callable[[int], None]) -> None:
        super().__init__(host, netns, NFT_KINDS)
        self._flush_zone = flush_zone
        self._lost = False

    def carry_out(self, op: Op) -> None:
        """Apply one operation; when a VPC releases its zone, the zone's connections go too."""
        obj, found = op.obj, self.host.objects.get(op.obj.key)
        if obj.is_reloaded and isinstance(op, Reload):
            self._reload(op)
            return
        if isinstance(op, Delete):
            self._check_deletion(obj)
        elif isinstance(op, Create) and isinstance(obj, NftElement) and found not in (None, obj):
            raise OSError(errno.EEXIST, "it maps to something else")
        super().carry_out(op)
        if isinstance(op, Delete):
            if isinstance(found, NftTable):
                self._clear(found.key)
            if zone := freed_zone(obj):
                self._flush_zone(zone)

    def check(self, obj: KernelObject) -> None:
        objects = self.host.objects
        match obj:
            case NftElement():
                table = objects.get(("nft-table", obj.netns, obj.family))
                held = _in_text(table, "(?:set|map)", obj.set) or isinstance(objects.get(("nft-set", obj.netns, obj.set)), NftMap)
                leads_to = _referred([obj.value])[0]
                _need(held and all(_has(objects, table, "chain", name) for name in leads_to))
                return
            case NftMap():
                found = objects.get(obj.key)
                if isinstance(found, NftMap) and found.spec != obj.spec:
                    raise OSError(errno.EEXIST, f"its type is {found.spec}")
            case NftChain():
                table, own = objects.get(("nft-table", obj.netns, obj.family)), {held.name for held in obj.sets}
                chains, holders = _referred(obj.rules)
                _need(all(_has(objects, table, "chain", name) for name in chains))
                known = {name for name in holders if ("nft-flowtable", obj.netns, name) in objects}
                _need(all(_has(objects, table, "(?:set|map)", name) for name in holders - own - known))
            case Flowtable():
                found = objects.get(obj.key)
                if isinstance(found, Flowtable) and found.spec != obj.spec:
                    raise OSError(errno.EOPNOTSUPP, f"its hook is {found.spec}")
            case FlowtableDevice():
                table, leads_to = objects.get(VPC_TABLE), _referred(obj.guard)[0]
                _need(table is not None and all(_has(objects, table, "chain", name) for name in leads_to))
                if obj.needs not in objects:
                    raise OSError(errno.EINVAL, "a new flowtable needs a hook")
                member = objects.get(obj.key)
                if isinstance(member, FlowtableDevice) and member.flowtable != obj.flowtable:
                    raise OSError(errno.EEXIST, "it is in another flowtable")
            case PortChain():
                _need(("nft-table", obj.netns, "netdev") in objects)
            case _:
                pass
        super().check(obj)

    def notifications(self, before: KernelObject | None, after: KernelObject | None) -> list[KernelEvent]:
        """Return Lost: nftables notifications do not describe an object."""
        return [Lost(self.kinds)]

    def _reload(self, op: Reload) -> None:
        """Replace a table with its contents, without those of VPCs of which something does not fit."""
        if not self._load(op):
            self._lost = True
            (rest,) = fitting([op], self._would_load)
            self._load(rest)

    def _load(self, op: Reload) -> bool:
        """Replace a table, and return whether its contents fit; if not, nothing changes."""
        before = dict(self.host.objects)
        self._clear(op.obj.key)
        self.host.objects[op.obj.key] = op.obj
        try:
            for obj in op.contents:
                self.check(obj)
                self.host.objects[obj.key] = obj
        except OSError:
            self._reset(before)
            return False
        return True

    def _would_load(self, loads: Sequence[Reload]) -> bool:
        before = dict(self.host.objects)
        found = all(map(self._load, loads))
        self._reset(before)
        return found

    def _reset(self, objects: Objects) -> None:
        self.host.objects.clear()
        self.host.objects.update(objects)

    def events(self) -> list[KernelEvent]:
        """Return Lost after a table was loaded without some of its contents."""
        lost, self._lost = self._lost, False
        return [Lost(self.kinds)] if lost else []

    def _clear(self, table: Key) -> None:
        for key in [key for key, other in self.host.objects.items() if other.within == table]:
            del self.host.objects[key]

    def _check_deletion(self, obj: KernelObject) -> None:
        """Raise OSError if something refers to the object."""
        place = {NftChain: 0, NftMap: 1, Flowtable: 1}.get(type(obj))
        if place is None:
            return
        name = str(obj.key[2])
        for other in self.host.objects.values():
            rules = other.rules if isinstance(other, NftChain) else [other.value] if isinstance(other, NftElement) else ()
            if other.key != obj.key and name in _referred(rules)[place]:
                raise OSError(errno.EBUSY, f"{other.key[-1]} leads there")


def _referred(rules: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the chains that rules jump to, and the sets and maps that they look up."""
    chains: set[str] = set()
    holders: set[str] = set()
    for rule in rules:
        chains |= set(re.findall(r"\b(?:goto|jump) (\S+)", rule))
        holders |= set(re.findall(r"@(?!th,)(\S+)", rule))
    return chains, holders


def _has(objects: Objects, table: KernelObject | None, kind: str, name: str) -> bool:
    """Return whether a table has a chain, set or map with this name: its own or a VPC's."""
    of_vpc = objects.get(("nft-rules" if kind == "chain" else "nft-set", table.netns, name)) if table is not None else None
    return of_vpc is not None or _in_text(table, kind, name)


def _in_text(table: KernelObject | None, kind: str, name: str) -> bool:
    return isinstance(table, NftTable) and re.search(rf"\b{kind} {re.escape(name)} ", table.body) is not None


def _need(there: bool) -> None:
    if not there:
        raise OSError(errno.ENOENT, "")
