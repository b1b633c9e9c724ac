"""Plan the gateways that a VPC has at most once, to the internet and to private networks, as declared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final

import msgspec

from netorch.control.actions.enis import targets_in
from netorch.control.actions.outside.gateways import delete_gateway, put_on
from netorch.control.apply.builder import Path, PlanBuilder, carriers, with_edges
from netorch.control.apply.changes import Action, Change, Difference, differences
from netorch.control.base.pairs import Pair, best_first, first_of, free_places, make_pair
from netorch.control.base.pools import holds
from netorch.control.base.public import pair_of_addresses
from netorch.control.base.writes import ABSENT, Writes
from netorch.model.cloud import ElasticIpDecl, InternetGatewayDecl, VpcDecl, VpnGatewayDecl, declared_gateways
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.gateway import InternetGateway, OnlyGateway
from netorch.model.outside.vpn import VirtualPrivateGateway
from netorch.model.routing.target import TargetKind
from netorch.records import keys
from netorch.records.errors import in_use, invalid
from netorch.records.hosts import HostState
from netorch.records.kinds import kind_of
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords

GATEWAY_KEYS: Final = 10  # compares and writes of a new one: four of its own, and three for each of two edges


class GatewayPlanner:
    """Plans one VPC's gateway of a kind: created before what needs it, deleted once no route of the file leads to it.

    `guard` returns a step in which the VPC's structure changes.
    """

    def __init__(
        self, builder: PlanBuilder, decl: VpcDecl, records: VpcRecords, guard: Callable[[], Writes], kind: type[OnlyGateway]
    ) -> None:
        self._kind = kind
        self._wanted = declared_gateways(decl).get(TargetKind(kind_of(kind).prefix))
        self._builder = builder
        self._decl = decl
        self._records = records
        self._guard = guard

    def plan(self) -> None:
        """Add the gateway, or its tags. Raises ApiError: InsufficientInstanceCapacity, InvalidParameterValue for another name."""
        wanted = self._wanted
        if wanted is None:
            return
        stored = self._stored()
        if stored is None:
            self._add(wanted)
            return
        gateway = stored.record
        if wanted.name not in ("", gateway.name):
            what = f"has the name {gateway.name or gateway.id}, which cannot be changed"
            fix = f"write name: {gateway.name}" if gateway.name else "leave the name out"
            raise invalid(f"{kind_of(self._kind).noun} {wanted.name}", what, fix)
        if isinstance(wanted, VpnGatewayDecl) and isinstance(gateway, VirtualPrivateGateway) and wanted.asn != gateway.asn:
            what = f"has the AS number {gateway.asn}, which cannot be changed"
            raise invalid(f"{kind_of(self._kind).noun} {gateway.name or gateway.id}", what, f"write asn: {gateway.asn}")
        if wanted.tags != gateway.tags:
            tagged = msgspec.structs.replace(gateway, tags=wanted.tags)
            self._builder.step().change(keys.resource(gateway.id), stored.mod_revision, tagged)
            self._records.of(self._kind)[gateway.id] = Stored(tagged, ABSENT)
            changed = differences(tags=(gateway.tags, wanted.tags))
            self._note(Action.CHANGE, gateway, changed)

    def _stored(self) -> Stored[OnlyGateway] | None:
        return next(iter(self._records.of(self._kind).values()), None)

    def _add(self, wanted: InternetGatewayDecl) -> None:
        records, vni = self._records, self._records.vni
        only = pair_for(self._builder, self._decl, records)
        pair = pair_named(self._builder, f"VPC {self._decl.owner}/{self._decl.name}", only)
        writes = self._guard()
        writes.expect(keys.public_mark(vni), self._builder.revision_of(keys.public_mark(vni)))
        vpc, caller = records.vpc.record, self._builder.caller
        made, mapping = put_on(writes, caller, vpc, pair, targets_in(records), self._record(wanted))
        records.of(self._kind)[made.id] = Stored(made, ABSENT)
        records.of(GatewayMapping)[made.id] = Stored(mapping, ABSENT)
        self._note(Action.ADD, made, differences(pair=("", pair.name if self._builder.caller.operator else "")))

    def _record(self, wanted: InternetGatewayDecl) -> OnlyGateway:
        """Return the record of a declared gateway, without an id."""
        vni = self._records.vni
        if isinstance(wanted, VpnGatewayDecl):
            return VirtualPrivateGateway(id="", vni=vni, name=wanted.name, asn=wanted.asn, tags=wanted.tags)
        return self._kind(id="", vni=vni, name=wanted.name, tags=wanted.tags)

    def plan_deletion(self) -> None:
        """Add the deletion of an undeclared gateway; then the file has no NAT gateway that would need it."""
        stored = self._stored()
        if stored is None or self._wanted is not None:
            return
        gateway_id, vni = stored.record.id, self._records.vni
        if self._kind is VirtualPrivateGateway and any(not vif.rejected for vif in self._records.each(VirtualInterface)):
            raise in_use("vgw", gateway_id, "virtual interfaces", "remove these from the file as well")
        writes = self._builder.step()
        writes.expect(keys.public_mark(vni), self._builder.revision_of(keys.public_mark(vni)))
        delete_gateway(writes, self._records.vpc, stored, self._records.of(GatewayMapping).get(gateway_id))
        self._note(Action.DELETE, stored.record, (), self._breaks())
        self._records.of(self._kind).pop(gateway_id)
        self._records.of(GatewayMapping).pop(gateway_id, None)

    def _breaks(self) -> str:
        if self._kind is VirtualPrivateGateway:
            return "the VPC and its networks elsewhere no longer reach each other"
        if self._kind is not InternetGateway:
            return "instances no longer reach the internet through it"
        interfaces = self._records.of(NetworkInterface)
        cut = sorted(found.address for found in self._records.each(PublicMapping) if found.eni in interfaces)
        public = f"; {len(cut)} public address(es) lead nowhere, e.g. {cut[0]}" if cut else ""
        return f"the VPC and the internet no longer reach each other{public}"

    def _note(self, action: Action, gateway: OnlyGateway, changed: tuple[Difference, ...], breaks: str = "") -> None:
        change = Change(
            action=action,
            kind=kind_of(self._kind).noun.replace(" ", "-"),
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=gateway.name or kind_of(self._kind).prefix,
            resource_id="" if action is Action.ADD else gateway.id,
            differences=changed,
            breaks=breaks,
            hosts=with_edges(self._records, carriers(self._records)),
        )
        self._builder.changes.append(change)


def pair_for(builder: PlanBuilder, decl: VpcDecl, records: VpcRecords) -> str:
    """Return the required pair of a VPC: of its gateways, connections, addresses or declared elastic IPs; else nothing."""
    if pair := builder.pair_of(records) or _pair_of_ports(builder, decl):
        return pair
    if pair := pair_of_addresses(builder.pools, records.vpc.record, records.each(PublicMapping)):
        return pair
    declared = {elastic.name: elastic for elastic in builder.elastic_ips if elastic.owner == decl.owner}
    named = [name for nat in decl.nat_gateways for name in nat.elastic_ips]
    named += [instance.elastic_ip for instance in decl.instances if instance.elastic_ip]
    found = (_pair_of(builder, (decl.owner, name), declared.get(name)) for name in named)
    return next((pair for pair in found if pair), "")


def _pair_of_ports(builder: PlanBuilder, decl: VpcDecl) -> str:
    """Return the pair of the edge with the first connection of a VPC's declared virtual interfaces; nothing without one."""
    names = (vif.connection for vif in decl.virtual_interfaces if vif.connection in builder.connections)
    hosts = (builder.hosts.get(builder.connections[name].record.host) for name in names)
    return next((state.host.pair for state in hosts if state is not None), "")


def _pair_of(builder: PlanBuilder, path: Path, decl: ElasticIpDecl | None) -> str:
    """Return the pair of a stored or declared elastic IP; nothing if any pair will do."""
    stored = builder.elastic_of(path)
    for pool in (found.record for found in builder.pools.values()):
        if stored is not None and stored.record.pool == pool.name:
            return pool.pair
        if stored is None and decl is not None and (decl.pool == pool.name or (decl.address and holds(pool, decl.address))):
            return pool.pair
    return ""


def pair_named(builder: PlanBuilder, where: str, only: str) -> Pair:
    """Return the best pair for a gateway after the plan; `only` names the required pair, empty for any. Raises ApiError."""
    found: defaultdict[str, list[HostState]] = defaultdict(list)
    for _, state in sorted(builder.hosts.items()):
        if state.host.pair and only in ("", state.host.pair):
            found[state.host.pair].append(state)
    addresses, said = builder.addresses, builder.inventory.agents.get
    pairs = (make_pair(name, tuple(edges), free_places(name, builder.places), addresses, said) for name, edges in found.items())
    return first_of(best_first(pairs), where, only)
