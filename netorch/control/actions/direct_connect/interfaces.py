"""Private virtual interfaces: VLANs of connections that lead to VPCs.

They end at the VPC's virtual private gateway. One that the operator creates in another owner's VPC passes no packets until that
owner confirms it. In EC2 the confirmation names the gateway; here a VPC has at most one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from netorch.control.actions.direct_connect.making import (
    Around,
    Wanted,
    check_key,
    check_protocol,
    create_writes,
    new_interface,
    static_routes,
)
from netorch.control.actions.direct_connect.users import read_connection, refused, users_of
from netorch.control.base.private.sealing import seal_writes
from netorch.control.base.quotas import quotas_of
from netorch.control.base.structure import delete_part
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.direct_connect import BgpAuthentication, Connection, VifState, VirtualInterface, state_of
from netorch.model.outside.secrets import Secret
from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection
from netorch.model.status import VifStatus
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import not_found
from netorch.records.read import Stored, get, read, read_all, read_vpc
from netorch.store.base import Store


class VifInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual interface with its status from the edge."""

    vif: VirtualInterface
    vpc: Vpc
    state: VifState
    gateway_asn: int
    said: VifStatus


def create_virtual_interface(store: Store, caller: Caller, vpc_id: str, wanted: Wanted) -> VirtualInterface:
    """Create a virtual interface of a VPC and return it. The operator's, in another owner's VPC, needs a confirmation there.

    Raises:
      ApiError: InvalidVpcID.NotFound; InvalidVpnGatewayID.NotFound for a VPC without a virtual private gateway;
        DirectConnectClientException for a connection that the owner may not use, or that is not on an edge of that gateway, a
        taken VLAN, other invalid values, or too many interfaces; InvalidParameterValue, TagLimitExceeded; IncorrectState for a
        key while the edge's agent has never run, so that nothing can be sealed for it.
    """

    def decide() -> tuple[Writes, VirtualInterface]:
        vpc = read_vpc(store, caller, vpc_id)
        connection = read_connection(store, caller, wanted.connection)
        around, mapping = _around(store, vpc.record, connection.record)
        confirmed = not caller.operator or vpc.record.owner == caller.owner
        made = new_interface(caller, around, connection.record, wanted, confirmed=confirmed)
        writes = Writes()
        guard_structure(writes, vpc)
        writes.expect(keys.gateway_mapping(made.vni, made.gateway), mapping)
        writes.expect(keys.connection(made.connection), connection.mod_revision)
        create_writes(writes, vpc.record, made)
        if wanted.secret is not None:
            seal_writes(writes, store, made.edge, made.id, {0: wanted.secret})
        return writes, made

    return attempt(store, decide)


def _around(store: Store, vpc: Vpc, connection: Connection) -> tuple[Around, int]:
    """Return the surroundings of a new virtual interface, and the revision of its gateway's mapping."""
    gateway = next((stored.record for stored in read_all(store, VirtualPrivateGateway, vpc.vni).values()), None)
    mapping = get(store, keys.gateway_mapping(vpc.vni, gateway.id), GatewayMapping) if gateway is not None else None
    found = Around(
        vpc=vpc,
        gateway=gateway,
        mapping=mapping.record if mapping is not None else None,
        others=tuple(stored.record for stored in read_all(store, VirtualInterface, vpc.vni).values()),
        vpns=tuple(stored.record for stored in read_all(store, VpnConnection, vpc.vni).values()),
        vlans={(user.outer_vlan, user.vlan): user.id for user in users_of(store, connection.name)},
        quotas=quotas_of(store, vpc.owner),
    )
    return found, mapping.mod_revision if mapping is not None else 0


def confirm_virtual_interface(store: Store, caller: Caller, vif_id: str) -> VirtualInterface:
    """Confirm a virtual interface that the operator created, so that it passes packets, and return it.

    Raises:
      ApiError: DirectConnectClientException for one that does not exist, or is not in `confirming`.
    """
    return _answer(store, caller, vif_id, accepted=True)


def reject_virtual_interface(store: Store, caller: Caller, vif_id: str) -> VirtualInterface:
    """Reject a virtual interface that the operator created, and return it: its VLAN is free, and it stays until it is deleted.

    Raises:
      ApiError: DirectConnectClientException for one that does not exist, or is not in `confirming`.
    """
    return _answer(store, caller, vif_id, accepted=False)


def _answer(store: Store, caller: Caller, vif_id: str, *, accepted: bool) -> VirtualInterface:
    def decide() -> tuple[Writes, VirtualInterface]:
        _, stored = read(store, caller, VirtualInterface, vif_id)
        vif = stored.record
        if vif.confirmed or vif.rejected:
            what = "is confirmed already" if vif.confirmed else "is rejected"
            raise refused(f"virtual interface {vif_id}", what, "only one in `confirming` is confirmed or rejected")
        writes = Writes()
        changed = msgspec.structs.replace(vif, confirmed=accepted, rejected=not accepted)
        writes.change(keys.resource(vif_id), stored.mod_revision, changed)
        if not accepted:
            _free(writes, vif)
        return writes, changed

    return attempt(store, decide)


def _free(writes: Writes, vif: VirtualInterface) -> None:
    """Add the release of a virtual interface's VLAN and secret."""
    writes.drop(keys.connection_vlan(vif.connection, vif.outer_vlan, vif.vlan))
    writes.drop(keys.secret(vif.edge, vif.id))


def modify_virtual_interface(
    store: Store,
    caller: Caller,
    vif_id: str,
    *,
    mtu: int | None = None,
    routes: Sequence[str] | None = None,
    secret: Secret | None = None,
) -> VirtualInterface:
    """Change the MTU, the static routes or the BGP key of a virtual interface, and return it; None keeps a value.

    Raises:
      ApiError: DirectConnectClientException for one that does not exist or is rejected, an MTU other than 1500 or 8500, a bad
        route or key, routes beside BGP, or neither routes nor BGP; IncorrectState as for a new one.
    """
    where = f"virtual interface {vif_id}"

    def decide() -> tuple[Writes, VirtualInterface]:
        vpc, stored = read(store, caller, VirtualInterface, vif_id)
        vif = stored.record
        if vif.rejected:
            raise refused(where, "is rejected", "delete it and create another one")
        changed = msgspec.structs.replace(
            vif,
            mtu=vif.mtu if mtu is None else mtu,
            routes=vif.routes if routes is None else static_routes(where, vpc.record, routes),
            authentication=vif.authentication if secret is None else BgpAuthentication.MD5,
        )
        check_protocol(where, changed, _gateway_of(store, vif))
        writes = Writes()
        if secret is not None:
            check_key(where, secret)
            seal_writes(writes, store, vif.edge, vif_id, {0: secret})
        if changed != vif or secret is not None:
            guard_structure(writes, vpc)  # the routes lie outside the VPC's current ranges
            writes.change(keys.resource(vif_id), stored.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)


def _gateway_of(store: Store, vif: VirtualInterface) -> VirtualPrivateGateway:
    found = get(store, keys.resource(vif.gateway), VirtualPrivateGateway)
    if found is None:
        raise not_found("vgw", vif.gateway)
    return found.record


def delete_virtual_interface(store: Store, caller: Caller, vif_id: str) -> None:
    """Delete a virtual interface. Its VLAN is free at once.

    Raises:
      ApiError: DirectConnectClientException for one that does not exist.
    """

    def decide() -> tuple[Writes, None]:
        vpc, vif = read(store, caller, VirtualInterface, vif_id)
        writes = Writes()
        delete_writes(writes, vpc, vif)
        return writes, None

    attempt(store, decide)


def delete_writes(writes: Writes, vpc: Stored[Vpc], vif: Stored[VirtualInterface]) -> None:
    """Add the deletion of a virtual interface with its VLAN and secret."""
    delete_part(writes, vpc, vif)
    if not vif.record.rejected:  # another interface may have its VLAN now
        _free(writes, vif.record)


def describe_virtual_interfaces(store: Store, caller: Caller, vpc_id: str) -> list[VifInfo]:
    """Return a VPC's virtual interfaces by id. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    return [_info(store, vpc, stored.record) for stored in read_all(store, VirtualInterface, vpc.vni).values()]


def describe_virtual_interface(store: Store, caller: Caller, vif_id: str) -> VifInfo:
    """Return one virtual interface. Raises ApiError: DirectConnectClientException."""
    vpc, vif = read(store, caller, VirtualInterface, vif_id)
    return _info(store, vpc.record, vif.record)


def _info(store: Store, vpc: Vpc, vif: VirtualInterface) -> VifInfo:
    said = get(store, keys.tunnel_status(vif.edge, vif.id), VifStatus)
    gateway = get(store, keys.resource(vif.gateway), VirtualPrivateGateway)
    return VifInfo(
        vif=vif,
        vpc=vpc,
        state=state_of(vif, said.record if said is not None else None),
        gateway_asn=gateway.record.asn if gateway is not None else 0,
        said=said.record if said is not None else VifStatus(),
    )
