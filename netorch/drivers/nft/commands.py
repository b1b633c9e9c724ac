"""Operations on what stands in our tables, as nft commands; and which of them are about elements alone."""

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
_TABLE: Final = f"{FAMILY} {NFT_TABLE}"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SPEC: Final = re.compile(r"[a-z0-9_]+( [a-z0-9_.:,@]+)*(; [a-z0-9_]+( [a-z0-9_.:,@]+)*)*")
_RULE: Final = re.compile(r"[A-Za-z0-9_.:@!=/,|&-]+( [A-Za-z0-9_.:@!=/,|&-]+)*")
_KEY: Final = re.compile(r"[A-Za-z0-9_.:/-]+( \. [A-Za-z0-9_.:/-]+)*")
_VALUE: Final = re.compile(r"[A-Za-z0-9_.:-]+( [A-Za-z0-9_.-]+)?")


class Change(NamedTuple):
    """One element that is to be added or deleted."""

    add: bool
    family: str
    set: str
    spec: str  # of the set, when the operation tells it
    key: str  # e.g. "6 . 80-443 . 10.0.0.0/8"
    value: str  # e.g. "goto send-001388-0000beef"; nothing in a set


def of_elements(op: Op) -> bool:
    """Return whether an operation is carried out by adding and deleting elements, and nothing else."""
    match op:
        case Replace(NftChain() as old, NftChain() as new):
            alike = old.rules == new.rules and _same_sets(old, new)
            return alike and not (any(_changes(old, new, add=False)) and any(_changes(old, new, add=True)))
        case _:
            return isinstance(op.obj, NftElement)


def element_changes(op: Op) -> list[Change]:
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


def preparations(ops: Iterable[Op]) -> str:
    """Return what makes and fills the sets of chains. It is to be committed before `commands`, by which the chains read them."""
    return "".join(map(_preparation, ops))


def withdrawal(op: Op) -> str:
    """Return what takes away the sets that were made for an operation whose commands were refused."""
    return _delete_sets(op.obj.sets) if isinstance(op, Create | Replace) and isinstance(op.obj, NftChain) else ""


def script(ops: Iterable[Op]) -> str:
    """Return the operations as text, neighbouring elements of one set in one command.

    No element of a chain's set is ever deleted by name: libnftables 1.0.6 looks for marks in the wrong order of bytes there.
    """
    steps = chain.from_iterable(map(_steps, ops))
    return "".join(
        f"{verb} {{ {', '.join(texts)} }}\n" if verb else "".join(texts)
        for verb, texts in ((verb, [text for _, text in group]) for verb, group in groupby(steps, key=lambda step: step[0]))
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
            own = all(held.name.startswith(f"{obj.name}.") and _is_set(held) for held in obj.sets)
            return own and bool(_NAME.fullmatch(obj.name)) and all(map(_RULE.fullmatch, obj.rules))
        case NftElement():
            key = _NAME.fullmatch(obj.set) and _KEY.fullmatch(" . ".join(obj.items))
            return bool(key) and (not obj.value or bool(_VALUE.fullmatch(obj.value)))
        case _:
            return False


def _steps(op: Op) -> Iterator[tuple[str, str]]:
    """Yield commands: `add element inet netorch zone` and an element, which share a command; or nothing and a whole one."""
    if isinstance(op.obj, NftElement):
        for change in element_changes(op):
            verb = f"{'add' if change.add else 'delete'} element {change.family} {NFT_TABLE} {change.set}"
            yield verb, f"{change.key} : {change.value}" if change.add and change.value else change.key
        return
    match op:
        case Delete(PortChain() as port):
            yield "", chains.delete_chain(port)
        case Create(PortChain() as port):
            yield "", chains.add_chain(port)
        case Replace(PortChain() as old_port, PortChain() as port):
            # In place: an old chain would be at the hook a little longer than its rules. What is read without rules may be at
            # another hook.
            yield "", ("" if old_port.rules else chains.delete_chain(old_port)) + chains.add_chain(port)
        case Create(NftMap() as held):
            yield "", f"add {_kind(held)} {_TABLE} {held.name} {{ {held.spec}; }}\n"
        case Delete(NftMap() as held):
            yield "", f"delete {_kind(held)} {_TABLE} {held.name}\n"
        case Create(NftChain() as new):
            yield "", _begin(new) + _rules(new)
        case Replace(NftChain() as old, NftChain() as new):
            yield "", _begin(new) + _rules(new) + _delete_sets(_apart(old, new))
        case Delete(NftChain() as old):
            yield "", f"{_begin(old)}delete chain {_TABLE} {old.name}\n{_delete_sets(old.sets)}"
        case _:
            raise TypeError(f"nft: no command for {op}")


def _begin(new: NftChain) -> str:
    return f"add chain {_TABLE} {new.name}\nflush chain {_TABLE} {new.name}\n"


def _rules(new: NftChain) -> str:
    return "".join(f"add rule {_TABLE} {new.name} {rule}\n" for rule in new.rules)


def _preparation(op: Op) -> str:
    match op:
        case Replace(NftChain() as old, NftChain() as new):
            # What bears such a name already was left by an agent that ended between the two transactions.
            left = [held for held in old.sets if held not in _apart(old, new)]
            return _delete_sets(left) + _make_sets(new)
        case Create(NftChain() as new):
            return _make_sets(new)
        case _:
            return ""


def _make_sets(new: NftChain) -> str:
    lines = []
    for held in new.sets:
        lines += [f"add set {_TABLE} {held.name} {{ {held.spec}; }}", f"flush set {_TABLE} {held.name}"]
        if held.elements:
            lines.append(f"add element {_TABLE} {held.name} {{ {', '.join(held.elements)} }}")
    return "".join(f"{line}\n" for line in lines)


def _apart(old: NftChain, new: NftChain) -> list[ChainSet]:
    """Return the sets of the old chain whose names the new one does not use."""
    used = {held.name for held in new.sets}
    return [held for held in old.sets if held.name not in used]


def _delete_sets(sets: Iterable[ChainSet]) -> str:
    return "".join(f"delete set {_TABLE} {held.name}\n" for held in sets)


def _kind(held: NftMap) -> str:
    return "map" if " : " in held.spec else "set"


def _of_element(element: NftElement, *, add: bool) -> Change:
    return Change(add, element.family, element.set, "", " . ".join(element.items), element.value)


def _changes(old: NftChain, new: NftChain, *, add: bool) -> Iterator[Change]:
    """Yield the elements to add to, or to delete from, sets that are the same but for elements."""
    for before, after in zip(old.sets, new.sets, strict=True):
        kept, told = (before, after) if add else (after, before)
        known = set(kept.elements)
        yield from (Change(add, FAMILY, told.name, told.spec, key, "") for key in told.elements if key not in known)


def _same_sets(old: NftChain, new: NftChain) -> bool:
    return [(held.name, held.spec) for held in old.sets] == [(held.name, held.spec) for held in new.sets]


def _is_set(held: ChainSet) -> bool:
    return bool(_NAME.fullmatch(held.name) and _SPEC.fullmatch(held.spec)) and all(map(_KEY.fullmatch, held.elements))
