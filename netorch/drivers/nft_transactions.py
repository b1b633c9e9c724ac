"""Which operations on what stands in our tables come into force at once.

All that packets notice of a VPC's change is one transaction: a class that gets other members or peers is a change of chains' sets
and of elements, and a packet between the two would meet neither the old rules nor the new ones.

Apart are chains and sets that nothing leads to yet, or no longer, and the chains of ports, which judge other things. What is left
is often elements alone, which cost what they count; one VPC's change of more than that makes no other VPC's dearer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from netorch.drivers.nft_commands import element_changes, of_elements
from netorch.state.nft import NftChain, PortChain
from netorch.state.op import Create, Delete, Op, Replace

MOST: Final = 5000  # operations in a transaction: some 300 kB of text

_MAKING_ROOM, _NEW, _PORTS, _ELEMENTS, _CHANGES, _OLD = range(6)


def transactions(ops: Sequence[Op]) -> Iterator[list[Op]]:
    """Yield the operations, none of which is about tables, by transaction. A VPC's are divided only where they are too many."""
    made = {op.obj.key for op in ops if isinstance(op, Create)}
    changing = sorted((op for op in ops if _changes(op)), key=lambda op: op.obj.slice_id)
    reshaped = {vni for vni, own in groupby(changing, key=lambda op: op.obj.slice_id) if not only_elements(own)}

    def stage(op: Op) -> int:
        if isinstance(op.obj, PortChain):
            return _PORTS
        if _changes(op):
            return _CHANGES if op.obj.slice_id in reshaped else _ELEMENTS
        if isinstance(op, Delete):
            return _MAKING_ROOM if op.obj.key in made else _OLD
        return _NEW

    for _, staged in groupby(sorted(ops, key=lambda op: (stage(op), op.obj.slice_id)), key=stage):
        yield from _divided(list(staged))


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
            (gaining if any(change.add for change in element_changes(op)) else losing).add(op.obj.slice_id)
        elif not isinstance(op, Create):
            losing.add(op.obj.slice_id)
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
    for _, of_vpc in groupby(ops, key=lambda op: op.obj.slice_id):
        own = list(of_vpc)
        if together and len(together) + len(own) > MOST:
            yield together
            together = []
        together += own
        while len(together) > MOST:
            yield together[:MOST]
            together = together[MOST:]
    yield together
