"""Which operations on what stands in our tables come into force at once.

Where a VPC's rules change, all that packets notice of it is one transaction. Where only members change to other identities it is
three: chains first know the new identities, then the members change, then chains forget the old identities (bridge.py). A
packet may be on its way through a chain at each of these moments. What it has seen is left as it is until it has gone.

Apart are chains and sets that nothing leads to yet, or no longer, and the chains of ports, which check other things. What is left
is often elements alone, which cost what they count; one VPC's change of more than that makes no other VPC's dearer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from netorch.drivers.nft.bridge import bridge
from netorch.drivers.nft.commands import element_changes, of_elements
from netorch.state.base import HOST_SLICE
from netorch.state.names import vni_of_chain
from netorch.state.nft import NftChain, NftElement, PortChain
from netorch.state.op import Create, Delete, Op, Replace

MOST: Final = 5000  # operations in a transaction: some 300 kB of text

_MAKING_ROOM, _NEW, _PORTS, _WIDER, _ELEMENTS, _CHANGES, _NARROWER, _OLD = range(8)


class Transaction(NamedTuple):
    """Operations that come into force at once."""

    ops: list[Op]
    waits: bool = False  # until no packet is under way any more that has seen what was there before the last one


def transactions(ops: Sequence[Op]) -> Iterator[Transaction]:
    """Yield the operations, none of which is about tables, by transaction. A VPC's are divided only where they are too many."""
    made = {op.obj.key for op in ops if isinstance(op, Create)}
    staged: list[tuple[int, Op]] = []
    changing: dict[int, list[Op]] = {}
    for op in ops:
        if isinstance(op.obj, PortChain):
            staged.append((_PORTS, op))
        elif _changes(op):
            changing.setdefault(op.obj.vni, []).append(op)
        elif isinstance(op, Delete):
            staged.append((_MAKING_ROOM if op.obj.key in made else _OLD, op))
        else:
            staged.append((_NEW, op))
    for own in changing.values():
        staged += _steps(own)
    staged.sort(key=lambda step: (step[0], step[1].obj.vni))
    has_other_rules = any(stage == _WIDER and not of_elements(op) for stage, op in staged)
    for stage, group in groupby(staged, key=lambda step: step[0]):
        waits = stage in (_NARROWER, _OLD) or (stage == _ELEMENTS and has_other_rules)
        for together in _divided([op for _, op in group]):
            yield Transaction(together, waits)
            waits = False


def _steps(own: list[Op]) -> Iterator[tuple[int, Op]]:
    """Yield the changes of one VPC with their stages."""
    bridges = _bridges(own)
    if bridges is None:
        stage = _ELEMENTS if only_elements(own) else _CHANGES
        yield from ((stage, op) for op in own)
        return
    for old, between, new in bridges:
        if between != old:
            yield _WIDER, Replace(old, between)
        if between != new:
            yield _NARROWER, Replace(between, new)
    yield from ((_ELEMENTS, op) for op in own if isinstance(op.obj, NftElement))


def _bridges(own: list[Op]) -> list[tuple[NftChain, NftChain, NftChain]] | None:
    """Return a VPC's changed chains with what they are to be while its members change; None when its rules change, too."""
    found = []
    for op in own:
        match op:
            case Replace(NftChain() as old, NftChain() as new):
                between = bridge(old, new)
                if between is None:
                    return None
                found.append((old, between, new))
            case _:
                pass
    has_members = any(isinstance(op.obj, NftElement) and vni_of_chain(op.obj.set) != HOST_SLICE for op in own)
    return found if has_members else None


def only_elements(ops: Iterable[Op]) -> bool:
    """Return whether operations may be carried out by adding and deleting elements alone.

    They may not where a VPC's chain gains some while others go, of that chain or of a class: packets on other processors would
    see that before they saw the gain (nft_turn).
    """
    gaining: set[int] = set()
    losing: set[int] = set()
    for op in ops:
        if not of_elements(op):
            return False
        if isinstance(op.obj, NftChain):
            (gaining if any(change.add for change in element_changes(op)) else losing).add(op.obj.vni)
        elif not isinstance(op, Create):
            losing.add(op.obj.vni)
    return not gaining & losing


def _changes(op: Op) -> bool:
    match op:
        case Replace(NftChain() as old) if old.is_blank:
            return False
        case _:
            return not isinstance(op.obj, PortChain) and (isinstance(op, Replace) or of_elements(op))


def _divided(ops: list[Op]) -> Iterator[list[Op]]:
    """Yield operations, sorted by VPC, as many at once as a transaction may have."""
    together: list[Op] = []
    for _, of_vpc in groupby(ops, key=lambda op: op.obj.vni):
        own = list(of_vpc)
        if together and len(together) + len(own) > MOST:
            yield together
            together = []
        together += own
        while len(together) > MOST:
            yield together[:MOST]
            together = together[MOST:]
    yield together
