"""Plan the NAT gateways of one VPC as declared. netorch.control.apply.outside.addresses plans their elastic IPs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final

import msgspec

from netorch.control.actions.enis import targets_in
from netorch.control.actions.outside.nat_addresses import add_addresses, check_count, remove_addresses
from netorch.control.actions.outside.nats import create_writes, delete_writes, new_gateway
from netorch.control.apply.base.subnet_pools import SubnetPools
from netorch.control.apply.builder import PlanBuilder, carriers, with_edges
from netorch.control.apply.changes import Action, Change, Difference, differences, member_differences
from netorch.control.apply.outside.gateways import pair_named
from netorch.control.base.writes import ABSENT, guard_structure
from netorch.errors import ApiError
from netorch.model.cloud import NatGatewayDecl, VpcDecl
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.outside.gateway import NatGateway
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords

_ENDS: Final = "connections through it end"


class NatPlanner:
    """Plans one VPC's NAT gateways: deletions before the subnets, additions after them."""

    def __init__(self, builder: PlanBuilder, decl: VpcDecl, records: VpcRecords) -> None:
        self._builder = builder
        self._decl = decl
        self._records = records
        self._stored = {stored.record.name: stored for stored in records.of(NatGateway).values()}
        self._ended: dict[str, tuple[Difference, ...]] = {}  # recreated ones, and why

    def plan_deletions(self, gone_subnets: Set[str]) -> None:
        """Add the deletion of gateways that are undeclared or must be recreated; `gone_subnets` holds ids."""
        declared = {decl.name: decl for decl in self._decl.nat_gateways}
        for name, stored in self._stored.items():
            decl = declared.get(name)
            if decl is None:
                self._delete(stored)
                self._note(Action.DELETE, stored.record, breaks=f"{_ENDS}; routes to it become black holes")
            elif why := self._unchangeable(stored.record, decl, gone_subnets):
                self._delete(stored)
                self._ended[name] = why
            else:
                self._plan_kept(stored, decl)

    def _delete(self, stored: Stored[NatGateway]) -> None:
        records, nat = self._records, stored.record
        eni, mapping = records.of(NetworkInterface).get(nat.eni), records.of(GatewayMapping).get(nat.id)
        logs, publics = self._builder.logs_of(records), self._builder.publics_of(records)
        delete_writes(self._builder.step(), records.vpc, stored, eni, mapping, logs, publics)
        records.of(NetworkInterface).pop(nat.eni, None)
        records.of(NatGateway).pop(nat.id)

    def _unchangeable(self, nat: NatGateway, decl: NatGatewayDecl, gone_subnets: Set[str]) -> tuple[Difference, ...]:
        """Return the differences for which a gateway must be recreated; none if it can stay."""
        subnet = self._records.of(Subnet)[nat.subnet].record
        address = self._records.of(NetworkInterface)[nat.eni].record.address
        before = f"{subnet.name} {subnet.cidr}" if nat.subnet in gone_subnets else subnet.name
        primary = self._named(nat).get(address, "")
        return differences(
            subnet=(before, decl.subnet),
            address=(address, decl.address or address),
            elastic_ips=(primary, " ".join(decl.elastic_ips)) if primary and primary not in decl.elastic_ips else ("", ""),
        )

    def _named(self, nat: NatGateway) -> dict[str, str]:
        """Return the names of a gateway's elastic IPs by private address; empty for one without a name."""
        names = self._builder.elastic_names()
        publics = self._builder.publics_of(self._records).of(nat.eni)
        return {found.record.private_address: names.get(found.record.allocation, "") for found in publics}

    def _plan_kept(self, stored: Stored[NatGateway], decl: NatGatewayDecl) -> None:
        """Add the removal of secondary addresses with a named, undeclared elastic IP, and other changes of a kept gateway.

        An address that drains ends by itself. If its elastic IP is declared, the drain stops and the address stays.
        """
        nat, eni = stored.record, self._records.of(NetworkInterface)[stored.record.eni]
        named = self._named(nat)
        kept = {address: name for address, name in named.items() if not name or name in decl.elastic_ips}
        gone = [address for address in named if address not in kept and address not in nat.draining]
        draining = {address: until for address, until in nat.draining.items() if address not in kept or not kept[address]}
        changed = msgspec.structs.replace(nat, tags=decl.tags, draining=draining)
        if changed != nat:
            self._builder.step().change(keys.resource(nat.id), stored.mod_revision, changed)
            self._records.of(NatGateway)[nat.id] = Stored(changed, ABSENT)
        if gone:
            publics = self._builder.publics_of(self._records)
            without = remove_addresses(self._builder.step(), eni, gone, publics)
            self._records.of(NetworkInterface)[nat.eni] = Stored(without, ABSENT)
        self._builder.translations[nat.eni] = {address: name for address, name in kept.items() if address not in draining}
        before = [name for address, name in named.items() if name and address not in nat.draining]
        members = member_differences("elastic_ips", before, [name for name in decl.elastic_ips if name])
        if changed.tags != nat.tags or members:
            ends = ", ".join(sorted(found.address for found in self._mappings(nat.eni, gone)))
            breaks = f"connections through {ends} end" if gone else ""
            self._note(Action.CHANGE, nat, (*differences(tags=(nat.tags, decl.tags)), *members), breaks)

    def _mappings(self, eni_id: str, addresses: Sequence[str]) -> Iterator[PublicMapping]:
        publics = self._builder.publics_of(self._records).of(eni_id)
        return (found.record for found in publics if found.record.private_address in addresses)

    def request_addresses(self, subnets: Mapping[str, Subnet], pools: SubnetPools) -> None:
        """Take the private addresses that new gateways request. Raises ApiError: InvalidIPAddress.InUse."""
        for decl in self._new():
            pools.of(subnets[decl.subnet]).requested(decl.address, 4)

    def _new(self) -> list[NatGatewayDecl]:
        return [decl for decl in self._decl.nat_gateways if decl.name not in self._stored or decl.name in self._ended]

    def plan_additions(self, subnets: Mapping[str, Subnet], pools: SubnetPools) -> None:
        """Add new gateways, whose addresses are requested, and new addresses of other gateways. Raises ApiError."""
        new = {decl.name for decl in self._new()}
        for decl in self._decl.nat_gateways:
            if decl.name in new:
                self._add(decl, subnets[decl.subnet], pools)
            else:
                self._widen(decl, subnets[decl.subnet], pools)

    def _widen(self, decl: NatGatewayDecl, subnet: Subnet, pools: SubnetPools) -> None:
        """Add secondary addresses for declared elastic IPs that a gateway does not have yet."""
        records = self._records
        eni = records.of(NetworkInterface)[self._stored[decl.name].record.eni]
        known = self._builder.translations[eni.record.id]
        names = [name for name in decl.elastic_ips if name not in known.values()]
        if not names:
            return
        check_count(repr(decl.name), len(eni.record.secondary) + len(names))
        writes, pool = self._builder.step(), pools.of(subnet)
        changed = add_addresses(writes, eni, records.of(Subnet)[subnet.id], pool, len(names))
        pool.save(writes)
        records.of(NetworkInterface)[changed.id] = Stored(changed, ABSENT)
        known |= zip(changed.secondary[len(eni.record.secondary) :], names, strict=True)

    def _add(self, decl: NatGatewayDecl, subnet: Subnet, pools: SubnetPools) -> None:
        records, builder = self._records, self._builder
        if not decl.elastic_ips:
            what = "names no elastic IP, and a new NAT gateway needs one"
            raise ApiError("MissingParameter", f"NAT gateway {decl.name!r}: {what}; write elastic_ips: [NAME]")
        pool = pools.of(subnet)
        addresses = [decl.address or pool.next(4), *(pool.next(4) for _ in decl.elastic_ips[1:])]
        made, eni = new_gateway(builder.caller, subnet, targets_in(records), addresses, name=decl.name, tags=decl.tags)
        pair = pair_named(builder, f"VPC {self._decl.owner}/{self._decl.name}", builder.pair_of(records))
        writes = builder.step()
        guard_structure(writes, records.vpc)
        mapping = create_writes(writes, records.vpc.record, records.of(Subnet)[subnet.id], pair, made, eni)
        pool.save(writes)
        records.of(NatGateway)[made.id] = Stored(made, ABSENT)
        records.of(NetworkInterface)[eni.id] = Stored(eni, ABSENT)
        records.of(GatewayMapping)[made.id] = Stored(mapping, ABSENT)
        builder.translations[eni.id] = dict(zip(addresses, decl.elastic_ips, strict=True))
        added = differences(subnet=("", decl.subnet), address=("", addresses[0]), elastic_ips=("", " ".join(decl.elastic_ips)))
        why = self._ended.get(decl.name)
        if why is None:
            self._note(Action.ADD, made, added)
        else:
            known = {item.field for item in why}
            effects = tuple(item for item in added if item.field not in known)
            self._note(Action.REPLACE, self._stored[decl.name].record, why + effects, f"{_ENDS}; it gets a new id")

    def _note(self, action: Action, nat: NatGateway, changed: tuple[Difference, ...] = (), breaks: str = "") -> None:
        change = Change(
            action=action,
            kind="nat-gateway",
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=nat.name,
            resource_id="" if action is Action.ADD else nat.id,
            differences=changed,
            breaks=breaks,
            hosts=with_edges(self._records, carriers(self._records)),
        )
        self._builder.changes.append(change)
