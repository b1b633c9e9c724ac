"""The grouping of operations on table contents into transactions.

A change of a VPC's rules is atomic for packets: one transaction. A change of only its members' identities takes three: first
chains learn the new identities, then the members change, then chains forget the old identities (bridge.py). A packet may be
in the middle of a chain at each of these moments; what it has already matched stays in place until the packet has left.

Chains and sets that nothing refers to yet, or no longer, have their own transactions. So do the chains of ports, which check
other things. The rest is often elements only, whose cost is their number. A VPC's larger change does not make other VPCs'
changes more expensive.
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

MOST: Final = 5000  # operations in a transaction: about 300 kB of text

_MAKING_ROOM, _NEW, _PORTS, _WIDER, _ELEMENTS, _CHANGES, _NARROWER, _OLD = range(8)


class Transaction(NamedTuple):
    """Operations that take effect at once."""

    ops: list[Op]
    waits: bool = False  # first wait until no packet in flight has seen the state before the previous transaction


def transactions(ops: Sequence[Op]) -> Iterator[Transaction]:
    """Yield operations, none of them on tables, by transaction. A VPC's operations are split only if there are too many."""
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
    """Yield one VPC's changes with their stages."""
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
    """Return a VPC's changed chains with their intermediate states while members change; None if its rules change as well."""
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
    """Return whether operations can be applied by adding and deleting elements only.

    They cannot if a VPC's chain gains elements while others, of that chain or of a class, are deleted: packets on other CPUs
    would see the deletion before the addition (nft.swap).
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
    """Yield the operations, sorted by VPC, in batches as large as a transaction may be."""
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
