"""What a host's certificate may read and write, from the records: pure functions.

    always          read   host/<me>/, secret/<me>/, underlay/mtu/, pool/, alloc/drain/<me>, join/service
                    write  hoststat/<me>/, host/<me>/live, underlay/mtu/<me>
    an edge         read   gwsvc/, bucket/, hoststat/<partner>/handover/
    a VPC           read   vpc/<vni>/, map/<vni>/      of the VPCs with a placement on the host, and of their active peers
    a gateway       write  map/<vni>/reach/<vgw>/<me>  of a virtual private gateway on the edge
    a move          write  map/<vni>/<address> of the moving interface, for both hosts; for the one that it leaves also
                           host/<me>/placement/<eni>, for the other one
                    read   what the one that it leaves publishes about it

The rights follow from placements, peerings and moves. A host cannot write those, except the keys of its own moves, and these
count only for the interface that has the address. So no host can extend its own rights to other interfaces or VPCs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from netorch.model.eni import Host, Role
from netorch.model.ids import is_id, prefix_of, vni_of
from netorch.model.mapping import Mapping as Place
from netorch.model.mapping import MoveDirection
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.target import TargetKind
from netorch.records import keys
from netorch.store.access import Right

OWN: Final = 0  # in place of a VNI: the rights that depend on no VPC


def own_rights(host: Host, partners: Iterable[str]) -> set[Right]:
    """Return what a host may do whatever it carries; `partners` are the other edges of its pair."""
    name = host.name
    reads = [keys.host_prefix(name), keys.secret_prefix(name), keys.mtu_prefix(), keys.pool_prefix()]
    if host.role is Role.EDGE:
        reads += [keys.service_prefix(), keys.bucket_prefix(), *map(keys.handover_prefix, partners)]
    return {
        *map(Right, reads),
        *(Right(key, is_prefix=False) for key in (keys.host_drain(name), keys.enrolment())),
        *(Right(key, is_prefix=False, write=True) for key in (keys.host_live(name), keys.host_mtu(name))),
        Right(keys.status_prefix(name), write=True),
    }


def rights_in(host: str, vni: int, placed: Mapping[int, Collection[str]], peerings: Iterable[PeeringConnection]) -> set[Right]:
    """Return what a host may do in a VPC, except for moves.

    `placed` has the ids that are placed on the host, by VNI, of the VPC and its peers; `peerings` are the VPC's own records.
    """
    here = placed.get(vni, ())
    if not here and not any(_leads_here(peering, placed) for peering in peerings):
        return set()
    gateways = (found for found in here if prefix_of(found) == TargetKind.VPN_GATEWAY.value)
    reach = {Right(keys.reach(vni, gateway, host), is_prefix=False, write=True) for gateway in gateways}
    return {Right(keys.vpc_prefix(vni)), Right(keys.map_prefix(vni)), *reach}


def _leads_here(peering: PeeringConnection, placed: Mapping[int, Collection[str]]) -> bool:
    """Return whether a VPC's connection makes a host that carries the peer carry the VPC, too."""
    there = placed.get(peering.peer_vni, ())
    return bool(there) and (peering.is_native or (peering.gateway is not None and peering.id in there))


def move_rights(host: str, mapping: Place) -> set[Right]:
    """Return what a host may do while an address moves from it or to it."""
    move = mapping.move
    if move is None or host not in (mapping.host, move.host):
        return set()
    leaves = mapping.host if move.direction is MoveDirection.TO else move.host
    rights = {Right(keys.mapping(mapping.vni, mapping.address), is_prefix=False, write=True)}
    if host == leaves:
        rights.add(Right(keys.placement(host, mapping.eni), is_prefix=False, write=True))
    else:
        rights |= {Right(keys.eni_status(leaves, mapping.eni)), Right(keys.eni_flows(leaves, mapping.eni))}
    return rights


def vni_of_right(right: Right) -> int:
    """Return the VPC that a right depends on; OWN: none."""
    root, _, rest = right.place.partition("/")
    if root in ("vpc", "map"):
        return int(rest[:6], 16)
    last = right.place.rpartition("/")[2]
    return vni_of(last) if is_id(last) else OWN


def mapping_key(right: Right) -> str:
    """Return the key of the mapping that a right to write is for; empty for other rights."""
    is_mapping = right.write and not right.is_prefix and right.place.startswith("map/") and right.place.count("/") == 2
    return right.place if is_mapping else ""


def missing(wanted: Collection[Right], held: Collection[Right]) -> set[Right]:
    """Return the rights to grant."""
    return set(wanted) - set(held)


def excess(wanted: Collection[Right], held: Collection[Right]) -> set[Right]:
    """Return the rights to revoke. One for the same place is replaced by a grant, not revoked."""
    kept = {(right.place, right.is_prefix) for right in wanted}
    return {right for right in held if (right.place, right.is_prefix) not in kept}
