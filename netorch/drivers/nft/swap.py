"""Changing chains while packets pass: each set has two alternate names, and a changed chain uses the other one.

The kernel makes rules and deletions visible at once, but new elements of an interval set slightly later: in between, a packet
on another CPU finds neither the deleted nor the added elements (measured: 0.1 ms to 10 ms). So no transaction both adds
elements to sets and deletes others. A chain whose permissions change otherwise is *swapped*: its new sets are created beside
the old ones, then a second transaction makes its rules read them.

Outside the drivers a set has one name. A set left behind by an agent that stopped between the two transactions appears there
under the name that is not in use.
Source: net/netfilter/nf_tables_api.c, nf_tables_commit; net/netfilter/nft_set_pipapo.c, nft_pipapo_commit; up to Linux 6.16.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import Final

import msgspec

from netorch.state.nft import ChainSet, NftChain
from netorch.state.op import Create, Delete, Op, Replace

_READ: Final = re.compile(r"(?<=@)[\w.-]+")  # set names in a rule; one pattern for all chains, because a host may have many


def swapped(chain: NftChain) -> NftChain:
    """Return a chain with the alternate names of its sets; swapping twice restores it."""
    own = f"{chain.name}."
    return msgspec.structs.replace(
        chain,
        rules=tuple(
            _READ.sub(lambda name: _other_name(name[0]) if name[0].startswith(own) else name[0], rule) for rule in chain.rules
        ),
        sets=tuple(sorted((msgspec.structs.replace(held, name=_other_name(held.name)) for held in chain.sets), key=_name_of)),
    )


def is_swapped(name: str, rules: Iterable[str]) -> bool:
    """Return whether a chain with these rules, as read from the kernel, uses the alternate names of its sets."""
    own = f"{name}."
    return any(read.startswith(own) and read.endswith("_") for rule in rules for read in _READ.findall(rule))


def present(op: Op, swapped_names: Container[str]) -> Op:
    """Return an operation on elements with the current names of chains' sets; `swapped_names` are the swapped chains."""
    match op:
        case Replace(NftChain() as old, NftChain() as new) if old.name in swapped_names:
            return Replace(swapped(old), swapped(new))
        case _:
            return op


def swapping(op: Op, swapped_names: Container[str]) -> Op:
    """Return an operation with the names of old sets, and the alternate ones for new sets; `swapped_names` are swapped."""
    match op:
        case Replace(NftChain() as old, NftChain() as new):
            return Replace(swapped(old), new) if old.name in swapped_names else Replace(old, swapped(new))
        case Create(NftChain() as chain) if chain.name in swapped_names:
            return Create(swapped(chain))
        case Delete(NftChain() as chain) if chain.name in swapped_names:
            return Delete(swapped(chain))
        case _:
            return op


def _other_name(name: str) -> str:
    return name.removesuffix("_") if name.endswith("_") else f"{name}_"


def _name_of(held: ChainSet) -> str:
    return held.name
