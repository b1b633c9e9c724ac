"""What a chain permits while members of its VPC change to other identities: what it did before, and what it will.

A packet looks up the class of the other end's address, and then the class among those that are permitted. Another processor may
carry out a transaction between the two: the packet has then found a class that the rules do not know yet, or no longer. So chains
know a class before an address gets it, and after the last address has lost it until no packet is left that may have found it.

That widens nothing: a class that has no members yet, or none any more, is no packet's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from netorch.state.nft import ChainSet, NftChain

_IDENTITY: Final = "mark"  # the type of an identity's number in the key of a set
_OF_IDENTITIES: Final = "meta mark"  # is in every rule about identities, and in no other that one of two chains lacks


def bridge(old: NftChain, new: NftChain) -> NftChain | None:
    """Return the chain that permits what either permits; None when they differ in more than identities that come or go."""
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
    """Return the rules of both; the last one of each is the refusal, and those before it that differ may stand in any order."""
    return (*rules[:-1], *(rule for rule in others if rule not in rules), *rules[-1:])


def _unclassed(chain: NftChain) -> tuple[list[str], list[ChainSet]]:
    """Return the rules and sets that are not about identities."""
    rules = [rule for rule in chain.rules if _OF_IDENTITIES not in rule]
    return rules, [held for held in chain.sets if _IDENTITY not in _fields(held)]


def _by_identity(chain: NftChain) -> dict[str, set[tuple[str, str]]]:
    """Return what each class is permitted: sets with elements."""
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
