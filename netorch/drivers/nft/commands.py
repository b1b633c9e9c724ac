"""Operations on the contents of netorch's tables as steps, steps as nft text, and which operations only change elements.

Steps are sent as hand-packed messages (nft.wire.encode), or as text if one of them is of a kind that is not packed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Final, NamedTuple

from netorch.drivers.nft import chains
from netorch.state.base import KernelObject
from netorch.state.nft import (
    FLOWTABLE_SPEC,
    VPC_TABLE,
    ChainSet,
    Flowtable,
    FlowtableDevice,
    NftChain,
    NftElement,
    NftMap,
    PortChain,
)
from netorch.state.op import Create, Delete, Op, Replace
from netorch.state.owner import NFT_TABLE

FAMILY: Final = str(VPC_TABLE[2])
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SPEC: Final = re.compile(r"[a-z0-9_]+( [a-z0-9_.:,@]+)*(; [a-z0-9_]+( [a-z0-9_.:,@]+)*)*")
_RULE: Final = re.compile(r"[A-Za-z0-9_.:@!=/,|&-]+( [A-Za-z0-9_.:@!=/,|&-]+)*")
_KEY: Final = re.compile(r"[A-Za-z0-9_.:/-]+( \. [A-Za-z0-9_.:/-]+)*")
_VALUE: Final = re.compile(r"[A-Za-z0-9_.:-]+( [A-Za-z0-9_.-]+)?")


class ElementChange(NamedTuple):
    """One element to add or delete."""

    add: bool
    family: str
    set: str
    spec: str  # of the set, if the operation has it
    key: str  # e.g. "6 . 80-443 . 10.0.0.0/8"
    value: str  # e.g. "goto egress-001388-0000beef"; empty in a set


class Step(NamedTuple):
    """A change of a whole chain, set, map or flowtable, of a flowtable's device, or a rule to append to a chain."""

    verb: str  # add, create (fails if it exists), flush, delete
    kind: str  # chain, rule, set, map, flowtable, device
    family: str
    name: str  # of the chain, set, map or flowtable
    # The words of a rule, the spec of a set, map or flowtable, the device of a chain at an ingress or of a flowtable.
    text: str = ""


Steps = list[Step | ElementChange]


def of_elements(op: Op) -> bool:
    """Return whether an operation only changes elements; a change of a chain must only add or only delete them."""
    match op:
        case Replace(NftChain() as old, NftChain() as new):
            alike = old.rules == new.rules and _same_sets(old, new)
            return alike and not (any(_changes(old, new, add=False)) and any(_changes(old, new, add=True)))
        case _:
            return isinstance(op.obj, NftElement)


def element_changes(op: Op) -> list[ElementChange]:
    """Return the element changes of an operation that is `of_elements`."""
    match op:
        case Replace(NftElement() as old, NftElement() as new):
            return [_of_element(old, add=False), _of_element(new, add=True)]
        case Create(NftElement() as new):
            return [_of_element(new, add=True)]
        case Delete(NftElement() as old):
            return [_of_element(old, add=False)]
        case Replace(NftChain() as was, NftChain() as wanted):
            return [*_changes(was, wanted, add=False), *_changes(was, wanted, add=True)]
        case _:
            raise TypeError(f"nft: not about elements: {op}")


def preparations(ops: Iterable[Op], *, create: bool = True) -> Steps:
    """Return the steps that create and fill the sets of chains. Commit them before `steps`, whose rules read the sets.

    Args:
      create: Create the sets with their elements, and nothing else. Otherwise create missing ones, and flush all first: an
        agent that stopped between two transactions may have left some. Linux searches all sets of the table for each
        message, so flushing costs a third more.
    """
    return list(chain.from_iterable(_preparation(op, "create" if create else "add") for op in ops))


def withdrawal(op: Op) -> Steps:
    """Return the steps that delete the sets prepared for an operation whose own steps were refused."""
    return list(_delete_sets(op.obj.sets)) if isinstance(op, Create | Replace) and isinstance(op.obj, NftChain) else []


def steps(ops: Iterable[Op]) -> Steps:
    """Return the steps of operations in order.

    Elements of a chain's set are never deleted one by one: libnftables 1.0.6 looks up marks in the wrong byte order there.
    """
    return list(chain.from_iterable(map(_steps, ops)))


def as_text(found: Iterable[Step | ElementChange]) -> str:
    """Return steps as nft commands; consecutive elements of one set share a command."""
    return "".join(
        "".join(map(_command, group)) if not verb else f"{verb} {{ {', '.join(map(_element, group))} }}\n"  # type: ignore[arg-type]
        for verb, group in groupby(found, key=_verb)
    )


def is_deletable(obj: KernelObject) -> bool:
    """Return whether an object's names are valid, whatever it contains: an operator may have put anything into a chain."""
    match obj:
        case PortChain():
            return bool(_NAME.fullmatch(obj.ifname))
        case NftMap() | Flowtable():
            return bool(_NAME.fullmatch(obj.name))
        case FlowtableDevice():
            return bool(_NAME.fullmatch(obj.flowtable) and _NAME.fullmatch(obj.ifname))
        case NftChain():
            return all(map(_NAME.fullmatch, (obj.name, *(held.name for held in obj.sets))))
        case _:
            return is_words(obj)


def is_words(obj: KernelObject) -> bool:
    """Return whether an object consists only of valid words, so that no text from a customer can become syntax."""
    match obj:
        case PortChain():
            return bool(_NAME.fullmatch(obj.ifname)) and all(map(_RULE.fullmatch, obj.rules))
        case NftMap():
            return bool(_NAME.fullmatch(obj.name) and _SPEC.fullmatch(obj.spec))
        case Flowtable():
            return bool(_NAME.fullmatch(obj.name)) and obj.spec == FLOWTABLE_SPEC
        case FlowtableDevice():
            return is_deletable(obj) and bool(obj.guard) and all(map(_RULE.fullmatch, obj.guard))
        case NftChain():
            own = all(obj.family == FAMILY and held.name.startswith(f"{obj.name}.") and _is_set(held) for held in obj.sets)
            return own and bool(_NAME.fullmatch(obj.name)) and all(map(_RULE.fullmatch, obj.rules))
        case NftElement():
            key = _NAME.fullmatch(obj.set) and _KEY.fullmatch(" . ".join(obj.items))
            return bool(key) and (not obj.value or bool(_VALUE.fullmatch(obj.value)))
        case _:
            return False


def _steps(op: Op) -> Iterator[Step | ElementChange]:
    match op:
        case Create(NftElement()) | Replace(NftElement()) | Delete(NftElement()):
            yield from element_changes(op)
        case Delete(PortChain() as port):
            yield from _delete_base(chains.FAMILY, port.ifname)
        case Create(PortChain() as port):
            yield from _make_port(port)
        case Replace(PortChain() as old_port, PortChain() as port):
            # In place: a deleted chain stays hooked a little longer than its rules. A chain read without rules may be at
            # another hook.
            yield from () if old_port.rules else _delete_base(chains.FAMILY, old_port.ifname)
            yield from _make_port(port)
        case Create(NftMap() as held):
            yield Step("add", _kind(held), FAMILY, held.name, held.spec)
        case Delete(NftMap() as held):
            yield Step("delete", _kind(held), FAMILY, held.name)
        case Create(Flowtable() as table):
            yield Step("add", "flowtable", FAMILY, table.name, table.spec)
        case Delete(Flowtable() as table):
            yield Step("delete", "flowtable", FAMILY, table.name)
        case Create(FlowtableDevice() as member):
            guard = chains.guard_name(member.ifname)
            yield from _chain(FAMILY, guard, member.guard, device=member.ifname) if member.guard else ()  # it has kept its own
            yield Step("add", "device", FAMILY, member.flowtable, member.ifname)
        case Delete(FlowtableDevice() as member):
            yield Step("delete", "device", FAMILY, member.flowtable, member.ifname)
            yield from _delete_base(FAMILY, chains.guard_name(member.ifname)) if member.guard else ()
        case Create(NftChain() as new):
            yield from _chain(new.family, new.name, new.rules)
        case Replace(NftChain() as old, NftChain() as new):
            yield from _chain(new.family, new.name, new.rules)
            yield from _delete_sets(_apart(old, new))
        case Delete(NftChain() as old):
            yield from _chain(old.family, old.name, ())
            yield Step("delete", "chain", old.family, old.name)
            yield from _delete_sets(old.sets)
        case _:
            raise TypeError(f"nft: no command for {op}")


def _chain(family: str, name: str, rules: Iterable[str], device: str = "") -> Iterator[Step]:
    """Yield the steps that create a chain, or replace an existing chain's rules."""
    yield Step("add", "chain", family, name, device)
    yield Step("flush", "chain", family, name)
    yield from (Step("add", "rule", family, name, rule) for rule in rules)


def _make_port(port: PortChain) -> Iterator[Step]:
    return _chain(chains.FAMILY, port.ifname, port.rules, device=port.ifname)


def _delete_base(family: str, name: str) -> Iterator[Step]:
    yield Step("flush", "chain", family, name)
    yield Step("delete", "chain", family, name)


def _preparation(op: Op, verb: str) -> Iterator[Step | ElementChange]:
    match op:
        case Replace(NftChain() as old, NftChain() as new):
            # A set with a new name that exists already was left by an agent that stopped between the two transactions.
            left = [held for held in old.sets if held not in _apart(old, new)]
            yield from _delete_sets(left)
            yield from _make_sets(new, verb)
        case Create(NftChain() as new):
            yield from _make_sets(new, verb)
        case _:
            pass


def _make_sets(new: NftChain, verb: str) -> Iterator[Step | ElementChange]:
    for held in new.sets:
        yield Step(verb, "set", FAMILY, held.name, held.spec)
        if verb == "add":
            yield Step("flush", "set", FAMILY, held.name)
        yield from (ElementChange(True, FAMILY, held.name, held.spec, key, "") for key in held.elements)


def _apart(old: NftChain, new: NftChain) -> list[ChainSet]:
    """Return the sets of the old chain whose names the new one does not use."""
    used = {held.name for held in new.sets}
    return [held for held in old.sets if held.name not in used]


def _delete_sets(sets: Iterable[ChainSet]) -> Iterator[Step]:
    return (Step("delete", "set", FAMILY, held.name) for held in sets)


def _command(step: Step) -> str:
    """Return a step as one command."""
    if step.kind == "device":  # nft wants the hook again
        body = f"{FLOWTABLE_SPEC}; devices = {{ {step.text} }};"
        return f"{step.verb} flowtable {step.family} {NFT_TABLE} {step.name} {{ {body} }}\n"
    name = f"{step.verb} {step.kind} {step.family} {NFT_TABLE} {step.name}"
    if not step.text:
        return f"{name}\n"
    if step.kind == "rule":
        return f"{name} {step.text}\n"
    body = chains.hook(f'"{step.text}"', step.family) if step.kind == "chain" else f"{step.text};"
    return f"{name} {{ {body} }}\n"


def _verb(step: Step | ElementChange) -> str:
    """Return the shared start of commands on elements, e.g. `add element inet netorch zone`; empty for a Step."""
    if isinstance(step, Step):
        return ""
    return f"{'add' if step.add else 'delete'} element {step.family} {NFT_TABLE} {step.set}"


def _element(change: ElementChange) -> str:
    return f"{change.key} : {change.value}" if change.add and change.value else change.key


def _kind(held: NftMap) -> str:
    return "map" if " : " in held.spec else "set"


def _of_element(element: NftElement, *, add: bool) -> ElementChange:
    return ElementChange(add, element.family, element.set, "", " . ".join(element.items), element.value)


def _changes(old: NftChain, new: NftChain, *, add: bool) -> Iterator[ElementChange]:
    """Yield the elements to add to, or delete from, sets that differ only in elements."""
    for before, after in zip(old.sets, new.sets, strict=True):
        kept, told = (before, after) if add else (after, before)
        known = set(kept.elements)
        yield from (ElementChange(add, FAMILY, told.name, told.spec, key, "") for key in told.elements if key not in known)


def _same_sets(old: NftChain, new: NftChain) -> bool:
    return [(held.name, held.spec) for held in old.sets] == [(held.name, held.spec) for held in new.sets]


def _is_set(held: ChainSet) -> bool:
    return bool(_NAME.fullmatch(held.name) and _SPEC.fullmatch(held.spec)) and all(map(_KEY.fullmatch, held.elements))
