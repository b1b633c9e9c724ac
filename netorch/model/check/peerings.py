"""Checks of the declared peering connections of a cloud's VPCs."""

from __future__ import annotations

from netorch.model.addr import AddressError, Prefix, parse_prefix
from netorch.model.check.notes import Notes, Where
from netorch.model.cloud import Cloud, PeeringDecl, VpcDecl
from netorch.model.ids import is_id
from netorch.model.routing.mapped import ranges_problem, read_ranges
from netorch.model.routing.peering import PeerVpc, overlap
from netorch.model.rules import Violation, shown


def check_peerings(notes: Notes, cloud: Cloud) -> None:
    """Report errors in peering connections. VPCs outside the file are not looked up."""
    if not any(vpc.peerings for vpc in cloud.vpcs):
        return
    ranges = {(vpc.owner, vpc.name): _ranges(vpc) for vpc in cloud.vpcs}
    mapped = {
        frozenset(((vpc.owner, vpc.name), peer_path(vpc.owner, decl.peer)))
        for vpc in cloud.vpcs
        for decl in vpc.peerings
        if decl.map_own
    }
    for i, vpc in enumerate(cloud.vpcs):
        names: dict[str, int] = {}
        peers: dict[tuple[str, str] | str, int] = {}
        for j, decl in enumerate(vpc.peerings):
            where: Where = ("vpcs", i, "peerings", j)
            if violation := notes.names[decl.name]:
                notes.add(violation, where, ("name",))
            elif (other := names.setdefault(decl.name, j)) != j:
                notes.add(Violation(f"{shown(decl.name)} is also the name of peerings[{other}]", "rename one"), where, ("name",))
            if decl.tags:
                notes.tags(decl.tags, where)
            _check_mapped(notes, vpc, decl, where)
            peer = peer_path(vpc.owner, decl.peer)
            violation = _violation_of_peer(notes, vpc, peer, {} if frozenset(((vpc.owner, vpc.name), peer)) in mapped else ranges)
            if violation is None and (other := peers.setdefault(peer, j)) != j:
                violation = Violation(f"{shown(decl.peer)} is also the peer of peerings[{other}]", "remove one")
            if violation is not None:
                notes.add(violation, where, ("peer",))


def _check_mapped(notes: Notes, vpc: VpcDecl, decl: PeeringDecl, where: Where) -> None:
    """Report errors in the ranges of a mapped connection, as far as the declaring VPC shows."""
    texts = {"map_own": decl.map_own, "map_peer": decl.map_peer}
    if not any(texts.values()):
        return
    found = {}
    for field, text in texts.items():
        read = read_ranges(text) if text else Violation(f"{field} is missing", "write both map_own and map_peer")
        if isinstance(read, Violation):
            notes.add(read, where, (field,))
        else:
            found[field] = PeerVpc(id="this VPC", owner="", range=read[0], alias=read[1])
    own = _ranges(vpc)
    if len(found) == 2 and own and (violation := ranges_problem(found["map_own"], own, found["map_peer"], ())):
        notes.add(violation, where, ("map_own" if "not inside" in violation.what else "map_peer",))


def peer_path(owner: str, text: str) -> tuple[str, str] | str:
    """Return (owner, name) of the peer that a VPC of `owner` declares, or the peer's id."""
    if is_id(text, "vpc"):
        return text
    left, slash, right = text.partition("/")
    return (left, right) if slash else (owner, left)


def _violation_of_peer(
    notes: Notes, vpc: VpcDecl, peer: tuple[str, str] | str, ranges: dict[tuple[str, str], list[Prefix]]
) -> Violation | None:
    if isinstance(peer, str):
        return None
    if any(notes.names[part] for part in peer):
        return Violation(f"{shown('/'.join(peer))} is not a VPC", "write its name, owner/name, or its id")
    own = (vpc.owner, vpc.name)
    if peer == own:
        return Violation("a VPC cannot peer with itself", "name another VPC")
    if both := overlap(ranges.get(own, ()), ranges.get(peer, ())):
        return Violation(f"{both[1]} of {'/'.join(peer)} overlaps {both[0]} of this VPC", "give one of them another range")
    return None


def _ranges(vpc: VpcDecl) -> list[Prefix]:
    """Return the valid ranges of a VPC. Another check reports invalid ones."""
    found = []
    for text in (*vpc.cidrs, *vpc.ipv6_cidrs):
        try:
            found.append(parse_prefix(text))
        except AddressError:
            continue
    return found
