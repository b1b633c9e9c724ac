"""Tables with all their contents as text, and which of the contents fit.

A table changes in one transaction, so contents that the kernel refuses would hold up all others. The VPCs whose contents they are
are found by trials that change nothing, while the old table is in force.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from netorch.drivers.base import Count
from netorch.drivers.nft import commands
from netorch.state.nft import NftTable, freed_zone
from netorch.state.op import Create, Reload
from netorch.state.owner import NFT_TABLE

_COUNTER: Final = re.compile(r"counter (\w+) \{\s*\}")

Fits = Callable[[Sequence[Reload]], bool]


def text_of(load: Reload, counts: Mapping[str, Count]) -> str:
    """Return the commands that replace a table with its contents. Counters go on from `counts`, by name."""
    table = load.obj
    assert isinstance(table, NftTable)

    def counting(found: re.Match[str]) -> str:
        count = counts.get(found[1], Count(packets=0))
        return f"counter {found[1]} {{\n    packets {count.packets} bytes {count.bytes}\n}}"

    name = f"{table.family} {NFT_TABLE}"
    creations = [Create(obj) for obj in load.contents]
    contents = commands.as_text(commands.preparations(creations)) + commands.as_text(commands.steps(creations))
    body = _COUNTER.sub(counting, table.body)
    return f"add table {name}\ndelete table {name}\ntable {name} {{\n{body}\n}}\n{contents}"


def fitting(loads: Sequence[Reload], fits: Fits) -> list[Reload]:
    """Return the tables without the contents of VPCs of which something does not fit.

    Conntrack zones stay: when a VPC releases one, its connections must go, too.
    Cost: with k such VPCs among n, about k * log2(n) trials.
    """
    vnis = sorted({obj.vni for load in loads for obj in load.contents})
    return _of(loads, _largest(vnis, [], lambda trial: fits(_of(loads, trial))))


def _of(loads: Sequence[Reload], vnis: Collection[int]) -> list[Reload]:
    """Return the tables with the contents of some VPCs, and with all zones."""
    kept = set(vnis)
    return [
        Reload(load.old, load.obj, tuple(obj for obj in load.contents if obj.vni in kept or freed_zone(obj))) for load in loads
    ]


def _largest(vnis: list[int], kept: list[int], fits: Callable[[list[int]], bool]) -> list[int]:
    """Return `kept` and those of the VPCs that fit beside it."""
    if fits(kept + vnis):
        return kept + vnis
    if len(vnis) <= 1:
        return kept
    half = len(vnis) // 2
    return _largest(vnis[half:], _largest(vnis[:half], kept, fits), fits)
