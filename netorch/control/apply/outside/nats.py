"""What makes the NAT gateways of one VPC as declared. Their elastic IPs: netorch.control.apply.outside.addresses."""

from __future__ import annotations

from collections.abc import Mapping, Set

import msgspec

from netorch.control.actions.outside.nats import create_writes, delete_writes, new_gateway
from netorch.control.apply.builder import PlanBuilder, carriers
from netorch.control.apply.changes import Action, Change, Difference, differences
from netorch.control.apply.outside.gateways import pair_named
from netorch.control.apply.subnet_pools import SubnetPools
from netorch.control.base.writes import ABSENT, guard_structure
from netorch.errors import ApiError
from netorch.model.cloud import NatGatewayDecl, VpcDecl
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.gateway import GATEWAYS, NatGateway
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords


class NatPlanner:
    """The planning of one VPC's NAT gateways: what ends goes before the subnets, what comes is made once they are there."""

    def __init__(self, builder: PlanBuilder, decl: VpcDecl, records: VpcRecords) -> None:
        self._builder = builder
        self._decl = decl
        self._records = records
        self._stored = {stored.record.name: stored for stored in records.of(NatGateway).values()}
        self._ended: dict[str, tuple[Difference, ...]] = {}  # those that are recreated, and why

    def plan_deletions(self, gone_subnets: Set[str]) -> None:
        """Add the end of gateways that are not declared, or that must be recreated; `gone_subnets` has ids."""
        declared = {decl.name: decl for decl in self._decl.nat_gateways}
        for name, stored in self._stored.items():
            decl = declared.get(name)
            if decl is None:
                self._delete(stored)
                self._note(Action.DELETE, stored.record)
            elif why := self._unchangeable(stored.record, decl, gone_subnets):
                self._delete(stored)
                self._ended[name] = why

    def _delete(self, stored: Stored[NatGateway]) -> None:
        records, nat = self._records, stored.record
        eni, mapping = records.of(NetworkInterface).get(nat.eni), records.of(GatewayMapping).get(nat.id)
        logs, publics = self._builder.logs_of(records), self._builder.publics_of(records)
        delete_writes(self._builder.step(), records.vpc, stored, eni, mapping, logs, publics)
        records.of(NetworkInterface).pop(nat.eni, None)
        records.of(NatGateway).pop(nat.id)

    def _unchangeable(self, nat: NatGateway, decl: NatGatewayDecl, gone_subnets: Set[str]) -> tuple[Difference, ...]:
        """Return why a gateway must be recreated, or nothing."""
        subnet = self._records.of(Subnet)[nat.subnet].record
        address = self._records.of(NetworkInterface)[nat.eni].record.address
        before = f"{subnet.name} {subnet.cidr}" if nat.subnet in gone_subnets else subnet.name
        primary = self._primary(nat)
        others = primary not in decl.elastic_ips and bool(primary or decl.elastic_ips)
        return differences(
            subnet=(before, decl.subnet),
            address=(address, decl.address or address),
            elastic_ips=(primary, " ".join(decl.elastic_ips)) if others else ("", ""),
        )

    def _primary(self, nat: NatGateway) -> str:
        """Return the name of the elastic IP that stands for a gateway's own address; nothing if that has no name."""
        names = self._builder.elastic_names()
        publics = self._builder.publics_of(self._records).of(nat.eni)
        return next((names.get(mapping.record.allocation, "") for mapping in publics), "")

    def request_addresses(self, subnets: Mapping[str, Subnet], pools: SubnetPools) -> None:
        """Take the private addresses that new gateways ask for. Raises ApiError: InvalidIPAddress.InUse."""
        for decl in self._new():
            pools.of(subnets[decl.subnet]).requested(decl.address, 4)

    def _new(self) -> list[NatGatewayDecl]:
        return [decl for decl in self._decl.nat_gateways if decl.name not in self._stored or decl.name in self._ended]

    def plan_additions(self, subnets: Mapping[str, Subnet], pools: SubnetPools) -> None:
        """Add new gateways, whose addresses are requested, and changed tags. Raises ApiError."""
        for decl in self._decl.nat_gateways:
            stored = self._stored.get(decl.name)
            if stored is not None and decl.name not in self._ended and decl.tags != stored.record.tags:
                tagged = msgspec.structs.replace(stored.record, tags=decl.tags)
                self._builder.step().change(keys.resource(tagged.id), stored.mod_revision, tagged)
                self._records.of(NatGateway)[tagged.id] = Stored(tagged, ABSENT)
                self._note(Action.CHANGE, tagged, differences(tags=(stored.record.tags, tagged.tags)))
        for decl in self._new():
            self._add(decl, subnets[decl.subnet], pools)

    def _add(self, decl: NatGatewayDecl, subnet: Subnet, pools: SubnetPools) -> None:
        records, builder = self._records, self._builder
        if not decl.elastic_ips:
            what = "names no elastic IP, and a new one needs one"
            raise ApiError("MissingParameter", f"NAT gateway {decl.name!r}: {what}; write elastic_ips: [NAME]")
        pool = pools.of(subnet)
        address = decl.address or pool.next(4)
        targets = [found for kind in (NetworkInterface, *GATEWAYS) for found in records.of(kind)]
        made, eni = new_gateway(builder.caller, subnet, targets, address, name=decl.name, tags=decl.tags)
        pair = pair_named(builder, f"VPC {self._decl.owner}/{self._decl.name}", builder.pair_of(records))
        writes = builder.step()
        guard_structure(writes, records.vpc)
        mapping = create_writes(writes, records.vpc.record, records.of(Subnet)[subnet.id], pair, made, eni)
        pool.save(writes)
        records.of(NatGateway)[made.id] = Stored(made, ABSENT)
        records.of(NetworkInterface)[eni.id] = Stored(eni, ABSENT)
        records.of(GatewayMapping)[made.id] = Stored(mapping, ABSENT)
        added = differences(subnet=("", decl.subnet), address=("", address), elastic_ips=("", " ".join(decl.elastic_ips)))
        why = self._ended.get(decl.name)
        if why is None:
            self._note(Action.ADD, made, added)
        else:
            known = {item.field for item in why}
            effects = tuple(item for item in added if item.field not in known)
            self._note(Action.REPLACE, self._stored[decl.name].record, why + effects)

    def _note(self, action: Action, nat: NatGateway, changed: tuple[Difference, ...] = ()) -> None:
        ends = "connections through it end"
        breaks = {Action.DELETE: f"{ends}; routes to it lead nowhere", Action.REPLACE: f"{ends}; it gets a new id"}
        edges = (seat.host for mapping in self._records.each(GatewayMapping) for seat in mapping.seats)
        change = Change(
            action=action,
            kind="nat-gateway",
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=nat.name,
            resource_id="" if action is Action.ADD else nat.id,
            differences=changed,
            breaks=breaks.get(action, ""),
            hosts=tuple(sorted({*carriers(self._records), *edges})),
        )
        self._builder.changes.append(change)
