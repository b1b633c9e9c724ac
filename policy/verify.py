"""Receive-side verification: only the host that an address is mapped to may send packets from that address.

The host of an interface without source/destination check may send from any address of that VPC.

What a moving address means for each host (A old, B new; see netorch.model.mapping):

    mapping             at A                           at B                             elsewhere
    {A, move to B}      peers B, may send on to B      peers A, takes what A sends on   peers A and B
    {B, move from A}    peers B, may send on to B      takes what A sends on            peers B
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import Carried, HostPart, HostView, MappingPart, Middlebox, Part, VpcPart, VpcView
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import Mapping, MoveDirection
from netorch.state.base import KernelObject
from netorch.state.nft import NftElement
from policy import nftgen, skeleton


def _table(_view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    """Yield the table, which drops all VXLAN packets as long as there are no mappings."""
    yield skeleton.underlay_table()


def _rights(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield who may send from the address, and while it moves who may send packets on."""
    me = view.host.host.name
    if mapping.host != me:
        yield from _accept("peers", mapping.vtep, mapping)
    move = mapping.move
    if move is None:
        return
    other_is_me = move.host == me
    if move.direction is MoveDirection.TO and not other_is_me:
        yield from _accept("peers", move.vtep, mapping)
    old_host, old_vtep = (mapping.host, mapping.vtep) if move.direction is MoveDirection.TO else (move.host, move.vtep)
    if old_host == me:
        yield nftgen.transit(view.vxlan, mapping.address, mapping.vni)
    elif me in (mapping.host, move.host):
        yield from _accept("relay", old_vtep, mapping)


def _speakers(view: VpcView) -> Iterator[KernelObject]:
    """Yield the hosts of interfaces without source/destination check: they send packets from any address."""
    for box in view.of(Middlebox):
        if box.mapping is not None and not box.eni.source_dest_check:
            yield from (nftgen.speaker(vtep, view.vni) for vtep in _vteps(box.mapping, view.host.host.name))


def _vteps(mapping: Mapping, me: str) -> Iterator[str]:
    """Yield the other hosts that an interface may send from."""
    if mapping.host != me:
        yield mapping.vtep
    move = mapping.move
    if move is not None and move.direction is MoveDirection.TO and move.host != me:
        yield move.vtep


def _accept(kind: str, vtep: str, mapping: Mapping) -> tuple[NftElement, NftElement]:
    return nftgen.sender(kind, vtep, mapping.vni, mapping.address), nftgen.member(vtep, mapping.vni)


class Verify:
    """Yields the underlay's table, and of each mapping the right to send from its address."""

    name: Final = "verify"
    reads: Final[frozenset[type]] = frozenset({Mapping, NetworkInterface})
    parts: Final[tuple[Part, ...]] = (
        HostPart(id="verify.host", compile=_table),
        VpcPart(id="verify.speakers", compile=_speakers, inputs=frozenset({HostView, Middlebox})),
        MappingPart(id="verify.mapping", compile=_rights, inputs=frozenset({HostView})),
    )
