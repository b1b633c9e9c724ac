"""The grouping of operations on table contents into transactions.

A change of a VPC's rules is atomic for packets: one transaction. A change of only its members' identities takes three: first
chains learn the new identities, then the members change, then chains forget the old identities (bridge.py). A packet may be
in the middle of a chain at each of these moments; what it has already matched stays in place until the packet has left.

A chain that adds flows to a flowtable adds none from a change of rules on, until all packets judged by the old rules have left:
such a packet would add a flow to the new flowtable. Devices join flowtables after the chains of ports have changed: a guard
drops what the port's chain has not checked in the way that the guard asks for.

Chains and sets that nothing refers to yet, or no longer, have their own transactions. So do the chains of ports, which check
other things. The rest is often elements only, whose cost is their number. A VPC's larger change does not make other VPCs'
changes more expensive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from msgspec import structs

from netorch.drivers.nft.bridge import bridge
from netorch.drivers.nft.commands import element_changes, of_elements
from netorch.state.base import HOST_SLICE
from netorch.state.names import FLOW, vni_of_chain
from netorch.state.nft import FLOW_ADD, FlowtableDevice, NftChain, NftElement, PortChain
from netorch.state.op import Create, Delete, Op, Replace

MOST: Final = 5000  # operations in a transaction: about 300 kB of text

_MAKING_ROOM, _NEW, _PORTS, _WIDER, _ELEMENTS, _CHANGES, _NARROWER, _FLOWS, _DEVICES, _OLD = range(10)


class Transaction(NamedTuple):
    """Operations that take effect at once."""

    ops: list[Op]
    waits: bool = False  # first wait until no packet in flight has seen the state before the previous transaction


def transactions(ops: Sequence[Op]) -> Iterator[Transaction]:
    """Yield operations, none of them on tables, by transaction. A VPC's operations are split only if there are too many."""
    made = {op.obj.key for op in ops if isinstance(op, Create)}
    staged: list[tuple[int, Op]] = []
    changing: dict[int, list[Op]] = {}
    for op in _pausing(_keeping_guards(ops), staged):
        if isinstance(op.obj, PortChain):
            staged.append((_PORTS, op))
        elif isinstance(op, Replace) and op.old.needs in made and op.obj == op.old.freed:
            staged.append((_MAKING_ROOM, op))  # its flowtable is deleted next
        elif isinstance(op, Create) and isinstance(op.obj, FlowtableDevice):
            staged.append((_DEVICES, op))
        elif _changes(op):
            changing.setdefault(op.obj.vni, []).append(op)
        elif isinstance(op, Delete):
            first = op.obj.key in made or op.obj.goes_first
            staged.append((_MAKING_ROOM if first else _OLD, op))
        else:
            staged.append((_NEW, op))
    for own in changing.values():
        staged += _steps(own)
    staged.sort(key=lambda step: (step[0], step[1].obj.vni))
    has_other_rules = any(stage == _WIDER and not of_elements(op) for stage, op in staged)
    for stage, group in groupby(staged, key=lambda step: step[0]):
        waits = stage in (_NARROWER, _FLOWS, _OLD) or (stage == _ELEMENTS and has_other_rules)
        for together in _divided([op for _, op in group]):
            yield Transaction(together, waits)
            waits = False


def adds_flows(op: Op) -> bool:
    """Return whether the operation lets a paused chain add flows."""
    match op:
        case Replace(NftChain() as old, NftChain() as new) if new.name.startswith(FLOW) and not old.is_blank:
            return any(FLOW_ADD in rule for rule in new.rules) and not any(FLOW_ADD in rule for rule in old.rules)
        case _:
            return False


def _keeping_guards(ops: Sequence[Op]) -> Iterator[Op]:
    """Yield the operations. A device that leaves a flowtable for another keeps its guard: these two are without one."""
    leaving = {op.obj.key: op.obj for op in ops if isinstance(op, Delete) and isinstance(op.obj, FlowtableDevice)}
    guards = {op.obj.key: op.obj.guard for op in ops if isinstance(op, Create) and isinstance(op.obj, FlowtableDevice)}
    kept = {key for key, obj in leaving.items() if guards.get(key) == obj.guard}
    for op in ops:
        match op:
            case Create(FlowtableDevice() as device) if device.key in kept:
                yield Create(structs.replace(device, guard=()))
            case Delete(FlowtableDevice() as device) if device.key in kept:
                yield Delete(structs.replace(device, guard=()))
            case _:
                yield op


def _pausing(ops: Iterable[Op], staged: list[tuple[int, Op]]) -> Iterator[Op]:
    """Yield the operations at once; stage the later ones. A chain that adds flows adds none at first, and then the new ones."""
    for op in ops:
        match op:
            case Create(NftChain() as new) | Replace(NftChain(), NftChain() as new) if new.name.startswith(FLOW):
                between = new.freed
                if between != new:
                    staged.append((_FLOWS, Replace(between, new)))
                if isinstance(op, Create):
                    yield Create(between)
                elif op.old != between:
                    yield Replace(op.old, between)
            case _:
                yield op


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
