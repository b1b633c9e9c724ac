"""The VNIs of a plan's new VPCs: requested ones first. The plan may reuse VNIs that it frees."""

from __future__ import annotations

from netorch.control.actions.vpcs import requested_vni
from netorch.control.apply.builder import Path, PlanBuilder
from netorch.errors import ApiError
from netorch.model.cloud import VpcDecl
from netorch.model.ids import Vni
from netorch.records.errors import invalid
from netorch.store.alloc import FreeVni, find_vnis, vni_key
from netorch.store.base import Store


def choose_vnis(builder: PlanBuilder, store: Store, new: list[VpcDecl], freed: dict[int, Path]) -> dict[Path, ApiError]:
    """Choose the VNIs of new VPCs; `freed` are those of VPCs that the plan deletes. Return the refused VPCs with errors."""
    refused: dict[Path, ApiError] = {}
    requested = {}
    for decl in new:
        if decl.vni is not None:
            try:
                requested[decl.vni] = builder.vnis[decl.owner, decl.name] = _requested(builder, decl, decl.vni, freed)
            except ApiError as error:
                refused[decl.owner, decl.name] = error
    others = [decl for decl in new if decl.vni is None]
    if others:
        block = find_vnis(store, len(others) + len(requested), builder.caller.now())  # they may include requested ones
        builder.step().claim(block.advance)
        free = iter([found for found in block.free if found.vni not in requested])
        builder.vnis |= {(decl.owner, decl.name): next(free) for decl in others}
    return refused


def _requested(builder: PlanBuilder, decl: VpcDecl, vni: int, freed: dict[int, Path]) -> FreeVni:
    where = f"VPC {decl.owner}/{decl.name}"
    holder = freed.get(vni)
    known = builder.inventory.raw.get(vni_key(vni))
    if holder is None:
        return requested_vni(known, builder.caller, where, vni, decl.owner, decl.name)
    if holder[0] != decl.owner:  # a packet in flight may belong to the other owner's VPC
        what = f"VNI {vni} belongs to VPC {'/'.join(holder)}, which this plan deletes, and then stays unused for an hour"
        raise invalid(where, what, "choose another one, or leave it out")
    return FreeVni(vni=Vni(vni), mod_revision=known.mod_revision if known is not None else 0)
