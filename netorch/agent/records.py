"""The records that this host watches, and what their changes made dirty: an agent's only memory of the store.

An unreadable record isolates only its VPC: the VPC stays as it was last compiled, and the reason is published.

A host may carry thousands of VPCs. The indexes keep the cost of one record's change independent of their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Set
from contextlib import suppress
from typing import Final

from netorch.agent.indexes.dirty import Dirty
from netorch.agent.indexes.elastic_ips import ElasticIps
from netorch.agent.indexes.endpoint_ends import consumers_of
from netorch.agent.indexes.handovers import Handovers
from netorch.agent.indexes.middleboxes import Middleboxes
from netorch.agent.indexes.named import NamedAddresses
from netorch.agent.indexes.peerings import Peerings
from netorch.agent.indexes.placements import why_not_carried
from netorch.agent.indexes.pools import Pools
from netorch.agent.indexes.private_ends import PrivateEnds
from netorch.agent.indexes.seats import Seats
from netorch.agent.indexes.services import Services
from netorch.agent.indexes.underlay_mtus import UnderlayMtus
from netorch.compiler.base import Gateway, Identity, LocalPeer, Middlebox, Peer, PeerIdentity, Phase, RoutesFromPeer
from netorch.compiler.interface_endpoint import Backend
from netorch.compiler.private import LocalTunnel, LocalVif
from netorch.errors import UnreadableRecord
from netorch.model.addr import parse_prefix
from netorch.model.eni import EniStatus, Host, NetworkInterface, Role
from netorch.model.flow_log import FlowLog
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import GatewayMapping, Mapping, PublicMapping
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.target import TargetKind
from netorch.model.security import SecurityGroup
from netorch.model.status import Sealed
from netorch.model.vpc import RouteTable, Vpc
from netorch.records import keys
from netorch.records.codec import decode_value
from netorch.records.flows import HandedOver
from netorch.records.mirror import Mirror, RecordChange, WatchedVpc
from netorch.state.daemons.services.relay import Target

_NAMED: Final = 3  # keys named in a message


class Records(Mirror):
    """All records that this host knows from the store."""

    def __init__(self, host_name: str) -> None:
        super().__init__()
        self.host_name = host_name
        self.host: Host | None = None
        self.host_problem = ""  # why the host's record is unreadable; `host` is then the last readable one
        self.drained = False  # whether hosts should stop sending to this edge
        self.placements: set[str] = set()  # ids of the resources that this host must carry
        self.strays: set[str] = set()  # keys below this host's that this version does not know, or whose names are no ids
        self.moving: dict[tuple[int, str], Mapping] = {}  # the few mappings that name two hosts
        # Prefixes of all records that this host needs, except `Moves.watched_prefixes`, and how often they have changed.
        own = (keys.host_prefix(host_name), keys.secret_prefix(host_name))
        self.prefixes = {*own, keys.mtu_prefix(), keys.pool_prefix()}
        self.prefix_changes = 0
        self.underlay_mtus = UnderlayMtus()
        self.peerings = Peerings()
        self.mapped = Peerings()  # mapped connections that this host, an edge, carries
        self.seats = Seats()
        self.handovers = Handovers()
        self.private_ends = PrivateEnds(host_name)
        self.elastic_ips = ElasticIps()
        self.named = NamedAddresses()
        self.pools = Pools()
        self.services = Services()
        self.statuses: dict[str, EniStatus] = {}  # key below hoststat/ -> status
        self.handed_over: dict[str, HandedOver] = {}  # interface moving to this host -> its connections on the old host
        self.ailing: dict[str, frozenset[Target]] = {}  # connection with an endpoint service -> targets that do not answer it
        self.logged: set[int] = set()  # VPCs with flow logs
        self.dirty = Dirty()
        self._carried: set[int] = set()
        self._placements_of: dict[int, dict[str, str]] = {}  # VNI -> id -> why this agent cannot carry it, or nothing
        self._identities: dict[int, Counter[tuple[str, ...]]] = {}  # VNI -> how many mappings have each set of groups
        self._middleboxes: dict[int, Middleboxes] = {}

    def forget_vpc(self, vni: int) -> WatchedVpc | None:
        """Forget a VPC that has nothing left on this host."""
        records = super().forget_vpc(vni)
        self.logged.discard(vni)
        for index in (self.elastic_ips, self.named, self.seats):
            index.forget(vni)
        self._identities.pop(vni, None)
        self._middleboxes.pop(vni, None)
        self.private_ends.gateways.pop(vni, None)
        if records is None:
            return None
        for address, mapping in records.mappings.items():
            self.moving.pop((vni, address), None)
            self.underlay_mtus.follow((vni, address), mapping.record, None)
        mapped = (found.gateway for found in records.each(PeeringConnection) if found.gateway is not None)
        for gateway in (*records.each(GatewayMapping), *mapped):
            self.underlay_mtus.follow((vni, gateway.gateway), gateway, None)
        return records

    def forget_statuses(self, watched: Collection[str]) -> None:
        """Forget other hosts' statuses of interfaces that are no longer watched: they may be outdated when watched again."""
        kept = tuple(prefix for prefix in watched if prefix.startswith("hoststat/"))
        for key in [key for family in self.families("hoststat") for key in self.below(family) if not key.startswith(kept)]:
            self.forget(key)
            self._set_status(key, None)

    def take_dirty(self) -> Dirty:
        """Return what became dirty since the last call."""
        dirty, self.dirty = self.dirty, Dirty()
        for place in [place for place in dirty.mappings if self.is_isolated(place[0])]:
            self.dirty.mappings[place] = dirty.mappings.pop(place)  # until its VPC is no longer isolated
        for place in [place for place in dirty.ended if self.is_isolated(place[0])]:
            dirty.ended.discard(place)
            self.dirty.ended.add(place)
        return dirty

    def carried(self) -> Set[int]:
        """Return the VNIs that have something on this host, and those of their active peers, as a live view."""
        return self._carried

    def placements_of(self, vni: int) -> Collection[str]:
        """Return the interfaces of a VPC that this host must carry."""
        return self._placements_of.get(vni, {}).keys()

    def problem(self, vni: int) -> str:
        """Return why a VPC must not be compiled now, or nothing."""
        refused = next((why for _, why in sorted(self._placements_of.get(vni, {}).items()) if why), "")
        return refused or (self.vpcs[vni].problem() if vni in self.vpcs else "no record of the VPC has arrived yet")

    def is_isolated(self, vni: int) -> bool:
        """Return whether the records of a VPC cannot be interpreted: then the agent changes nothing of it in the kernel."""
        return any(self._placements_of.get(vni, {}).values()) or (vni in self.vpcs and self.vpcs[vni].is_isolated)

    def gives(self, vni: int, prefix: str) -> bool:
        """Return whether a VPC has a public address or prefix, or may have it according to an unreadable record."""
        address, _, length = prefix.partition("/")
        if length == "32":
            return self.has(keys.public_mapping(vni, address))
        records, key = self.vpcs.get(vni), keys.vpc(vni)
        if records is None or not self.has(key):
            return False
        ranges = (parse_prefix(cidr) for vpc in records.each(Vpc) for cidr in vpc.ipv6_pools)
        return key in records.decode_errors or any(given.contains(parse_prefix(prefix)) for given in ranges)

    def strange(self) -> str:
        """Return a message about records that this version cannot use, or nothing."""
        pools = self.pools.unreadable if self.host is not None and self.host.role is Role.EDGE else set()  # only edges use them
        named = ", ".join(sorted(self.strays | pools)[:_NAMED])
        return f"this version cannot use {named}; upgrade netorch here, or see netorch store check" if named else ""

    def changed_other(self, key: str, value: bytes | None) -> None:
        """Record a change outside VPCs: of hosts, pools, services, secrets or MTUs."""
        root, _, rest = key.partition("/")
        if root == "host":
            self._set_host(key, rest.partition("/")[2], value)
        elif root == "hoststat":
            self._set_status(key, value)
        elif root == "pool":
            self.pools.update(rest, value)
            self.dirty.host = True
        elif root in ("gwsvc", "bucket"):
            self.services.update(key, value)
            self.dirty.host = True
        elif root == "secret" and (vni := self.private_ends.update(key, value)) is not None:
            self.dirty.mark(vni, Sealed)
        elif root == "underlay":
            for vni, name in self.underlay_mtus.update(rest.partition("/")[2], value):
                self._set_underlay_mtu(vni, name)

    def _set_underlay_mtu(self, vni: int, name: str) -> None:
        """Note that the underlay MTU changed at a host of a mapping or gateway."""
        if is_id(name):
            self.dirty.mark(vni, Gateway)
            return
        mapping = self.vpcs[vni].mappings[name].record
        self.dirty.mappings.setdefault((vni, name), mapping)
        self._note_middlebox(vni, mapping)

    def _set_host(self, key: str, rest: str, value: bytes | None) -> None:
        what, _, name = rest.partition("/")
        if what == "spec":
            self._set_spec(key, value)
        elif what == "drained":
            self.drained, self.dirty.host = value is not None, True
        elif what == "placement" and is_id(name):
            self._set_placement(key, name, value)
        elif what != "live":
            (self.strays.discard if value is None else self.strays.add)(key)

    def _set_spec(self, key: str, value: bytes | None) -> None:
        self.dirty.host, self.host_problem = True, ""
        try:
            self.host = decode_value(key, value, Host) if value is not None else None
        except UnreadableRecord as error:
            self.host_problem = str(error)
        served = {keys.service_prefix(), keys.bucket_prefix()}  # only an edge's proxy needs them
        self.prefixes = self.prefixes | served if self.host and self.host.role is Role.EDGE else self.prefixes - served
        self.prefix_changes += 1

    def set_up(self, names: Set[str], *, invites: bool) -> None:
        """Record which tunnels and virtual interfaces on this host are up, and whether sites may send to this edge."""
        for vni in self.private_ends.set_up(names, invites=invites):
            self.dirty.mark(vni, LocalTunnel, LocalVif)

    def set_silent(self, silent: Set[str], dead: Set[str] = frozenset()) -> None:
        """Record the edges that do not report ready to this host, and those that do not answer at all."""
        for vni in self.seats.set_silent(silent, dead):
            self.dirty.mark(vni, Gateway)

    def set_standby(self, vteps: Set[str]) -> None:
        """Record the edges whose seats of stateful gateways must not be used now."""
        for vni in self.seats.set_standby(vteps):
            self.dirty.mark(vni, Gateway)

    def _set_placement(self, key: str, resource_id: str, value: bytes | None) -> None:
        vni = vni_of(resource_id)
        self.dirty.mark(vni, Phase)
        if value is not None:
            self.placements.add(resource_id)
            is_first = vni not in self._placements_of
            self._placements_of.setdefault(vni, {})[resource_id] = why_not_carried(key, resource_id, value)
            if is_first:
                self._come_or_gone(vni)
        else:
            self.placements.discard(resource_id)
            others = self._placements_of.get(vni, {})
            others.pop(resource_id, None)
            if not others and self._placements_of.pop(vni, None) is not None:
                self._come_or_gone(vni)
        if is_id(resource_id, TargetKind.PEERING.value):
            self._set_mapped(vni)

    def _come_or_gone(self, vni: int) -> None:
        """Update what depends on whether a VPC has anything on this host."""
        self._follow(vni)
        self._set_peers(vni)
        for other in self.peerings.peered_with(vni):
            self.dirty.mark(other, LocalPeer)

    def _set_mapped(self, vni: int) -> None:
        """Update a VPC's mapped connections that this host must carry."""
        known = self.vpcs[vni].each(PeeringConnection) if vni in self.vpcs else ()
        for peer in self.mapped.update(vni, (found for found in known if found.gateway and found.id in self.placements)):
            self._follow(peer)

    def _set_peers(self, vni: int) -> None:
        """Update a VPC's active peers; they count while the VPC has something on this host."""
        known = self.vpcs[vni].each(PeeringConnection) if vni in self._placements_of and vni in self.vpcs else ()
        before = self.peerings.of(vni)
        for peer in self.peerings.update(vni, (found for found in known if found.is_native)):
            if peer in before and peer in self.vpcs:
                self.dirty.ended |= {(vni, address) for address in self.vpcs[peer].mappings}
            self._follow(peer)
            self.dirty.mark(vni, Peer, LocalPeer, PeerIdentity)
            self.dirty.mark(peer, RoutesFromPeer)

    def _follow(self, vni: int) -> None:
        """Follow the records of a VPC that this host carries; stop following others."""
        prefixes = {keys.vpc_prefix(vni), keys.map_prefix(vni)}
        self.prefix_changes += 1
        if vni in self._placements_of or self.peerings.peered_with(vni) or self.mapped.peered_with(vni):
            self._carried.add(vni)
            self.prefixes |= prefixes
        else:
            self._carried.discard(vni)
            self.prefixes -= prefixes

    def changed(self, change: RecordChange) -> None:
        """Mark what a changed record of a VPC makes dirty."""
        vni, unreadable = change.vni, change.unreadable or change.was_unreadable
        if change.of is Mapping:
            if unreadable:
                self.dirty.mark(vni)
            if not change.unreadable:
                self._set_mapping(vni, change.name, change.before, change.after)
            return
        self.dirty.mark(vni, *((change.of,) if change.of is not None else ()))
        if change.unreadable:
            return
        if change.of is GatewayMapping:
            self.seats.update(vni, change.name, change.after)
            self.private_ends.update_gateway(vni, change.name, change.after)
            self.underlay_mtus.follow((vni, change.name), change.before, change.after)
        if change.of is PublicMapping:
            self.elastic_ips.update(vni, change.before, change.after)
        for consumer in self._carried.intersection(consumers_of(self.vpcs[vni], change.of)):
            self.dirty.mark(consumer, Backend)
        if change.of is PeeringConnection:
            self._set_peers(vni)
            self._set_mapped(vni)
            was, now = (found.gateway if found is not None else None for found in (change.before, change.after))
            self.seats.update(vni, change.name, now)
            self.underlay_mtus.follow((vni, change.name), was, now)
        elif change.of is Vpc:
            for other in self.peerings.peered_with(vni):
                self.dirty.mark(other, Peer)
        elif change.of is FlowLog:
            (self.logged.add if self.vpcs[vni].of(FlowLog) else self.logged.discard)(vni)
        before, after, boxes = change.before, change.after, self.middleboxes_of(vni)
        for address in self.named.update(vni, before, after) if change.of is NetworkInterface else ():
            self.dirty.mappings.setdefault((vni, address), self.vpcs[vni].one(Mapping, address))
        if (change.of is NetworkInterface and boxes.set_interface(change.name, after)) or (
            change.of is RouteTable and boxes.set_table(change.name, after)
        ):
            self.dirty.mark(vni, Middlebox)
        if isinstance(before, SecurityGroup) and after is not None and after.terminations > before.terminations:
            self.dirty.terminations.add((vni, change.name))

    def _set_mapping(self, vni: int, address: str, before: Mapping | None, mapping: Mapping | None) -> None:
        if mapping is not None and mapping.move is not None:
            self.moving[vni, address] = mapping
        else:
            self.moving.pop((vni, address), None)
        self.underlay_mtus.follow((vni, address), before, mapping)
        self.dirty.mappings.setdefault((vni, address), before)
        if before is not None and (mapping is None or mapping.eni != before.eni):
            self.address_ended(vni, address)
        self._count_identity(vni, before, mapping)
        for either in (before, mapping):
            # The place of a local interface's address decides the interface's phase, on which the VPC's own part depends.
            if either is not None and either.eni in self.placements:
                self.dirty.mark(vni, Phase)
            if either is not None:
                self._note_middlebox(vni, either)

    def address_ended(self, vni: int, address: str) -> None:
        """Note that an interface lost an address: its connections, in the VPC and with peers, are not the next holder's."""
        self.dirty.ended |= {(known, address) for known in (vni, *self.peerings.peered_with(vni))}

    def _count_identity(self, vni: int, before: Mapping | None, after: Mapping | None) -> None:
        """Count the sets of groups. A set that appears or disappears changes the elements of rules that refer to its groups."""
        old, new = (mapping.groups if mapping is not None else None for mapping in (before, after))
        if old == new:
            return
        identities = self._identities.setdefault(vni, Counter())
        if old is not None:
            identities[old] -= 1
            if not identities[old]:
                del identities[old]
                self._mark_identities(vni)
        if new is not None:
            identities[new] += 1
            if identities[new] == 1:
                self._mark_identities(vni)

    def _mark_identities(self, vni: int) -> None:
        self.dirty.mark(vni, Identity)
        for other in self.peerings.peered_with(vni):
            self.dirty.mark(other, PeerIdentity)

    def _set_status(self, key: str, value: bytes | None) -> None:
        """Take what another host says. It may write anything below its own prefix, so a key counts only in its exact form.

        An interface's keys are watched by the whole id. So the one without anything behind the id is of the watched interface.
        """
        match key.split("/")[2:]:
            case [eni_id] if is_id(eni_id, "eni"):
                self._set_state(key, eni_id, value)
            case ["flows", eni_id] if is_id(eni_id, "eni"):
                self._set_flows(eni_id, value)
            case ["handover", *_]:
                self.handovers.update(key, value)

    def _set_state(self, key: str, eni_id: str, value: bytes | None) -> None:
        self.statuses.pop(key, None)
        if value is not None:
            with suppress(UnreadableRecord):  # an unreadable status counts as missing: the move goes on without it
                self.statuses[key] = decode_value(key, value, EniStatus)
        self.dirty.mark(vni_of(eni_id), Phase)

    def _set_flows(self, eni_id: str, value: bytes | None) -> None:
        self.handed_over.pop(eni_id, None)
        if value is not None:
            with suppress(UnreadableRecord):  # then its connections must start again
                self.handed_over[eni_id] = decode_value(eni_id, value, HandedOver)
                self.dirty.handed_over.add(eni_id)

    def _note_middlebox(self, vni: int, mapping: Mapping) -> None:
        if self.middleboxes_of(vni).holds(mapping.eni):
            self.dirty.mark(vni, Middlebox)

    def middleboxes_of(self, vni: int) -> Middleboxes:
        """Return the interfaces of a VPC that are route targets or have no source/destination check."""
        found = self._middleboxes.get(vni)
        if found is None:
            found = self._middleboxes[vni] = Middleboxes()
        return found

    def groups_of(self, vni: int) -> Collection[tuple[str, ...]]:
        """Return all sets of groups that a VPC's mappings have."""
        return self._identities.get(vni, {}).keys()
