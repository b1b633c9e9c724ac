"""Chains that change while packets pass: their sets have two names each, and a changed chain comes with the other ones.

The kernel makes rules and deletions visible at once, and the new elements of an interval set a little later: in between, a packet
on another processor finds neither what was deleted nor what was added in its place (measured: 0.1 ms to 10 ms). So no set takes
elements in the transaction that takes others away. A chain whose permissions change otherwise is *swapped*: its new sets are made
beside the old ones, and a second transaction lets its rules read them.

Outside the drivers a set has one name. A set that an agent left behind, having ended between the two transactions, shows there
by the name that is not in use.
Source: net/netfilter/nf_tables_api.c, nf_tables_commit; net/netfilter/nft_set_pipapo.c, nft_pipapo_commit; up to Linux 6.16.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import Final

import msgspec

from netorch.state.nft import ChainSet, NftChain
from netorch.state.op import Create, Delete, Op, Replace

_READ: Final = re.compile(r"(?<=@)[\w.-]+")  # names of sets in a rule; one expression for all chains, as a host may have many


def swapped(chain: NftChain) -> NftChain:
    """Return a chain with the other names for its sets; swapped twice it is the same."""
    own = f"{chain.name}."
    return msgspec.structs.replace(
        chain,
        rules=tuple(
            _READ.sub(lambda name: _other_name(name[0]) if name[0].startswith(own) else name[0], rule) for rule in chain.rules
        ),
        sets=tuple(sorted((msgspec.structs.replace(held, name=_other_name(held.name)) for held in chain.sets), key=_name_of)),
    )


def is_swapped(name: str, rules: Iterable[str]) -> bool:
    """Return whether a chain with these rules, as the kernel has them, reads its sets by their other names."""
    own = f"{name}."
    return any(read.startswith(own) and read.endswith("_") for rule in rules for read in _READ.findall(rule))


def present(op: Op, swapped_names: Container[str]) -> Op:
    """Return an operation on elements with the present names of chains' sets; `swapped_names` are the swapped chains."""
    match op:
        case Replace(NftChain() as old, NftChain() as new) if old.name in swapped_names:
            return Replace(swapped(old), swapped(new))
        case _:
            return op


def swapping(op: Op, swapped_names: Container[str]) -> Op:
    """Return an operation with the present and future names of chains' sets; `swapped_names` are the swapped chains."""
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
