"""The state that the planning of all VPCs of a cloud shares: the inventory, and the decisions so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

from netorch.control.actions.direct_connect.users import vlans_in
from netorch.control.actions.enis import hosts_of
from netorch.control.apply.base.key_files import KeyFiles
from netorch.control.apply.base.subnet_pools import SubnetPools
from netorch.control.apply.changes import Change, Difference, MadeKeys, differences
from netorch.control.apply.sources import Source
from netorch.control.base.edge_users import unheard_in
from netorch.control.base.logged import Logs, by_resource
from netorch.control.base.namespaces import NamespacePlan
from netorch.control.base.pairs import places
from netorch.control.base.peers import unknown_ranges
from netorch.control.base.pools import Addresses, Owners, listed_for
from netorch.control.base.public import Ephemeral, Publics, only_pair, pair_of_addresses
from netorch.control.base.quotas import Quotas, decode_quotas, quota_key
from netorch.control.base.writes import ABSENT, Writes
from netorch.control.placement.choice import PlannedHosts
from netorch.model.addr import parse_prefix
from netorch.model.cloud import DEFAULT_VPC_NAME, ElasticIpDecl
from netorch.model.eni import Instance, NetworkInterface, primary_eni_id
from netorch.model.flow_log import FlowLog
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.outside.public import ElasticIp
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import PrefixList, SecurityGroup
from netorch.model.vpc import DEFAULT_OWNER, Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.read import Stored
from netorch.records.valid.needs import SOURCE_TAG
from netorch.records.vpc import VpcRecords
from netorch.store.alloc import FreeVni
from netorch.store.base import KeyValue

GroupsOf = Callable[[Sequence[str], int], dict[str, Stored[SecurityGroup]]]  # an interface's groups: `PolicyPlanner.groups_of`
Path = tuple[str, str]  # owner and name of a VPC


class PlanBuilder:
    """A plan in the making. It edits copies of the VPCs' records and leaves the inventory unchanged."""

    def __init__(
        self,
        inventory: Inventory,
        caller: Caller,
        source: Source,
        key_files: KeyFiles,
        elastic_ips: Sequence[ElasticIpDecl] = (),
    ) -> None:
        """`elastic_ips` are the declared ones."""
        self.inventory = inventory
        self.caller = caller
        self.source = source
        self.key_files = key_files
        # As they will be after the plan, from here to `places`.
        self.hosts = {name: state.copied() for name, state in inventory.hosts.items()}
        self.pools = dict(inventory.pools)
        self.connections = dict(inventory.connections)
        self.services = dict(inventory.services)  # the operator's
        self.vlans = vlans_in(inventory.raw.values())  # of connections: (outer VLAN, VLAN) -> virtual interface
        self.devices = dict(inventory.customer_gateways)  # by id
        self.dhcp_options = dict(inventory.dhcp_options)  # by id
        self.vpn_uses = {key for key in inventory.raw if key.startswith(keys.vpn_uses())}
        self.ike_peers = {key for key in inventory.raw if key.startswith(keys.ike_peers())}
        self.made_keys: dict[str, MadeKeys] = {}
        self.places = places(inventory.raw.values())  # edges by the keys of their places in pairs
        self.joined: list[str] = []  # new edges of pairs
        self.vnis: dict[Path, FreeVni] = {}  # of new VPCs
        self.interfaces: dict[Path, dict[str, str]] = {}  # of each planned VPC's instances: name -> id of the primary interface
        self.translations: dict[str, dict[str, str]] = {}  # NAT interface -> private address -> name of its elastic IP
        self.elastic_ips = elastic_ips
        self._elastic = {(found.record.owner, found.record.name): found for found in inventory.elastic_ips.values()}
        self.default_instances: set[str] = set()  # instances at the file's top level, by name
        self.has_default_instances = False  # the plan includes the default VPC only for them
        self.vpcs = {vni: records.copied() for vni, records in inventory.vpcs.items()}  # all after the plan, by VNI
        self.planned: dict[Path, VpcRecords] = {}  # the file's after the plan
        self.subnet_pools: dict[int, SubnetPools] = {}  # by VNI
        # Deleted interface endpoints that the plan creates again, by VNI and name: their ids, and their attributes for people.
        self.replaced_endpoints: dict[tuple[int, str], tuple[str, dict[str, Any]]] = {}
        self.groups_of: dict[int, GroupsOf] = {}  # by VNI of planned VPCs
        self.notes: list[str] = []  # for people
        self.deleted: set[int] = set()  # VNIs of deleted VPCs, including those to recreate
        self.replaced: dict[Path, Change] = {}  # deleted VPCs to recreate
        self.changes: list[Change] = []
        self.steps: list[Writes] = []
        self._logs: dict[int, Logs] = {}  # by VNI
        self._publics: dict[int, Publics] = {}  # by VNI
        self._ephemeral: dict[int, Ephemeral] = {}  # by VNI
        self.freed: dict[str, KeyValue] = {}  # keys of public addresses that the plan gives back, with their new values
        self.addresses = self._free_addresses(elastic_ips)
        self.namespaces = NamespacePlan(inventory.raw, _placed(inventory))

    @cached_property
    def placeable(self) -> PlannedHosts:
        """Return the hosts for instances without one; first asked for when all hosts are planned."""
        return PlannedHosts(self.hosts, self.inventory.candidates)

    def _free_addresses(self, elastic_ips: Sequence[ElasticIpDecl]) -> Addresses:
        """Return the public addresses that the plan may give out; requested addresses go only to their requests."""
        requests = [decl.address for decl in elastic_ips if decl.address]
        listed = cache(lambda owner: tuple(listed_for(self.inventory.raw.values(), owner)))
        owners = Owners(addresses=listed, quotas=self.quotas_of)
        unheard = unheard_in(self.inventory)
        return Addresses(self.pools, self.claim, self.inventory.raw.values, self.caller, unheard, owners, requests)

    def default_instances_only(self, owner: str, name: str) -> bool:
        """Return whether the plan includes a VPC only for instances at the top level: the default VPC belongs to no file."""
        return self.has_default_instances and owner == DEFAULT_OWNER and name == DEFAULT_VPC_NAME

    def quotas_of(self, owner: str) -> Quotas:
        """Return an owner's limits."""
        return decode_quotas(self.inventory.raw.get(quota_key(owner)), owner)

    def step(self) -> Writes:
        """Return the next step, empty."""
        writes = Writes()
        self.steps.append(writes)
        return writes

    def tagged(self, wanted: Tags, stored: Tags, *, changed: bool = False) -> tuple[Tags, tuple[Difference, ...]]:
        """Return the tags of a stored resource with the wanted ones, and how its tags and its file differ from before.

        `changed`: the plan changes something else of it.
        """
        before, tags = stored.get(SOURCE_TAG, ""), own_tags(wanted, stored)
        after = self.source.after(before, changed=changed or tags != stored)
        return of_source(tags, after), differences(tags=(visible_tags(stored), wanted), source=(before, after))

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
        """Return the key of a public address after the plan."""
        key = keys.public_address(address)
        return self.freed.get(key) or self.inventory.raw.get(key)

    def elastic_of(self, path: Path) -> Stored[ElasticIp] | None:
        """Return an elastic IP by its owner and name, before the plan."""
        return self._elastic.get(path)

    def elastic_names(self) -> dict[str, str]:
        """Return the names of elastic IPs by their ids."""
        return {allocation: found.record.name for allocation, found in self.inventory.elastic_ips.items()}

    def elastic_name(self, mapping: PublicMapping) -> str:
        """Return the name of a mapping's elastic IP, or its address if it has no name."""
        held = self.inventory.elastic_ips.get(mapping.allocation)
        return (held.record.name if held is not None else "") or mapping.address

    def pair_of(self, records: VpcRecords) -> str:
        """Return the pair of edges that carries a VPC's gateways; nothing if the VPC has none."""
        seats = (seat.host for mapping in records.each(GatewayMapping) for seat in mapping.seats)
        return next((self.hosts[name].host.pair for name in seats if name in self.hosts), "")

    def owner_pair(self, owner: str) -> str:
        """Return the pair that carries all gateways of an owner after the plan; nothing if there is none or several."""
        before = {vni: records for vni, records in self.inventory.vpcs.items() if vni not in self.deleted}
        found = before | {records.vni: records for records in self.planned.values()}
        return only_pair(self.pair_of(records) for records in found.values() if records.vpc.record.owner == owner)

    def ephemeral_in(self, records: VpcRecords) -> Ephemeral:
        """Return the source of ephemeral addresses in a VPC whose gateways are planned."""
        if records.vni not in self._ephemeral:
            pair = self.pair_of(records)
            mark = None if pair else self.revision_of(keys.public_mark(records.vni))
            pair = pair or pair_of_addresses(self.pools, records.vpc.record, records.each(PublicMapping))
            self._ephemeral[records.vni] = Ephemeral(self.addresses, self.caller, records.vpc, pair, mark)
        return self._ephemeral[records.vni]

    def peers_of(self, records: VpcRecords) -> Iterator[Stored[Vpc]]:
        """Yield a VPC's peers by active native connections, after the plan as far as it is made, without deleted ones.

        Raises:
          UnreadableRecord: the record of a VPC that the caller may learn of.
          ApiError: IncorrectState for another owner's.
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
        """Return a VPC's prefix lists before the plan, by id."""
        found = self.inventory.vpcs.get(vni)
        return found.of(PrefixList) if found is not None else {}

    def revision_of(self, key: str) -> int:
        """Return the revision of a key that the inventory holds undecoded, 0 if there is none."""
        kv = self.inventory.raw.get(key)
        return ABSENT if kv is None else kv.mod_revision


def _placed(inventory: Inventory) -> Iterator[tuple[str, Instance]]:
    """Yield every readable instance with its host."""
    everything = [*inventory.vpcs.values(), *(found.rest for found in inventory.isolated.values() if found.rest is not None)]
    for records in everything:
        for instance_id, stored in records.of(Instance).items():
            eni = records.of(NetworkInterface).get(primary_eni_id(instance_id))
            mapping = records.mappings.get(eni.record.address) if eni is not None else None
            if mapping is not None:
                yield mapping.record.host, stored.record


def canonical(prefix: str) -> str:
    """Return a valid prefix in its stored form; an IPv4 prefix has only one form."""
    return str(parse_prefix(prefix)) if ":" in prefix else prefix


def visible_tags(tags: Tags) -> Tags:
    """Return the tags that a customer set, without netorch's own."""
    return {key: value for key, value in tags.items() if key != SOURCE_TAG}


def of_source(tags: Tags, mark: str) -> Tags:
    """Return tags with a file's mark; without a mark they belong to no file."""
    rest = visible_tags(tags)
    return {**rest, SOURCE_TAG: mark} if mark else rest


def own_tags(wanted: Tags, stored: Tags) -> Tags:
    """Return the tags to store: the wanted ones, and netorch's own unchanged."""
    return {**wanted, SOURCE_TAG: stored[SOURCE_TAG]} if SOURCE_TAG in stored else wanted


def carriers(records: VpcRecords) -> tuple[str, ...]:
    """Return the hosts that carry addresses of a VPC."""
    return tuple(hosts_of(mapping.record for mapping in records.mappings.values()))


def with_edges(records: VpcRecords, hosts: Iterable[str]) -> tuple[str, ...]:
    """Return these hosts and the edges that carry gateways of a VPC, sorted."""
    edges = (seat.host for mapping in records.each(GatewayMapping) for seat in mapping.seats)
    return tuple(sorted({*hosts, *edges}))


def instance_hosts(records: VpcRecords, enis: Iterable[Stored[NetworkInterface]]) -> tuple[str, ...]:
    """Return the hosts of these interfaces."""
    return tuple(hosts_of(mapping.record for eni in enis for mapping in records.mappings_of(eni.record).values()))
