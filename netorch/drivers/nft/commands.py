"""Operations on what stands in our tables, as steps, and these as nft's text; and which operations are about elements alone.

Steps are carried out by hand-packed messages (nft.wire.encode), or as text where one is of a kind that is not packed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Final, NamedTuple

from netorch.drivers.nft import chains
from netorch.state.base import KernelObject
from netorch.state.nft import VPC_TABLE, ChainSet, NftChain, NftElement, NftMap, PortChain
from netorch.state.op import Create, Delete, Op, Replace
from netorch.state.owner import NFT_TABLE

FAMILY: Final = str(VPC_TABLE[2])
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SPEC: Final = re.compile(r"[a-z0-9_]+( [a-z0-9_.:,@]+)*(; [a-z0-9_]+( [a-z0-9_.:,@]+)*)*")
_RULE: Final = re.compile(r"[A-Za-z0-9_.:@!=/,|&-]+( [A-Za-z0-9_.:@!=/,|&-]+)*")
_KEY: Final = re.compile(r"[A-Za-z0-9_.:/-]+( \. [A-Za-z0-9_.:/-]+)*")
_VALUE: Final = re.compile(r"[A-Za-z0-9_.:-]+( [A-Za-z0-9_.-]+)?")


class ElementChange(NamedTuple):
    """One element that is to be added or deleted."""

    add: bool
    family: str
    set: str
    spec: str  # of the set, when the operation tells it
    key: str  # e.g. "6 . 80-443 . 10.0.0.0/8"
    value: str  # e.g. "goto egress-001388-0000beef"; nothing in a set


class Step(NamedTuple):
    """What becomes of one chain, set or map as a whole, or a rule at the end of a chain."""

    verb: str  # add, create (it must not be there yet), flush, delete
    kind: str  # chain, rule, set, map
    family: str
    name: str  # of the chain, set or map
    text: str = ""  # the words of a rule, the spec of a set or map, the device of a port's chain


Steps = list[Step | ElementChange]


def of_elements(op: Op) -> bool:
    """Return whether an operation is carried out by adding and deleting elements, and nothing else."""
    match op:
        case Replace(NftChain() as old, NftChain() as new):
            alike = old.rules == new.rules and _same_sets(old, new)
            return alike and not (any(_changes(old, new, add=False)) and any(_changes(old, new, add=True)))
        case _:
            return isinstance(op.obj, NftElement)


def element_changes(op: Op) -> list[ElementChange]:
    """Return the elements that an operation `of_elements` is about."""
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
    """Return what makes and fills the sets of chains. It is to be committed before `steps`, by which the chains read them.

    Args:
      create: Make sets with what they are to hold, and nothing else. Otherwise make those that are not there, and empty them
        first: an agent that ended between two transactions may have left some. Linux looks for a set among all those of its
        table with each message, so that costs a third more.
    """
    return list(chain.from_iterable(_preparation(op, "create" if create else "add") for op in ops))


def withdrawal(op: Op) -> Steps:
    """Return what takes away the sets that were made for an operation whose steps were refused."""
    return list(_delete_sets(op.obj.sets)) if isinstance(op, Create | Replace) and isinstance(op.obj, NftChain) else []


def steps(ops: Iterable[Op]) -> Steps:
    """Return the steps of operations, one after the other.

    No element of a chain's set is ever deleted by name: libnftables 1.0.6 looks for marks in the wrong order of bytes there.
    """
    return list(chain.from_iterable(map(_steps, ops)))


def as_text(found: Iterable[Step | ElementChange]) -> str:
    """Return steps as nft commands, neighbouring elements of one set in one command."""
    return "".join(
        "".join(map(_command, group)) if not verb else f"{verb} {{ {', '.join(map(_element, group))} }}\n"  # type: ignore[arg-type]
        for verb, group in groupby(found, key=_verb)
    )


def is_deletable(obj: KernelObject) -> bool:
    """Return whether an object can be named, whatever is in it: an operator may have put anything into a chain."""
    match obj:
        case PortChain():
            return bool(_NAME.fullmatch(obj.ifname))
        case NftMap():
            return bool(_NAME.fullmatch(obj.name))
        case NftChain():
            return all(map(_NAME.fullmatch, (obj.name, *(held.name for held in obj.sets))))
        case _:
            return is_words(obj)


def is_words(obj: KernelObject) -> bool:
    """Return whether an object is nothing but words of its place: no text of a customer may become syntax."""
    match obj:
        case PortChain():
            return bool(_NAME.fullmatch(obj.ifname)) and all(map(_RULE.fullmatch, obj.rules))
        case NftMap():
            return bool(_NAME.fullmatch(obj.name) and _SPEC.fullmatch(obj.spec))
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
            yield from _delete_port(port)
        case Create(PortChain() as port):
            yield from _make_port(port)
        case Replace(PortChain() as old_port, PortChain() as port):
            # In place: an old chain would be at the hook a little longer than its rules. What is read without rules may be at
            # another hook.
            yield from () if old_port.rules else _delete_port(old_port)
            yield from _make_port(port)
        case Create(NftMap() as held):
            yield Step("add", _kind(held), FAMILY, held.name, held.spec)
        case Delete(NftMap() as held):
            yield Step("delete", _kind(held), FAMILY, held.name)
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
    """Yield what makes a chain, or gives an existing one these rules."""
    yield Step("add", "chain", family, name, device)
    yield Step("flush", "chain", family, name)
    yield from (Step("add", "rule", family, name, rule) for rule in rules)


def _make_port(port: PortChain) -> Iterator[Step]:
    return _chain(chains.FAMILY, port.ifname, port.rules, device=port.ifname)


def _delete_port(port: PortChain) -> Iterator[Step]:
    yield Step("flush", "chain", chains.FAMILY, port.ifname)
    yield Step("delete", "chain", chains.FAMILY, port.ifname)


def _preparation(op: Op, verb: str) -> Iterator[Step | ElementChange]:
    match op:
        case Replace(NftChain() as old, NftChain() as new):
            # What bears such a name already was left by an agent that ended between the two transactions.
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
    """Return a step as a command of its own."""
    name = f"{step.verb} {step.kind} {step.family} {NFT_TABLE} {step.name}"
    if not step.text:
        return f"{name}\n"
    if step.kind == "rule":
        return f"{name} {step.text}\n"
    body = chains.hook(f'"{step.text}"') if step.kind == "chain" else f"{step.text};"
    return f"{name} {{ {body} }}\n"


def _verb(step: Step | ElementChange) -> str:
    """Return the beginning of a command that several elements share, `add element inet netorch zone`; nothing for a whole one."""
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
    """Yield the elements to add to, or to delete from, sets that are the same but for elements."""
    for before, after in zip(old.sets, new.sets, strict=True):
        kept, told = (before, after) if add else (after, before)
        known = set(kept.elements)
        yield from (ElementChange(add, FAMILY, told.name, told.spec, key, "") for key in told.elements if key not in known)


def _same_sets(old: NftChain, new: NftChain) -> bool:
    return [(held.name, held.spec) for held in old.sets] == [(held.name, held.spec) for held in new.sets]


def _is_set(held: ChainSet) -> bool:
    return bool(_NAME.fullmatch(held.name) and _SPEC.fullmatch(held.spec)) and all(map(_KEY.fullmatch, held.elements))
