"""What the planning of all VPCs of a cloud shares: what there is, what has been decided so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

import msgspec

from netorch.control.actions import enis as interfaces
from netorch.control.actions import subnets, vpcs
from netorch.control.actions.direct_connect import interfaces as direct_connect
from netorch.control.actions.direct_connect.users import vlans_in
from netorch.control.actions.endpoints import gateway as endpoints
from netorch.control.actions.enis import hosts_of
from netorch.control.actions.instances import terminate_writes
from netorch.control.actions.outside import nats
from netorch.control.actions.outside.gateways import delete_gateway
from netorch.control.actions.private import connections as private
from netorch.control.apply.changes import Action, Change, Difference, MadeKeys
from netorch.control.apply.key_files import KeyFiles
from netorch.control.apply.services.interface_endpoints import delete_endpoint_parts
from netorch.control.apply.sources import Source
from netorch.control.base.addresses import cursor_key
from netorch.control.base.edge_users import unheard_in
from netorch.control.base.logged import Logs, by_resource, delete_logs
from netorch.control.base.namespaces import NamespacePlan
from netorch.control.base.pairs import places
from netorch.control.base.peers import delete_both, unknown_ranges
from netorch.control.base.pools import Addresses, Owners, listed_for
from netorch.control.base.public import Ephemeral, Publics, only_pair, pair_of_addresses
from netorch.control.base.quotas import Quotas, decode_quotas, quota_key
from netorch.control.base.structure import delete_part
from netorch.control.base.uses import delete_unused, use_key
from netorch.control.base.writes import ABSENT, Writes
from netorch.model.addr import parse_prefix
from netorch.model.cloud import DEFAULT_VPC_NAME, ElasticIpDecl
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.eni import Instance, NetworkInterface, primary_eni_id
from netorch.model.flow_log import FlowLog
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.gateway import ONLY_GATEWAYS, NatGateway
from netorch.model.outside.public import ElasticIp
from netorch.model.outside.vpn import VpnConnection
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup, referred
from netorch.model.vpc import DEFAULT_OWNER, RouteTable, Subnet, Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.kinds import of_vpc
from netorch.records.read import Stored
from netorch.records.valid.needs import SOURCE_TAG
from netorch.records.vpc import VpcRecords
from netorch.store.alloc import FreeVni, vni_key
from netorch.store.base import KeyValue

Path = tuple[str, str]  # a VPC's owner and name


class PlanBuilder:
    """A plan in the making. It edits the records of the VPCs that it changes, and leaves the inventory as it is."""

    def __init__(
        self,
        inventory: Inventory,
        caller: Caller,
        source: Source,
        key_files: KeyFiles,
        elastic_ips: Sequence[ElasticIpDecl] = (),
    ) -> None:
        """`elastic_ips` are those that the file declares."""
        self.inventory = inventory
        self.caller = caller
        self.source = source
        self.key_files = key_files
        # With those that the plan adds.
        self.hosts = {name: msgspec.structs.replace(state) for name, state in inventory.hosts.items()}
        self.pools = dict(inventory.pools)  # likewise
        self.connections = dict(inventory.connections)  # likewise
        self.vlans = vlans_in(inventory.raw.values())  # of connections, as they will be: (outer VLAN, VLAN) -> who has it
        self.devices = dict(inventory.customer_gateways)  # by id, as they will be
        self.dhcp_options = dict(inventory.dhcp_options)  # likewise
        self.vpn_uses = {key for key in inventory.raw if key.startswith(keys.vpn_uses())}  # likewise
        self.ike_peers = {key for key in inventory.raw if key.startswith(keys.ike_peers())}  # likewise
        self.made_keys: dict[str, MadeKeys] = {}
        self.places = places(inventory.raw.values())  # the edges that have places of pairs, likewise
        self.joined: list[str] = []  # the new edges of pairs
        self.vnis: dict[Path, FreeVni] = {}  # for the new VPCs
        self.interfaces: dict[Path, dict[str, str]] = {}  # of each planned VPC's instances, by name: the id of the own interface
        self.translations: dict[str, dict[str, str]] = {}  # NAT gateway's interface -> private address -> name of its elastic IP
        self.elastic_ips = elastic_ips
        self._elastic = {(found.record.owner, found.record.name): found for found in inventory.elastic_ips.values()}
        self.default_instances: set[str] = set()  # instances of the file's top level, by name
        self.has_default_instances = False  # the default VPC is declared for them only
        self.planned: dict[Path, VpcRecords] = {}  # as they will be
        self.deleted: set[int] = set()  # VNIs of VPCs that end, even if they are to be recreated
        self.replaced: dict[Path, Change] = {}  # VPCs that have ended and are to be recreated
        self.changes: list[Change] = []
        self.steps: list[Writes] = []
        self._logs: dict[int, Logs] = {}  # by VNI
        self._publics: dict[int, Publics] = {}  # likewise
        self._ephemeral: dict[int, Ephemeral] = {}  # likewise
        self.freed: dict[str, KeyValue] = {}  # the keys of public addresses that the plan gives back, as they will be
        requests = [decl.address for decl in elastic_ips if decl.address]
        listed = cache(lambda owner: tuple(listed_for(inventory.raw.values(), owner)))
        owners = Owners(addresses=listed, quotas=self.quotas_of)
        unheard = unheard_in(inventory)
        self.addresses = Addresses(self.pools, self.claim, inventory.raw.values, caller, unheard, owners, requests)
        self.namespaces = NamespacePlan(inventory.raw, _placed(inventory))

    def default_instances_only(self, owner: str, name: str) -> bool:
        """Return whether a VPC is there for instances of the file's top level only: it is everybody's, not this file's."""
        return self.has_default_instances and owner == DEFAULT_OWNER and name == DEFAULT_VPC_NAME

    def quotas_of(self, owner: str) -> Quotas:
        """Return an owner's limits."""
        return decode_quotas(self.inventory.raw.get(quota_key(owner)), owner)

    def step(self) -> Writes:
        """Return the next step, empty."""
        writes = Writes()
        self.steps.append(writes)
        return writes

    def logs_of(self, records: VpcRecords) -> Logs:
        """Return a VPC's flow logs. Cost: O(flow logs of the VPC) the first time."""
        if records.vni not in self._logs:
            self._logs[records.vni] = by_resource(records.of(FlowLog).values())
        return self._logs[records.vni]

    def publics_of(self, records: VpcRecords) -> Publics:
        """Return a VPC's public addresses. Cost: O(public addresses of the VPC) the first time."""
        if records.vni not in self._publics:
            self._publics[records.vni] = Publics(
                records.vpc.record,
                records.of(PublicMapping).values(),
                self.claim,
                self.inventory.elastic_ips.get,
                self.caller.now(),
            )
        return self._publics[records.vni]

    def claim(self, address: str) -> KeyValue | None:
        """Return the key of a public address, as it will be."""
        key = keys.public_address(address)
        return self.freed.get(key) or self.inventory.raw.get(key)

    def elastic_of(self, path: Path) -> Stored[ElasticIp] | None:
        """Return an elastic IP by its owner and name, as it is before the plan."""
        return self._elastic.get(path)

    def elastic_names(self) -> dict[str, str]:
        """Return the names of elastic IPs by their ids."""
        return {allocation: found.record.name for allocation, found in self.inventory.elastic_ips.items()}

    def elastic_name(self, mapping: PublicMapping) -> str:
        """Return what an elastic IP that stands for an address is called: its name, else the address."""
        held = self.inventory.elastic_ips.get(mapping.allocation)
        return (held.record.name if held is not None else "") or mapping.address

    def pair_of(self, records: VpcRecords) -> str:
        """Return the pair of edges that carries a VPC's gateways; nothing while it has none."""
        seats = (seat.host for mapping in records.each(GatewayMapping) for seat in mapping.seats)
        return next((self.hosts[name].host.pair for name in seats if name in self.hosts), "")

    def owner_pair(self, owner: str) -> str:
        """Return the pair that will carry all internet gateways of an owner; nothing if there are none, or several pairs do."""
        before = {vni: records for vni, records in self.inventory.vpcs.items() if vni not in self.deleted}
        found = before | {records.vni: records for records in self.planned.values()}
        return only_pair(self.pair_of(records) for records in found.values() if records.vpc.record.owner == owner)

    def ephemeral_in(self, records: VpcRecords) -> Ephemeral:
        """Return what gives ephemeral addresses in a VPC, whose gateways are planned."""
        if records.vni not in self._ephemeral:
            pair = self.pair_of(records)
            mark = None if pair else self.revision_of(keys.public_mark(records.vni))
            pair = pair or pair_of_addresses(self.pools, records.vpc.record, records.each(PublicMapping))
            self._ephemeral[records.vni] = Ephemeral(self.addresses, self.caller, records.vpc, pair, mark)
        return self._ephemeral[records.vni]

    def peers_of(self, records: VpcRecords) -> Iterator[Stored[Vpc]]:
        """Yield a VPC's peers by active connections that are not mapped, as far as they are planned, but for those that end.

        Raises:
          UnreadableRecord: the record of a VPC that the caller may hear of.
          ApiError: IncorrectState for another's.
        """
        planned = {found.vni: found for found in self.planned.values()}
        active = {found.peer_vni: found for found in records.each(PeeringConnection) if found.is_native}
        for vni in active.keys() - self.deleted:
            found = planned.get(vni) or self.inventory.vpcs.get(vni)
            isolated = self.inventory.isolated.get(vni)
            if found is None and isolated is not None:
                found = isolated.rest
                if found is None:
                    self.inventory.check_vpc(self.caller, vni)
                    raise unknown_ranges(active[vni])
            if found is not None:
                yield found.vpc

    def lists_before(self, vni: int) -> Mapping[str, Stored[PrefixList]]:
        """Return a VPC's prefix lists as they are before the plan, by id."""
        found = self.inventory.vpcs.get(vni)
        return found.of(PrefixList) if found is not None else {}

    def revision_of(self, key: str) -> int:
        """Return the revision of a key that the inventory keeps undecoded, 0 when there is none."""
        kv = self.inventory.raw.get(key)
        return ABSENT if kv is None else kv.mod_revision


def _placed(inventory: Inventory) -> Iterator[tuple[str, Instance]]:
    """Yield every instance that can be read, with its host."""
    everything = [*inventory.vpcs.values(), *(found.rest for found in inventory.isolated.values() if found.rest is not None)]
    for records in everything:
        for instance_id, stored in records.of(Instance).items():
            eni = records.of(NetworkInterface).get(primary_eni_id(instance_id))
            mapping = records.mappings.get(eni.record.address) if eni is not None else None
            if mapping is not None:
                yield mapping.record.host, stored.record


def canonical(prefix: str) -> str:
    """Return a valid prefix as it is stored; IPv4 ones can be written in one way only."""
    return str(parse_prefix(prefix)) if ":" in prefix else prefix


def visible_tags(tags: Tags) -> Tags:
    """Return the tags that a customer set, without netorch's own."""
    return {key: value for key, value in tags.items() if key != SOURCE_TAG}


def of_source(tags: Tags, mark: str) -> Tags:
    """Return tags that say to which file something belongs; no mark: to none."""
    rest = visible_tags(tags)
    return {**rest, SOURCE_TAG: mark} if mark else rest


def own_tags(wanted: Tags, stored: Tags) -> Tags:
    """Return the tags to store: those wanted, and netorch's own as they were."""
    return {**wanted, SOURCE_TAG: stored[SOURCE_TAG]} if SOURCE_TAG in stored else wanted


def carriers(records: VpcRecords) -> tuple[str, ...]:
    """Return the hosts on which a VPC has something."""
    return tuple(hosts_of(mapping.record for mapping in records.mappings.values()))


def instance_hosts(records: VpcRecords, enis: Iterable[Stored[NetworkInterface]]) -> tuple[str, ...]:
    """Return the hosts that carry these interfaces."""
    return tuple(hosts_of(mapping.record for eni in enis for mapping in records.mappings_of(eni.record).values()))


def enis_by_instance(records: VpcRecords) -> dict[str, list[Stored[NetworkInterface]]]:
    """Return a VPC's interfaces by the instance they are attached to; nothing: not attached."""
    found: dict[str, list[Stored[NetworkInterface]]] = {}
    for eni in records.of(NetworkInterface).values():
        found.setdefault(eni.record.instance, []).append(eni)
    return found


def delete_instance(
    builder: PlanBuilder,
    records: VpcRecords,
    instance: Stored[Instance],
    enis: Sequence[Stored[NetworkInterface]],
    *,
    whole: bool,
) -> None:
    """Add the end of an instance with its own interface; other ones are detached, or with `whole` deleted too."""
    writes = builder.step()
    builder.namespaces.release(writes, instance.record, instance_hosts(records, enis))
    found = [(eni, records.mappings_of(eni.record)) for eni in enis]
    logs, publics = builder.logs_of(records), builder.publics_of(records)
    terminate_writes(writes, records.vpc.record, instance, found, logs, publics, whole=whole)


def delete_vpc(builder: PlanBuilder, records: VpcRecords) -> None:
    """Add the deletion of a VPC with everything in it: what runs, then what it ran in, then the VPC."""
    builder.deleted.add(records.vni)
    for connection in records.of(PeeringConnection).values():
        delete_both(builder.step(), connection.record)
    by_instance = enis_by_instance(records)
    logs = builder.logs_of(records)
    for instance in records.of(Instance).values():
        delete_instance(builder, records, instance, by_instance.get(instance.record.id, ()), whole=True)
    for nat_id, nat in records.of(NatGateway).items():
        eni, mapping = records.of(NetworkInterface).get(nat.record.eni), records.of(GatewayMapping).get(nat_id)
        nats.delete_writes(builder.step(), records.vpc, nat, eni, mapping, logs, builder.publics_of(records))
    delete_endpoint_parts(builder, records)
    for vif in records.of(VirtualInterface).values():
        delete_vif(builder, records, vif)
    for vpn in records.of(VpnConnection).values():
        delete_vpn(builder, records, vpn)
    for eni in (eni for eni in by_instance.get("", ()) if not eni.record.gateway):
        interfaces.delete_writes(builder.step(), records.vpc.record, eni, {}, logs, builder.publics_of(records))
    for table in [table for table in records.of(RouteTable).values() if table.record.propagating]:
        alone = msgspec.structs.replace(table.record, propagating=())
        builder.step().change(keys.resource(alone.id), table.mod_revision, alone)
    for gateway_id, gateway in ((found, gateway) for kind in ONLY_GATEWAYS for found, gateway in records.of(kind).items()):
        delete_gateway(builder.step(), records.vpc, gateway, records.of(GatewayMapping).get(gateway_id))
    for stored in [endpoint for endpoint in records.of(VpcEndpoint).values() if endpoint.record.number]:
        mapping = records.of(GatewayMapping).get(stored.record.id)
        endpoints.delete_writes(builder.step(), records.vpc, stored, mapping)
    for subnet in records.of(Subnet).values():
        delete_subnet(builder, records, subnet)
    for table in records.of(RouteTable).values():
        if not table.record.main:
            delete_part(builder.step(), records.vpc, table)
        elif table.record.routes:  # they may refer to prefix lists, which go before it does
            empty = msgspec.structs.replace(table.record, routes=(), propagating=())
            builder.step().change(keys.resource(empty.id), table.mod_revision, empty)
    _delete_policies(builder, records)
    for resource in logs.keys() - {records.vpc.record.id, *records.of(Subnet), *records.of(NetworkInterface)}:
        delete_logs(builder.step(), records.vpc.record, logs, resource)  # of what had gone before they went with it
    writes = builder.step()
    kinds = [kind for kind in of_vpc() if kind.type not in (FlowLog, PeeringConnection)]  # those have gone by then
    along = [stored.record for kind in kinds for stored in records.of(kind.type).values() if kind.goes_along(stored.record)]
    vpcs.delete_writes(writes, builder.caller, records.vpc, along, builder.inventory.raw.get(vni_key(records.vni)), builder.claim)
    delete_logs(writes, records.vpc.record, logs, records.vpc.record.id)


def _delete_policies(builder: PlanBuilder, records: VpcRecords) -> None:
    """Add the end of a VPC's groups, prefix lists and ACLs but for those that came with it."""
    groups = records.of(SecurityGroup).values()
    own = [stored for stored in groups if not stored.record.is_default]
    defaults = [stored for stored in groups if stored.record.is_default]
    delete_filters(builder, records.vpc.record, own, list(records.of(PrefixList).values()), defaults)
    for acl in records.of(NetworkAcl).values():
        if not acl.record.is_default:
            delete_part(builder.step(), records.vpc, acl)


def delete_filters(
    builder: PlanBuilder,
    vpc: Vpc,
    groups: Sequence[Stored[SecurityGroup]],
    lists: Sequence[Stored[PrefixList]],
    referring: Sequence[Stored[SecurityGroup]] = (),
) -> None:
    """Add the end of groups and prefix lists that no interface uses; of their rules and of those of `referring` first."""
    gone = {stored.record.id for stored in groups} | {stored.record.id for stored in lists}
    for stored in (*groups, *referring):
        group = stored.record
        if referred(group) & gone - {group.id}:
            empty = msgspec.structs.replace(group, ingress=(), egress=())
            builder.step().change(keys.resource(group.id), stored.mod_revision, empty)
    for stored in groups:
        delete_unused(builder.step(), vpc, stored, builder.revision_of(use_key(stored.record.id)))
    for found in lists:
        delete_unused(builder.step(), vpc, found, builder.revision_of(use_key(found.record.id)))


def delete_vif(builder: PlanBuilder, records: VpcRecords, stored: Stored[VirtualInterface]) -> None:
    """Add the end of a virtual interface."""
    vif = stored.record
    direct_connect.delete_writes(builder.step(), records.vpc, stored)
    if not vif.rejected:
        builder.vlans.get(vif.connection, {}).pop((vif.outer_vlan, vif.vlan), None)


def delete_vpn(builder: PlanBuilder, records: VpcRecords, stored: Stored[VpnConnection]) -> None:
    """Add the end of a VPN connection."""
    vpn, pair = stored.record, builder.pair_of(records)
    private.delete_writes(builder.step(), records.vpc, stored, pair)
    builder.vpn_uses.discard(keys.vpn_use(records.vpc.record.owner, vpn.customer_gateway, vpn.id))
    builder.ike_peers.difference_update(private.ike_peers(pair, vpn))


def delete_subnet(builder: PlanBuilder, records: VpcRecords, subnet: Stored[Subnet]) -> None:
    """Add the deletion of a subnet that will be empty by then."""
    cursor = builder.revision_of(cursor_key(subnet.record.id))
    used = builder.revision_of(use_key(records.vpc.record.id))
    subnets.delete_writes(builder.step(), records.vpc, subnet, builder.logs_of(records), cursor, used)


def route_count(records: VpcRecords) -> int:
    """Return how many routes a VPC's tables have besides the local ones."""
    return sum(len(table.routes) for table in records.each(RouteTable))


def vpc_deletion(records: VpcRecords, action: Action = Action.DELETE, why: tuple[Difference, ...] = ()) -> Change:
    """Return what people read of a VPC's deletion."""
    vpc = records.vpc.record
    count = len(records.of(Instance))
    return Change(
        action=action,
        kind="vpc",
        owner=vpc.owner,
        name=vpc.name,
        resource_id=vpc.id,
        differences=why,
        breaks=f"{count} instance(s) end" if count else "",
        ends=count,
        routes=route_count(records),
        hosts=carriers(records),
    )
