"""Plan the virtual interfaces of one VPC as declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from netorch.control.actions.direct_connect.making import (
    Around,
    Wanted,
    check_key,
    check_protocol,
    create_writes,
    ends_of,
    new_interface,
    static_routes,
)
from netorch.control.actions.direct_connect.users import seen_by
from netorch.control.apply.base.ends import delete_vif
from netorch.control.apply.builder import PlanBuilder, carriers
from netorch.control.apply.changes import Action, Change, Difference, differences, member_differences
from netorch.control.base.writes import ABSENT, Writes
from netorch.model.cloud import VirtualInterfaceDecl, VpcDecl
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.direct_connect import BgpAuthentication, VirtualInterface
from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection
from netorch.records import keys
from netorch.records.errors import not_found
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords

VIF_KEYS: Final = 8  # compares and writes of a new one: record, name, VLAN, mark, connection, mapping, secret, the edge's key
_SPOKEN: Final = ("asn", "address", "peer", "authentication")  # attributes of a BGP session
_ENDS: Final = "it stops carrying traffic"


class VifPlanner:
    """Plans one VPC's virtual interfaces: deletions first, additions once the gateway exists.

    `guard` returns a step in which the VPC's structure changes. A declaration in its VPC confirms a virtual interface. A key is
    sealed when it is first declared; later the sealed key cannot be compared with the file's.
    """

    def __init__(self, builder: PlanBuilder, decl: VpcDecl, records: VpcRecords, guard: Callable[[], Writes]) -> None:
        self._builder = builder
        self._decl = decl
        self._records = records
        self._guard = guard
        self._stored = {stored.record.name: stored for stored in records.of(VirtualInterface).values()}
        self._ended: dict[str, tuple[Difference, ...]] = {}  # recreated ones, and why

    def plan_deletions(self) -> None:
        """Add the deletion of virtual interfaces that are undeclared or must be recreated."""
        declared = {decl.name: decl for decl in self._decl.virtual_interfaces}
        for name, stored in self._stored.items():
            decl, vif = declared.get(name), stored.record
            why = _unchangeable(vif, decl) if decl is not None else ()
            if decl is not None and not why:
                continue
            delete_vif(self._builder, self._records, stored)
            self._records.of(VirtualInterface).pop(vif.id)
            if decl is None:
                self._note(Action.DELETE, vif, (), _ENDS)
            else:
                self._ended[name] = why

    def plan(self) -> None:
        """Add new virtual interfaces and changes of others. Raises ApiError."""
        for decl in self._decl.virtual_interfaces:
            stored = self._stored.get(decl.name)
            if stored is None or decl.name in self._ended:
                self._add(decl)
            else:
                self._change(decl, stored)

    def _around(self, connection: str, without: str = "") -> Around:
        """Return the surroundings of a virtual interface."""
        records = self._records
        gateway = next(records.each(VirtualPrivateGateway), None)
        mapping = records.of(GatewayMapping).get(gateway.id) if gateway is not None else None
        return Around(
            vpc=records.vpc.record,
            gateway=gateway,
            mapping=mapping.record if mapping is not None else None,
            others=tuple(vif for vif in records.each(VirtualInterface) if vif.id != without),
            vpns=tuple(records.each(VpnConnection)),
            vlans=self._builder.vlans.get(connection, {}),
            quotas=self._builder.quotas_of(self._decl.owner),
        )

    def _add(self, decl: VirtualInterfaceDecl) -> None:
        builder, records = self._builder, self._records
        connection = builder.connections.get(decl.connection)
        if connection is None or seen_by(builder.caller, connection.record) is None:
            raise not_found("dxcon", decl.connection)
        wanted = _wanted(decl)
        if decl.key_file:
            wanted = msgspec.structs.replace(wanted, secret=builder.key_files.secret_in(decl.key_file))
        made = new_interface(builder.caller, self._around(decl.connection), connection.record, wanted, confirmed=True)
        writes = self._guard()
        writes.expect(keys.gateway_mapping(made.vni, made.gateway), records.of(GatewayMapping)[made.gateway].mod_revision)
        writes.expect(keys.connection(decl.connection), connection.mod_revision)
        create_writes(writes, records.vpc.record, made)
        if wanted.secret is not None:
            builder.key_files.seal(writes, made.edge, made.id, wanted.secret)
        records.of(VirtualInterface)[made.id] = Stored(made, ABSENT)
        builder.vlans.setdefault(made.connection, {})[made.outer_vlan, made.vlan] = made.id
        why = self._ended.get(decl.name)
        if why is None:
            said = made if decl.address else msgspec.structs.replace(made, address="", peer="")  # the next plan draws others
            self._note(Action.ADD, made, _differences(None, said))
        else:
            self._note(Action.REPLACE, self._stored[decl.name].record, why, f"{_ENDS} until the new one is up; it gets a new id")

    def _change(self, decl: VirtualInterfaceDecl, stored: Stored[VirtualInterface]) -> None:
        """Add the changes of a virtual interface that stays. Raises ApiError."""
        builder, records, before = self._builder, self._records, stored.record
        where = f"virtual interface {decl.name!r}"
        around = self._around(before.connection, before.id)
        address, peer = before.address, before.peer
        if decl.address:
            address, peer = ends_of(builder.caller, where, around, _wanted(decl))
        changed = msgspec.structs.replace(
            before,
            mtu=decl.mtu,
            asn=decl.asn,
            address=address,
            peer=peer,
            bfd=decl.bfd,
            routes=static_routes(where, around.vpc, decl.routes),
            authentication=BgpAuthentication.MD5 if decl.key_file else BgpAuthentication.NONE,
            confirmed=True,
            tags=decl.tags,
        )
        if changed == before:
            return
        assert around.gateway is not None  # its record refers to one
        check_protocol(where, changed, around.gateway)
        writes = self._guard()
        writes.change(keys.resource(before.id), stored.mod_revision, changed)
        if changed.authentication is not before.authentication:
            self._set_key(writes, where, changed, decl.key_file)
        records.of(VirtualInterface)[before.id] = Stored(changed, ABSENT)
        speaks_again = any(
            getattr(changed, field) != getattr(before, field) for field in ("asn", "address", "peer", "authentication")
        )
        self._note(Action.CHANGE, before, _differences(before, changed), "its BGP session begins again" if speaks_again else "")

    def _set_key(self, writes: Writes, where: str, vif: VirtualInterface, key_file: str) -> None:
        """Add the key of a virtual interface that had none, or delete the key. Raises ApiError."""
        if not key_file:
            writes.drop(keys.secret(vif.edge, vif.id))
            return
        secret = self._builder.key_files.secret_in(key_file)
        check_key(where, secret)
        self._builder.key_files.seal(writes, vif.edge, vif.id, secret)

    def _note(self, action: Action, vif: VirtualInterface, changed: tuple[Difference, ...], breaks: str = "") -> None:
        change = Change(
            action=action,
            kind="virtual-interface",
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=vif.name,
            resource_id="" if action is Action.ADD else vif.id,
            differences=changed,
            breaks=breaks,
            hosts=tuple(sorted({*carriers(self._records), vif.edge})),
        )
        self._builder.changes.append(change)


def _wanted(decl: VirtualInterfaceDecl) -> Wanted:
    """Return the request for a declared virtual interface, without its key."""
    return Wanted(
        name=decl.name,
        connection=decl.connection,
        vlan=decl.vlan,
        outer_vlan=decl.outer_vlan,
        mtu=decl.mtu,
        asn=decl.asn,
        address=decl.address,
        peer=decl.peer,
        bfd=decl.bfd,
        routes=decl.routes,
        tags=decl.tags,
    )


def _unchangeable(vif: VirtualInterface, decl: VirtualInterfaceDecl) -> tuple[Difference, ...]:
    """Return the differences for which it must be recreated; none if it can stay."""
    return differences(
        connection=(vif.connection, decl.connection),
        vlan=(vif.vlan, decl.vlan),
        outer_vlan=(vif.outer_vlan or None, decl.outer_vlan or None),
        state=("rejected" if vif.rejected else "", ""),
    )


def _differences(before: VirtualInterface | None, after: VirtualInterface) -> tuple[Difference, ...]:
    """Return the differences of a new or changed virtual interface for people; of a key only whether it exists."""
    fields = ["mtu", "asn", "address", "peer", "authentication", "bfd", "tags"]
    if before is None:
        fields = ["connection", "vlan", "outer_vlan", *fields]
    changed = differences(**{field: (_shown(before, field), _shown(after, field)) for field in fields})
    confirmed = differences(state=("confirming", "confirmed")) if before is not None and not before.confirmed else ()
    members = member_differences("routes", before.routes if before is not None else (), after.routes)
    return (*changed, *confirmed, *members)


def _shown(vif: VirtualInterface | None, field: str) -> object:
    """Return an attribute as a plan shows it; empty for its default."""
    value = getattr(vif, field) if vif is not None else None
    if isinstance(value, BgpAuthentication):
        return value.value if value is not BgpAuthentication.NONE else ""
    if isinstance(value, bool):
        return "yes" if value else ""
    return value or ""
