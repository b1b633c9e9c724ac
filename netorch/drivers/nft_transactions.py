"""Which operations on what stands in our tables come into force at once.

All that packets notice of a VPC's change is one transaction: a class that gets other members or peers is a change of chains' sets
and of elements, and a packet between the two would meet neither the old rules nor the new ones.

Apart are chains and sets that nothing leads to yet, or no longer, and the chains of ports, which judge other things. What is left
is often elements alone, which cost what they count; one VPC's change of more than that makes no other VPC's dearer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from netorch.drivers.nft_commands import of_elements
from netorch.state.nft import PortChain
from netorch.state.op import Create, Delete, Op, Replace

MOST: Final = 5000  # operations in a transaction: some 300 kB of text

_MAKING_ROOM, _NEW, _PORTS, _ELEMENTS, _CHANGES, _OLD = range(6)


def transactions(ops: Sequence[Op]) -> Iterator[list[Op]]:
    """Yield the operations, none of which is about tables, by transaction. A VPC's are divided only where they are too many."""
    made = {op.obj.key for op in ops if isinstance(op, Create)}
    reshaped = {op.obj.slice_id for op in ops if _reshapes(op)}

    def stage(op: Op) -> int:
        if isinstance(op.obj, PortChain):
            return _PORTS
        if of_elements(op) or isinstance(op, Replace):
            return _CHANGES if op.obj.slice_id in reshaped else _ELEMENTS
        if isinstance(op, Delete):
            return _MAKING_ROOM if op.obj.key in made else _OLD
        return _NEW

    for _, staged in groupby(sorted(ops, key=lambda op: (stage(op), op.obj.slice_id)), key=stage):
        yield from _divided(list(staged))


def _reshapes(op: Op) -> bool:
    return isinstance(op, Replace) and not isinstance(op.obj, PortChain) and not of_elements(op)


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
