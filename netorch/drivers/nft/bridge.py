"""The intermediate state of a chain while members change identity: it permits what the old and the new state permit.

A packet looks up the class of the other end's address, then looks up that class among the permitted ones. A transaction on
another CPU can commit between the two lookups, so that the packet has a class that the rules do not know yet, or no longer.
So chains know a class before any address gets it. They forget it after the last address lost it, once no packet that may have
found it is left.

This permits nothing more: no packet has a class without members.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from netorch.state.nft import ChainSet, NftChain

_IDENTITY: Final = "mark"  # the type of an identity's number in a set's key
# In every rule about identities. Chains that lead to a flowtable have it in others, too, which may be joined likewise: no device
# is in a flowtable while its reasons change (netorch.drivers.nft.transactions), so what is added to it then forwards nothing.
_OF_IDENTITIES: Final = "meta mark"


def bridge(old: NftChain, new: NftChain) -> NftChain | None:
    """Return the chain that permits what either permits; None if they differ in more than added or removed identities."""
    before, after = _by_identity(old), _by_identity(new)
    if _unclassed(old) != _unclassed(new) or any(before[number] != after[number] for number in before.keys() & after.keys()):
        return None
    held = {of_old.name: of_old for of_old in old.sets}
    for of_new in new.sets:
        elements = {*of_new.elements, *(held[of_new.name].elements if of_new.name in held else ())}
        held[of_new.name] = msgspec.structs.replace(of_new, elements=tuple(sorted(elements)))
    rules = old.rules if set(new.rules) <= set(old.rules) else _joined(new.rules, old.rules)
    return msgspec.structs.replace(new, rules=rules, sets=tuple(held[name] for name in sorted(held)))


def _joined(rules: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Return the rules of both. The last rule of each is the refusal; differing rules before it may be in any order."""
    return (*rules[:-1], *(rule for rule in others if rule not in rules), *rules[-1:])


def _unclassed(chain: NftChain) -> tuple[list[str], list[ChainSet]]:
    """Return the rules and sets that are not about identities."""
    rules = [rule for rule in chain.rules if _OF_IDENTITIES not in rule]
    return rules, [held for held in chain.sets if _IDENTITY not in _fields(held)]


def _by_identity(chain: NftChain) -> dict[str, set[tuple[str, str]]]:
    """Return what each class is permitted, as sets with elements."""
    found: dict[str, set[tuple[str, str]]] = {}
    for number, name, element in _by_number(chain):
        found.setdefault(number, set()).add((name, element))
    return found


def _by_number(chain: NftChain) -> Iterator[tuple[str, str, str]]:
    for held in chain.sets:
        fields = _fields(held)
        if _IDENTITY in fields:
            place = fields.index(_IDENTITY)
            yield from ((element.split(" . ")[place], held.name, element) for element in held.elements)


def _fields(held: ChainSet) -> list[str]:
    return held.spec.partition(";")[0].removeprefix("type ").split(" . ")
