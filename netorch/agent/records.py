"""The records that this host watches, decoded: the only memory of the store that an agent has.

`put` and `drop` edit it and say what became dirty; nothing here does I/O. A record that cannot be decoded poisons its VPC only:
the VPC stays as it was last compiled, and the reason is told.

A host may carry thousands of VPCs: one record's change must cost the same then as with ten, hence the indexes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Set
from contextlib import suppress
from typing import Any, Final

import msgspec

from netorch.agent.peers import Peers
from netorch.compiler.base import HostView, LocalEni, Phase, VpcView
from netorch.errors import UnreadableRecord
from netorch.model.eni import EniStatus, Host, Instance, NetworkInterface
from netorch.model.flow_log import FlowLog
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import Mapping
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records import keys
from netorch.records.codec import decode_value, parse_value
from netorch.records.read import VPC_TYPES
from netorch.state.flow import HandedOver

RULE_KINDS: Final = frozenset({"sg", "acl", "pl"})  # a change of one of these leaves everything but rules as it is


class MissingRecord(LookupError):
    """A record that another one refers to is not there."""


class Dirty(msgspec.Struct, kw_only=True):
    """What a change of records asks for. `mappings` maps (vni, address) to the mapping that was compiled before."""

    host: bool = False
    structures: set[int] = msgspec.field(default_factory=set)
    rules: set[int] = msgspec.field(default_factory=set)
    mappings: dict[tuple[int, str], Mapping | None] = msgspec.field(default_factory=dict)
    flow_logs: bool = False
    terminations: set[tuple[int, str]] = msgspec.field(default_factory=set)  # (VNI, group) of which connections are to end
    handed_over: set[str] = msgspec.field(default_factory=set)  # interfaces whose connections have come
    ended: set[tuple[int, str]] = msgspec.field(default_factory=set)  # (VNI, address) that its interface has no more

    def __bool__(self) -> bool:
        sets = (self.structures, self.rules, self.mappings, self.terminations, self.handed_over, self.ended)
        return self.host or self.flow_logs or any(map(bool, sets))


class VpcRecords:
    """The decoded records of one VPC."""

    def __init__(self) -> None:
        self.vpc: Vpc | None = None
        self.subnets: dict[str, Subnet] = {}
        self.route_tables: dict[str, RouteTable] = {}
        self.enis: dict[str, NetworkInterface] = {}
        self.instances: dict[str, Instance] = {}
        self.groups: dict[str, SecurityGroup] = {}
        self.acls: dict[str, NetworkAcl] = {}
        self.prefix_lists: dict[str, PrefixList] = {}
        self.flow_logs: dict[str, FlowLog] = {}
        self.mappings: dict[str, Mapping] = {}
        self.classes: Counter[tuple[str, ...]] = Counter()  # how many mappings have each set of groups
        self.poison: dict[str, str] = {}  # key -> why it cannot be read

    def table(self, kind: str) -> dict[str, Any]:
        """Return the dictionary in which records of that kind stand."""
        tables: dict[str, dict[str, Any]] = {
            "subnet": self.subnets,
            "rtb": self.route_tables,
            "eni": self.enis,
            "i": self.instances,
            "sg": self.groups,
            "acl": self.acls,
            "pl": self.prefix_lists,
            "fl": self.flow_logs,
        }
        return tables[kind]

    def rules(self) -> dict[str, Any]:
        """Return the fields of a view that only `rules` of a compiler reads."""
        return {
            "groups": tuple(self.groups[name] for name in sorted(self.groups)),
            "acls": tuple(self.acls[name] for name in sorted(self.acls)),
            "prefix_lists": tuple(self.prefix_lists[name] for name in sorted(self.prefix_lists)),
            "classes": frozenset(self.classes),
        }

    def problem(self) -> str:
        """Return why the VPC must not be compiled now, or nothing."""
        if self.poison:
            key = min(self.poison)
            return f"{key}: {self.poison[key]}"
        return "" if self.vpc is not None else "the VPC record is missing"


class Records:
    """Everything this host knows from the store."""

    def __init__(self, host_name: str) -> None:
        self.host_name = host_name
        self.raw: dict[str, tuple[int, bytes]] = {}  # key -> (mod_revision, value)
        self.host: Host | None = None
        self.host_flaw = ""  # why the host's record cannot be read; `host` is then the last one that could
        self.wants: set[str] = set()
        self.moving: dict[tuple[int, str], Mapping] = {}  # the few mappings that name two hosts
        self.prefixes = {
            keys.host_prefix(host_name),
            keys.mtu_prefix(),
        }  # of all records that this host needs, but for `Moves.watched_prefixes`
        self.peers = Peers()
        self.vpcs: dict[int, VpcRecords] = {}
        self.statuses: dict[str, EniStatus] = {}  # key below hoststat/ -> status
        self.handed_over: dict[str, HandedOver] = {}  # interface on its way to this host -> its connections where it was
        self.logged: set[int] = set()  # VPCs with flow logs
        self.dirty = Dirty()
        self.changes = 0  # how often `raw` has changed
        self._wants_of: dict[int, set[str]] = {}
        self._keys_of: dict[str, set[str]] = {}  # the first two parts of a key -> the known keys

    def put(self, key: str, value: bytes, revision: int) -> None:
        """Take in a record; one that is not newer than the known one changes nothing."""
        known = self.raw.get(key)
        if known is not None and revision <= known[0]:
            return
        self.raw[key] = (revision, value)
        self.changes += 1
        self._keys_of.setdefault(_family(key), set()).add(key)
        if known is None or known[1] != value:
            self._set(key, value)

    def drop(self, key: str, revision: int) -> None:
        """Forget a record that was deleted at `revision`."""
        known = self.raw.get(key)
        if known is not None and known[0] < revision:
            self._forget(key)
            self._set(key, None)

    def replace(self, prefixes: Iterable[str], listed: dict[str, tuple[int, bytes]], revision: int) -> None:
        """Make the records below `prefixes` equal to what a listing at `revision` returned."""
        for prefix in prefixes:
            known = self._keys_of.get(_family(prefix), ())
            for key in [key for key in known if key.startswith(prefix) and key not in listed]:
                self.drop(key, revision)
        for key, (modified, value) in listed.items():
            self.put(key, value, modified)

    def forget_vpc(self, vni: int) -> None:
        """Forget a VPC that nothing on this host belongs to any more."""
        for prefix in (keys.vpc_prefix(vni), keys.map_prefix(vni)):
            for key in tuple(self._keys_of.get(_family(prefix), ())):
                self._forget(key)
        records = self.vpcs.pop(vni, None)
        self.logged.discard(vni)
        for address, mapping in records.mappings.items() if records is not None else ():
            self.moving.pop((vni, address), None)
            self.peers.follow((vni, address), mapping, None)

    def forget_statuses(self, watched: Collection[str]) -> None:
        """Forget what other hosts said of interfaces that are no longer watched: it may be outdated when they are again."""
        for key in self.statuses.keys() - set(watched):
            del self.statuses[key]
        for family in [family for family in self._keys_of if family.startswith("hoststat/")]:
            for key in [key for key in self._keys_of[family] if key not in watched]:
                self._forget(key)
                if "/flows/" in key:
                    self.handed_over.pop(key.rpartition("/")[2], None)

    def _forget(self, key: str) -> None:
        del self.raw[key]
        self.changes += 1
        family = self._keys_of[_family(key)]
        family.discard(key)
        if not family:
            del self._keys_of[_family(key)]

    def take_dirty(self) -> Dirty:
        """Return what became dirty since the last call."""
        dirty, self.dirty = self.dirty, Dirty()
        return dirty

    def carried(self) -> Set[int]:
        """Return the VNIs that have something on this host, as a view: it changes with the records."""
        return self._wants_of.keys()

    def wants_of(self, vni: int) -> Collection[str]:
        """Return the interfaces of a VPC that this host is to carry."""
        return self._wants_of.get(vni, ())

    def _set(self, key: str, value: bytes | None) -> None:
        root, _, rest = key.partition("/")
        if root == "host":
            self._set_host(key, rest.partition("/")[2], value)
        elif root == "vpc":
            self._set_vpc(key, rest, value)
        elif root == "map":
            self._set_mapping(key, rest, value)
        elif root == "hoststat":
            self._set_status(key, value)
        elif root == "underlay":
            for place in self.peers.said(rest.partition("/")[2], value):
                self.dirty.mappings.setdefault(place, self.vpcs[place[0]].mappings[place[1]])

    def _set_host(self, key: str, rest: str, value: bytes | None) -> None:
        kind, _, name = rest.partition("/")
        if kind == "spec":
            self._set_spec(key, value)
        elif kind == "want" and is_id(name, "eni"):
            # The key says it all; its value is not needed to know what must not be taken off the host.
            self._set_want(name, wanted=value is not None)

    def _set_spec(self, key: str, value: bytes | None) -> None:
        self.dirty.host, self.host_flaw = True, ""
        try:
            self.host = decode_value(key, value, Host) if value is not None else None
        except UnreadableRecord as error:
            self.host_flaw = f"{key}: the record {error.what}"

    def _set_want(self, eni_id: str, *, wanted: bool) -> None:
        vni = vni_of(eni_id)
        self.dirty.structures.add(vni)
        if wanted:
            self.wants.add(eni_id)
            self._wants_of.setdefault(vni, set()).add(eni_id)
            self.prefixes |= {keys.vpc_prefix(vni), keys.map_prefix(vni)}
            return
        self.wants.discard(eni_id)
        others = self._wants_of.get(vni, set())
        others.discard(eni_id)
        if not others:
            self._wants_of.pop(vni, None)
            self.prefixes -= {keys.vpc_prefix(vni), keys.map_prefix(vni)}

    def _set_vpc(self, key: str, rest: str, value: bytes | None) -> None:
        digits, _, tail = rest.partition("/")
        kind, _, resource = tail.partition("/")
        vni = int(digits, 16)
        records = self.vpcs.setdefault(vni, VpcRecords())
        poisoned = key in records.poison
        record = self._decode(records, key, VPC_TYPES.get(kind), value)
        if kind == "fl":  # changes nothing in the kernel
            self._set_flow_log(vni, records, resource, record)
            return
        only_rules = kind in RULE_KINDS and not poisoned and key not in records.poison
        (self.dirty.rules if only_rules else self.dirty.structures).add(vni)
        if key in records.poison:
            return  # the last one that could be read stays
        if kind == "vpc":
            records.vpc = record
        elif kind in VPC_TYPES:
            table = records.table(kind)
            before = table.pop(resource, None)
            if record is not None:
                table[resource] = record
            if isinstance(before, SecurityGroup) and record is not None and record.terminations > before.terminations:
                self.dirty.terminations.add((vni, resource))

    def _set_flow_log(self, vni: int, records: VpcRecords, resource: str, record: FlowLog | None) -> None:
        """Keep a flow log; one that cannot be read is left out, and poisons nothing: the VPC's packets do not depend on it."""
        records.poison.pop(keys.flow_log(vni, resource), None)
        if record is None:
            records.flow_logs.pop(resource, None)
        else:
            records.flow_logs[resource] = record
        self.dirty.flow_logs = True
        if records.flow_logs:
            self.logged.add(vni)
        else:
            self.logged.discard(vni)

    def _set_mapping(self, key: str, rest: str, value: bytes | None) -> None:
        digits, _, address = rest.partition("/")
        vni = int(digits, 16)
        records = self.vpcs.setdefault(vni, VpcRecords())
        before = records.mappings.get(address)
        poisoned = key in records.poison
        mapping = self._decode(records, key, Mapping, value)
        if poisoned or key in records.poison:
            self.dirty.structures.add(vni)
        if key in records.poison:
            return  # the last one that could be read stays
        if mapping is None:
            records.mappings.pop(address, None)
        else:
            records.mappings[address] = mapping
        if mapping is not None and mapping.move is not None:
            self.moving[vni, address] = mapping
        else:
            self.moving.pop((vni, address), None)
        self.peers.follow((vni, address), before, mapping)
        self.dirty.mappings.setdefault((vni, address), before)
        if before is not None and (mapping is None or mapping.eni != before.eni):
            self.dirty.ended.add((vni, address))
        self._count_class(vni, records, before, mapping)
        for either in (before, mapping):
            # An interface of ours: where its address lives decides its phase, which the VPC's own part depends on.
            if either is not None and either.eni in self.wants:
                self.dirty.structures.add(vni)

    def _count_class(self, vni: int, records: VpcRecords, before: Mapping | None, after: Mapping | None) -> None:
        """Keep count of the sets of groups; one that is new, or gone, changes what rules that refer to its groups come to."""
        old, new = (mapping.groups if mapping is not None else None for mapping in (before, after))
        if old == new:
            return
        if old is not None:
            records.classes[old] -= 1
            if not records.classes[old]:
                del records.classes[old]
                self.dirty.rules.add(vni)
        if new is not None:
            records.classes[new] += 1
            if records.classes[new] == 1:
                self.dirty.rules.add(vni)

    def _set_status(self, key: str, value: bytes | None) -> None:
        eni_id = key.rpartition("/")[2]
        if "/flows/" in key:
            self._set_flows(eni_id, value)
            return
        self.statuses.pop(key, None)
        if value is not None:
            with suppress(UnreadableRecord):  # no word, then: the move goes on as with a host that says nothing
                self.statuses[key] = decode_value(key, value, EniStatus)
        self.dirty.structures.add(vni_of(eni_id))

    def _set_flows(self, eni_id: str, value: bytes | None) -> None:
        self.handed_over.pop(eni_id, None)
        if value is not None:
            with suppress(UnreadableRecord):  # its connections must begin anew, then
                self.handed_over[eni_id] = decode_value(eni_id, value, HandedOver)
                self.dirty.handed_over.add(eni_id)

    def _decode(self, records: VpcRecords, key: str, kind: type | None, value: bytes | None) -> Any:  # noqa: ANN401 - many types
        records.poison.pop(key, None)
        if value is None:
            return None
        if kind is None:
            records.poison[key] = "a kind of resource that this agent does not know; upgrade it"
            return None
        # Whether a mapping makes sense is asked when it is compiled: then only its own address is left out.
        read = parse_value if kind is Mapping else decode_value
        try:
            return read(key, value, kind)
        except UnreadableRecord as error:
            records.poison[key] = f"the record {error.what}"
            return None

    def local_enis(self, vni: int, phases: dict[str, Phase]) -> Iterator[LocalEni]:
        """Yield the interfaces of a VPC that are here in some phase. Raises MissingRecord."""
        records = self.vpcs[vni]
        for eni_id in sorted(phases):
            try:
                eni = records.enis[eni_id]
                subnet, instance = records.subnets[eni.subnet], records.instances[eni.instance]
            except KeyError as error:
                raise MissingRecord(f"the record {error.args[0]} is missing") from error
            yield LocalEni(eni=eni, subnet=subnet, instance=instance, phase=phases[eni_id])

    def view(self, vni: int, host: HostView, phases: dict[str, Phase], zone: int) -> VpcView:
        """Return what the compilers may see of a VPC. Raises MissingRecord."""
        records = self.vpcs[vni]
        vpc = records.vpc
        if vpc is None:
            raise MissingRecord(f"the record {keys.vpc(vni)} is missing")
        local = tuple(self.local_enis(vni, phases))
        return VpcView(
            host=host,
            vpc=vpc,
            subnets=tuple(records.subnets[name] for name in sorted(records.subnets)),
            route_tables=tuple(records.route_tables[name] for name in sorted(records.route_tables)),
            local=local,
            held=frozenset(address for item in local if item.phase is not Phase.ARRIVING for address in item.eni.addresses),
            zone=zone,
            mtus=self.peers.mtus,
            **records.rules(),
        )


def _family(key: str) -> str:
    """Return the first two parts of a key or a prefix, e.g. vpc/001388."""
    root, _, rest = key.partition("/")
    return f"{root}/{rest.partition('/')[0]}"
