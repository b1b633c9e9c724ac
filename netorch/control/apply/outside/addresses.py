"""Plan elastic IPs and the public addresses of instances as declared, after all VPCs.

Mappings end first, so two instances, even in different VPCs, may swap addresses. An elastic IP that the file owns and no longer
declares is released. An elastic IP without a name belongs to no file: its mapping stays, unless the instance gets another
address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from netorch.control.actions.outside.addresses import (
    Wanted,
    allocate_writes,
    associate_writes,
    check_end,
    new_mapping,
    owner_mark,
    release_writes,
)
from netorch.control.actions.outside.associations import held_by_gateway
from netorch.control.apply.builder import Path, PlanBuilder, instance_hosts, of_source, with_edges
from netorch.control.apply.changes import Action, Change, Difference, change_of_owned, differences
from netorch.control.base.quotas import check_room
from netorch.control.base.uses import use_key
from netorch.control.base.writes import ABSENT
from netorch.errors import ApiError, NetorchError, UnreadableRecord
from netorch.model.cloud import ElasticIpDecl, VpcDecl
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import PublicMapping
from netorch.model.outside.gateway import NatGateway
from netorch.model.outside.public import ElasticIp
from netorch.records import keys
from netorch.records.errors import invalid, not_found
from netorch.records.read import Stored
from netorch.records.valid.needs import SOURCE_TAG
from netorch.records.vpc import VpcRecords

Refused = dict[Path, NetorchError]
NOUNS: Final = {"instance": "instance", "nat-gateway": "NAT gateway"}  # kinds of resources with public addresses


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A private address of a declared instance or NAT gateway after the plan, and its public address."""

    kind: str  # kind of resource in changes
    name: str
    elastic_ip: str  # name of the wanted one; empty: none, or one without a name
    public_address: bool | msgspec.UnsetType = msgspec.UNSET  # whether it gets an ephemeral one
    path: Path  # of its VPC
    records: VpcRecords
    eni: str  # id
    private: str  # private address
    resource: str  # id of the resource with the interface
    before: Stored[PublicMapping] | None  # mapping before the plan
    is_new: bool


def plan_addresses(builder: PlanBuilder, decls: Iterable[VpcDecl]) -> Refused:
    """Plan public addresses as declared. Return the planned VPCs that cannot get theirs, with their errors.

    Raises:
      ApiError: an elastic IP cannot be planned as declared.
    """
    return _Planner(builder, [decl for decl in decls if (decl.owner, decl.name) in builder.planned]).plan()


def together(first: ApiError, *others: NetorchError) -> ApiError:
    """Return several errors as one with the code of the first, one per line; duplicates are dropped."""
    texts = dict.fromkeys(map(str, (first, *others)))
    return ApiError(first.code, "\n".join(texts).removeprefix(f"{first.code}: "))


def of_vpcs(refused: Refused) -> Iterator[NetorchError]:
    """Yield the errors of VPCs; each names its VPC."""
    for path, error in refused.items():
        yield NetorchError(f"VPC {'/'.join(path)}: {error}")


def own_elastic_ips(builder: PlanBuilder) -> list[ElasticIp]:
    """Return the stored elastic IPs that the file names or owns."""
    named = {(decl.owner, decl.name) for decl in builder.elastic_ips}
    held = (found.record for found in builder.inventory.elastic_ips.values())
    return [found for found in held if (found.owner, found.name) in named or builder.source.owns(found.tags)]


def left_elastic_ips(builder: PlanBuilder) -> Iterator[tuple[str, str]]:
    """Yield the path of each elastic IP that the caller sees and another file owns, with that file's mark."""
    named = {(decl.owner, decl.name) for decl in builder.elastic_ips}
    for elastic in (found.record for found in builder.inventory.elastic_ips.values()):
        mark = elastic.tags.get(SOURCE_TAG, "")
        others = mark and not builder.source.owns(elastic.tags) and (elastic.owner, elastic.name) not in named
        if others and builder.caller.sees(elastic.owner):
            yield f"{elastic.owner}/{elastic.name}", mark


class _Planner:
    """Plans all public addresses. Mappings end before any address is allocated, given or associated."""

    def __init__(self, builder: PlanBuilder, decls: list[VpcDecl]) -> None:
        self._builder = builder
        self._vpcs = {records.vni: records for records in builder.planned.values()}
        self._places = [place for decl in decls for place in self._places_of(decl)]
        self._ended: set[str] = set()  # public addresses whose mapping ends
        stored = (found for found in builder.inventory.elastic_ips.values() if found.record.name)
        self._elastic = {(found.record.owner, found.record.name): found for found in stored}  # after the plan
        self._declared = {(decl.owner, decl.name): decl for decl in builder.elastic_ips}

    def _places_of(self, decl: VpcDecl) -> Iterator[Place]:
        """Yield the places in a planned VPC that have or get public addresses."""
        path = (decl.owner, decl.name)
        records = self._builder.planned[path]
        gateways = {nat.name: nat for nat in records.each(NatGateway)}
        for nat in decl.nat_gateways:
            found = gateways[nat.name]
            for private, name in self._builder.translations[found.eni].items():
                yield self._place(path, found.eni, private, kind="nat-gateway", name=nat.name, resource=found.id, elastic_ip=name)
        for instance in decl.instances:
            eni = records.of(NetworkInterface)[self._builder.interfaces[path][instance.name]].record
            place = self._place(
                path,
                eni.id,
                eni.address,
                kind="instance",
                name=instance.name,
                resource=eni.instance,
                elastic_ip=instance.elastic_ip,
                public_address=instance.public_address,
            )
            if place.before is not None or place.elastic_ip or place.public_address is True:
                yield place

    def _place(
        self,
        path: Path,
        eni: str,
        private: str,
        *,
        kind: str,
        name: str,
        resource: str,
        elastic_ip: str,
        public_address: bool | msgspec.UnsetType = msgspec.UNSET,
    ) -> Place:
        records = self._builder.planned[path]
        before = self._builder.inventory.vpcs.get(records.vni)
        known = before.one(NetworkInterface, eni) if before is not None else None
        publics = self._builder.publics_of(records).of(eni)
        return Place(
            kind=kind,
            name=name,
            elastic_ip=elastic_ip,
            public_address=public_address,
            path=path,
            records=records,
            eni=eni,
            resource=resource,
            private=private,
            before=next((found for found in publics if found.record.private_address == private), None),
            is_new=known is None or private not in known.addresses,
        )

    def plan(self) -> Refused:
        """Plan everything; return the VPCs that cannot be planned, with errors. Raises ApiError for all failed elastic IPs."""
        for place in self._places:
            if place.before is not None and not self._stays(place, place.before.record):
                self._end(place.records, place.before)
        for place in self._places:
            if place.elastic_ip:
                self._take_away(place)
        self._release()
        wrong: dict[Path, ApiError] = {}
        for path, decl in self._declared.items():
            try:
                self._make(path, decl)
            except ApiError as error:
                wrong[path] = error
        refused: Refused = {}
        for place in self._places:
            try:
                if (place.path[0], place.elastic_ip) not in wrong:
                    self._give(place)
            except (ApiError, UnreadableRecord) as error:
                refused[place.path] = error
        if wrong:
            raise together(*wrong.values(), *of_vpcs(refused))
        return refused

    def _stays(self, place: Place, mapping: PublicMapping) -> bool:
        """Return whether a place keeps its public address."""
        if not mapping.allocation:
            return not place.elastic_ip and place.public_address is not False
        held = self._builder.inventory.elastic_ips.get(mapping.allocation)
        name = held.record.name if held is not None else ""
        return name == place.elastic_ip or (not name and not place.elastic_ip)

    def _end(self, records: VpcRecords, mapping: Stored[PublicMapping]) -> None:
        """Add the end of a public mapping. Raises ApiError: OperationNotPermitted for a NAT gateway's."""
        eni = records.one(NetworkInterface, mapping.record.eni)
        if eni is not None and eni.gateway:
            held = held_by_gateway(eni, mapping.record, records.one(NatGateway, eni.gateway))
            raise ApiError("OperationNotPermitted", f"elastic IP address {mapping.record.address}: {held}")
        self._builder.publics_of(records).end(self._builder.step(), mapping)
        self._ended.add(mapping.record.address)

    def _standing(self, elastic: ElasticIp) -> tuple[VpcRecords, Stored[PublicMapping]] | None:
        """Return an elastic IP's remaining mapping and its VPC. Raises UnreadableRecord: the VPC is isolated."""
        if not elastic.vni or elastic.vni in self._builder.deleted or elastic.address in self._ended:
            return None
        records = self._vpcs.get(elastic.vni) or self._builder.inventory.vpcs.get(elastic.vni)
        if (isolated := self._builder.inventory.isolated.get(elastic.vni)) is not None:
            raise isolated.error
        if records is None:
            return None
        for mapping in records.of(PublicMapping).values():
            eni = records.one(NetworkInterface, mapping.record.eni)
            if mapping.record.allocation == elastic.id and eni is not None and mapping.record.private_address in eni.addresses:
                return records, mapping
        return None

    def _take_away(self, place: Place) -> None:
        """Add the end of another mapping of a place's elastic IP, which the file does not declare."""
        held = self._elastic.get((place.path[0], place.elastic_ip))
        standing = self._standing(held.record) if held is not None else None
        if held is None or standing is None:
            return
        records, mapping = standing
        if (mapping.record.eni, mapping.record.private_address) == (place.eni, place.private):
            return
        self._end(records, mapping)
        vpc = records.vpc.record
        moved = differences(
            interface=(f"{mapping.record.eni} of VPC {vpc.owner}/{vpc.name}", f"{NOUNS[place.kind]} {place.name}")
        )
        breaks = f"connections through {mapping.record.address} end"
        self._note(Action.CHANGE, held.record, moved, breaks)

    def _release(self) -> None:
        """Add the release of elastic IPs that the file owns and no longer declares.

        An elastic IP stays if it maps to another file's instance in the default VPC, which is planned beside the file's own
        instances.
        """
        builder = self._builder
        kept = self._declared.keys() | {(place.path[0], place.elastic_ip) for place in self._places}
        for path, held in list(self._elastic.items()):
            elastic = held.record
            if path in kept or not builder.source.owns(elastic.tags) or not builder.caller.sees(elastic.owner):
                continue
            breaks = f"{elastic.address} is released"
            if standing := self._standing(elastic):
                self._end(*standing)
                breaks += f"; it no longer leads to {standing[1].record.private_address} of {standing[1].record.eni}"
            del self._elastic[path]
            writes, claim = builder.step(), builder.claim(elastic.address)
            release_writes(writes, held, claim, builder.caller.now())
            key = keys.public_address(elastic.address)
            if claim is not None and (freed := writes.values.get(key)) is not None:
                builder.freed[key] = msgspec.structs.replace(claim, value=freed)
            if not self._count(elastic.owner):
                mark = use_key(owner_mark(elastic.owner))
                writes.delete(mark, builder.revision_of(mark))
            self._note(Action.DELETE, elastic, differences(address=(elastic.address, "")), breaks)

    def _count(self, owner: str) -> int:
        """Return how many elastic IPs an owner has so far, including those without a name."""
        unnamed = (found.record for found in self._builder.inventory.elastic_ips.values() if not found.record.name)
        return sum(holder == owner for holder, _ in self._elastic) + sum(found.owner == owner for found in unnamed)

    def _make(self, path: Path, decl: ElasticIpDecl) -> None:
        """Add a declared elastic IP or its changes. Raises ApiError."""
        held = self._elastic.get(path)
        if held is None:
            self._allocate(path, decl)
            return
        elastic = held.record
        for word, wanted, stored in (("address", decl.address, elastic.address), ("pool", decl.pool, elastic.pool)):
            if wanted not in ("", stored):
                fix = f"write {word}: {stored}, leave it out, or declare another one under another name"
                raise invalid(
                    f"elastic IP address {decl.owner}/{decl.name}", f"its {word} is {stored}, which cannot be changed", fix
                )
        tags, changed = self._builder.tagged(decl.tags, elastic.tags)
        vni = elastic.vni if self._standing(elastic) is not None else 0
        self._elastic[path] = Stored(msgspec.structs.replace(elastic, vni=vni, tags=tags), held.mod_revision)
        if changed:
            now = self._elastic[path].record
            self._builder.step().change(keys.owned("eip", now.owner, now.id), held.mod_revision, now)
            self._note(Action.CHANGE, now, changed)

    def _allocate(self, path: Path, decl: ElasticIpDecl) -> None:
        builder = self._builder
        where = f"elastic IP address {decl.owner}/{decl.name}"
        check_room(builder.quotas_of(decl.owner), "AddressLimitExceeded", f"owner {decl.owner}", self._count(decl.owner) + 1)
        place = next((place for place in self._places if (place.path[0], place.elastic_ip) == path), None)
        pair = builder.pair_of(place.records) if place is not None else ""
        pair = "" if decl.pool or decl.address else pair or builder.owner_pair(decl.owner)
        wanted = Wanted(owner=decl.owner, name=decl.name, pool=decl.pool, pair=pair, address=decl.address)
        writes, mark = builder.step(), use_key(owner_mark(decl.owner))
        writes.change(mark, builder.revision_of(mark), True)
        tags = of_source(decl.tags, builder.source.label)
        made = allocate_writes(writes, builder.caller, builder.addresses, where, wanted, tags)
        self._elastic[path] = Stored(made, ABSENT)
        self._note(Action.ADD, made, differences(address=("", decl.address or "a new one"), pool=("", decl.pool)))

    def _give(self, place: Place) -> None:
        """Add the public address of a place, and note the change of an existing place. Raises ApiError."""
        before = place.before.record if place.before is not None else None
        stays = before is not None and before.address not in self._ended
        eni = place.records.of(NetworkInterface)[place.eni]
        if stays:
            return
        if place.elastic_ip:
            self._associate(place, eni)
        elif place.public_address is True and not place.is_new:
            writes = self._builder.step()
            writes.change(keys.resource(place.eni), eni.mod_revision, eni.record)  # a simultaneous deletion conflicts
            self._builder.ephemeral_in(place.records).give(writes, eni.record)
        if not place.is_new:
            self._note_place(place, before)

    def _associate(self, place: Place, eni: Stored[NetworkInterface]) -> None:
        builder, path = self._builder, (place.path[0], place.elastic_ip)
        held = self._elastic.get(path)
        if held is None:
            raise not_found("eipalloc", place.elastic_ip)
        pool = builder.pools.get(held.record.pool)
        check_end(held.record, place.records.vpc.record, builder.pair_of(place.records), pool.record.pair if pool else "")
        mapping = new_mapping(builder.caller, held.record, eni.record, place.private)
        associate_writes(builder.step(), place.records.vpc, eni, held, mapping, None)
        self._elastic[path] = Stored(msgspec.structs.replace(held.record, vni=mapping.vni), held.mod_revision)

    def _note_place(self, place: Place, before: PublicMapping | None) -> None:
        name = self._builder.elastic_name(before) if before is not None and before.allocation else ""
        ephemeral = before.address if before is not None and not before.allocation else ""
        given = "a new one" if place.public_address is True and not place.elastic_ip else ""
        enis = [place.records.of(NetworkInterface)[place.eni]]
        change = Change(
            action=Action.CHANGE,
            kind=place.kind,
            owner=place.path[0],
            vpc=place.path[1],
            name=place.name,
            resource_id=place.resource,
            differences=differences(elastic_ip=(name, place.elastic_ip), public_address=(ephemeral, given)),
            breaks=f"connections through {before.address} end" if before is not None else "",
            hosts=with_edges(place.records, instance_hosts(place.records, enis)),
        )
        self._builder.changes.append(change)

    def _note(self, action: Action, elastic: ElasticIp, changed: tuple[Difference, ...], breaks: str = "") -> None:
        self._builder.changes.append(change_of_owned(action, "elastic-ip", elastic, changed, breaks))
