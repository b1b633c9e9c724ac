"""Plan the VPN connections of one VPC as declared.

A pre-shared key is sealed when its connection is created. Later the sealed key cannot be compared with the file's.

Only `netorch vpn import` creates connections to AWS: a file cannot declare them, and they stay while the gateway does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from netorch.control.actions.private.connections import (
    Surroundings,
    Wanted,
    check_device,
    create_writes,
    doubled,
    ike_peers,
    inside_of,
    make_connection,
    owner_mark,
    room,
    secrets_of,
    taken_networks,
)
from netorch.control.actions.private.wishes import TunnelWish, checked_wish
from netorch.control.apply.base.ends import delete_vpn
from netorch.control.apply.builder import PlanBuilder, carriers
from netorch.control.apply.changes import Action, Change, Difference, MadeKeys, differences, member_differences
from netorch.control.base.uses import use_key
from netorch.control.base.writes import ABSENT, Writes
from netorch.model.cloud import TunnelDecl, VpcDecl, VpnConnectionDecl
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.vpn import (
    TUNNELS,
    Authentication,
    CustomerGateway,
    Tunnel,
    VirtualPrivateGateway,
    VpnConnection,
    leads_to_aws,
)
from netorch.records import keys
from netorch.records.errors import not_found
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords

VPN_KEYS: Final = 16  # compares and writes of a new one, with the secrets of both tunnels and the guards of both edges
_ENDS: Final = "its tunnels end"


class VpnPlanner:
    """Plans one VPC's VPN connections: deletions first, additions once the gateway exists.

    `guard` returns a step in which the VPC's structure changes.
    """

    def __init__(self, builder: PlanBuilder, decl: VpcDecl, records: VpcRecords, guard: Callable[[], Writes]) -> None:
        self._builder = builder
        self._decl = decl
        self._records = records
        self._guard = guard
        keeps = not isinstance(decl.vpn_gateway, msgspec.UnsetType)
        found = (stored for stored in records.of(VpnConnection).values() if not (keeps and leads_to_aws(stored.record)))
        self._stored = {stored.record.name: stored for stored in found}
        self._ended: dict[str, tuple[Difference, ...]] = {}  # recreated ones, and why

    def plan_deletions(self) -> None:
        """Add the deletion of connections that are undeclared or must be recreated."""
        declared = {decl.name: decl for decl in self._decl.vpn_connections}
        for name, stored in self._stored.items():
            decl, vpn = declared.get(name), stored.record
            why = self._unchangeable(vpn, decl) if decl is not None else ()
            if decl is not None and not why:
                continue
            delete_vpn(self._builder, self._records, stored)
            self._records.of(VpnConnection).pop(vpn.id)
            if decl is None:
                self._note(Action.DELETE, vpn, (), _ENDS)
            else:
                self._ended[name] = why

    def _unchangeable(self, vpn: VpnConnection, decl: VpnConnectionDecl) -> tuple[Difference, ...]:
        """Return the differences for which a connection must be recreated; none if it can stay."""
        device = self._builder.devices.get(vpn.customer_gateway)
        name = (device.record.name if device is not None else "") or vpn.customer_gateway
        wanted = name if decl.customer_gateway == vpn.customer_gateway else decl.customer_gateway
        static = not isinstance(decl.static_routes, msgspec.UnsetType)
        return differences(customer_gateway=(name, wanted), routing=(_routing(vpn.static), _routing(static)))

    def plan(self) -> None:
        """Add new connections and changes of others. Raises ApiError."""
        for decl in self._decl.vpn_connections:
            stored = self._stored.get(decl.name)
            if stored is None or decl.name in self._ended:
                self._add(decl)
            else:
                self._change(decl, stored)

    def _device(self, name: str) -> Stored[CustomerGateway]:
        """Return a customer gateway of the VPC's owner after the plan, by name or id. Raises ApiError."""
        for found in self._builder.devices.values():
            if found.record.owner == self._decl.owner and name in (found.record.name, found.record.id):
                return found
        raise not_found("cgw", name)

    def _all(self) -> Iterator[VpnConnection]:
        """Yield the connections of all VPCs, after the plan as far as it is made."""
        builder = self._builder
        planned = {records.vni: records for records in builder.planned.values()} | {self._records.vni: self._records}
        for vni, records in {**builder.inventory.vpcs, **planned}.items():
            if vni not in builder.deleted:
                yield from records.each(VpnConnection)

    def _add(self, decl: VpnConnectionDecl) -> None:
        builder, records, where = self._builder, self._records, f"VPN connection {decl.name!r}"
        device = self._device(decl.customer_gateway)
        gateway = next(records.each(VirtualPrivateGateway))
        mapping = records.of(GatewayMapping)[gateway.id]
        asked, made_keys = checked_wish(where, [self._wish(tunnel) for tunnel in decl.tunnels], Authentication.PSK)
        others = list(records.each(VpnConnection))
        same = [vpn for vpn in self._all() if vpn.customer_gateway == device.record.id]
        edges = {seat.host: builder.hosts[seat.host] for seat in mapping.record.seats}
        taken = taken_networks([*others, *same], records.each(VirtualInterface))
        around = Surroundings(others=others, taken=taken, mapping=mapping.record, edges=edges)
        total = sum(kv.startswith(keys.vpn_use(self._decl.owner)) for kv in builder.vpn_uses)
        room(builder.quotas_of(self._decl.owner), gateway.id, others, total)
        made = make_connection(builder.caller, where, gateway, device.record, asked, _wanted(decl), around)
        pair = builder.pair_of(records)
        peers = ike_peers(pair, made)
        if not builder.ike_peers.isdisjoint(peers):
            raise doubled(where, made)
        writes, mark = self._guard(), use_key(owner_mark(self._decl.owner))
        writes.change(mark, builder.revision_of(mark), True)
        writes.expect(keys.gateway_mapping(records.vni, gateway.id), mapping.mod_revision)
        create_writes(writes, records.vpc.record, pair, device, made, edges)
        for tunnel, secret in secrets_of(made, asked, made_keys).items():
            builder.key_files.seal_tunnel(writes, made.tunnels[tunnel - 1].edge, made.id, tunnel, secret)
        builder.ike_peers.update(peers)
        builder.vpn_uses.add(keys.vpn_use(self._decl.owner, device.record.id, made.id))
        records.of(VpnConnection)[made.id] = Stored(made, ABSENT)
        path = f"{self._decl.owner}/{self._decl.name}/{decl.name}"
        shown = {tunnel: key for tunnel, key in made_keys.items() if made.tunnels[tunnel - 1].edge}
        builder.made_keys[made.id] = MadeKeys(path=path, tunnels=shown)
        why = self._ended.get(decl.name)
        if why is None:
            self._note(Action.ADD, made, _added(decl, made))
        else:
            self._note(Action.REPLACE, self._stored[decl.name].record, why, f"{_ENDS}; it gets a new id, and new keys")

    def _wish(self, tunnel: TunnelDecl) -> TunnelWish:
        secret = self._builder.key_files.psk_in(tunnel.psk_file) if tunnel.psk_file else None
        return TunnelWish(inside_cidr=tunnel.inside_cidr, options=tunnel.options, secret=secret)

    def _change(self, decl: VpnConnectionDecl, stored: Stored[VpnConnection]) -> None:
        """Add the changes of a connection that stays. Raises ApiError."""
        before, wanted = stored.record, _wanted(decl)
        routes = wanted.routes if set(wanted.routes) != set(before.routes) else before.routes
        changed = msgspec.structs.replace(
            before,
            routes=routes,
            local_cidr=decl.local_cidr,
            remote_cidr=decl.remote_cidr,
            tunnels=self._tunnels(decl, before),
            tags=decl.tags,
        )
        if changed == before:
            return
        check_device(f"VPN connection {before.name!r}", changed)
        writes = self._guard()
        writes.change(keys.resource(before.id), stored.mod_revision, changed)
        self._records.of(VpnConnection)[before.id] = Stored(changed, ABSENT)
        again = changed.tunnels != before.tunnels or (changed.local_cidr, changed.remote_cidr) != (
            before.local_cidr,
            before.remote_cidr,
        )
        self._note(Action.CHANGE, before, _differences(before, changed), "its tunnels are renegotiated" if again else "")

    def _tunnels(self, decl: VpnConnectionDecl, vpn: VpnConnection) -> tuple[Tunnel, ...]:
        """Return the tunnels of a connection as declared. Raises ApiError."""
        declared = [*decl.tunnels, *[TunnelDecl()] * (TUNNELS - len(decl.tunnels))]
        others = [other for other in self._records.each(VpnConnection) if other.id != vpn.id]
        taken = taken_networks(others, self._records.each(VirtualInterface))
        found = []
        for tunnel, known in zip(declared, vpn.tunnels, strict=True):
            inside = tunnel.inside_cidr or known.inside_cidr
            if inside != known.inside_cidr:
                inside_of(self._builder.caller, f"VPN connection {vpn.name!r}", inside, taken)
            found.append(msgspec.structs.replace(known, inside_cidr=inside, options=tunnel.options))
        return tuple(found)

    def _note(self, action: Action, vpn: VpnConnection, changed: tuple[Difference, ...], breaks: str = "") -> None:
        edges = {tunnel.edge for tunnel in vpn.tunnels if tunnel.edge}
        change = Change(
            action=action,
            kind="vpn-connection",
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=vpn.name,
            resource_id="" if action is Action.ADD else vpn.id,
            differences=changed,
            breaks=breaks,
            hosts=tuple(sorted({*carriers(self._records), *edges})),
        )
        self._builder.changes.append(change)


def _wanted(decl: VpnConnectionDecl) -> Wanted:
    """Return the request for a declared connection, without its tunnels."""
    static = not isinstance(decl.static_routes, msgspec.UnsetType)
    routes = () if isinstance(decl.static_routes, msgspec.UnsetType) else tuple(decl.static_routes)
    return Wanted(
        name=decl.name,
        static=static,
        routes=routes,
        local_cidr=decl.local_cidr,
        remote_cidr=decl.remote_cidr,
        tags=decl.tags,
    )


def _routing(static: bool) -> str:
    return "static" if static else "bgp"


def _added(decl: VpnConnectionDecl, made: VpnConnection) -> tuple[Difference, ...]:
    """Return the differences of a new connection for people, without random networks: the next plan draws others."""
    asked = " ".join(tunnel.inside_cidr for tunnel in decl.tunnels if tunnel.inside_cidr)
    fields = differences(customer_gateway=("", decl.customer_gateway), routing=("", _routing(made.static)), inside=("", asked))
    return (*fields, *member_differences("static_routes", (), made.routes))


def _differences(before: VpnConnection, after: VpnConnection) -> tuple[Difference, ...]:
    """Return the differences of a changed connection for people."""
    found = list(
        differences(
            local_cidr=(before.local_cidr, after.local_cidr),
            remote_cidr=(before.remote_cidr, after.remote_cidr),
            tags=(before.tags, after.tags),
        )
    )
    for place, (old, new) in enumerate(zip(before.tunnels, after.tunnels, strict=True), 1):
        sides = (msgspec.to_builtins(msgspec.structs.asdict(tunnel.options)) for tunnel in (old, new))
        options = zip(*(side.items() for side in sides), strict=True)
        changed = {f"tunnel_{place}_{name}": (known, wanted) for (name, known), (_, wanted) in options}
        found += differences(**{f"tunnel_{place}_inside": (old.inside_cidr, new.inside_cidr)}, **changed)
    return (*found, *member_differences("static_routes", before.routes, after.routes))
