"""Checks of stored Direct Connect records. See netorch.records.valid.members."""

from __future__ import annotations

from netorch.model import rules
from netorch.model.outside import vif_rules
from netorch.model.outside.direct_connect import BgpAuthentication, Connection, VirtualInterface
from netorch.model.outside.uplink import violation_of_device
from netorch.records import keys
from netorch.records.valid.needs import (
    Invalid,
    name_violation,
    need,
    need_cidr,
    need_id,
    need_key,
    need_labels,
    need_member,
    need_single,
)


def check_connection(key: str, connection: Connection) -> None:
    """Check a connection. Raises Invalid."""
    need_key(key, keys.connection(connection.name))
    need("name", name_violation(connection.name))
    need("host", rules.host_name(connection.host))
    need("device", violation_of_device(connection.device))
    need("hosted", vif_rules.connection_violation(connection))
    need_labels(connection)


def check_virtual_interface(key: str, vif: VirtualInterface) -> None:
    """Check a virtual interface. Raises Invalid."""
    need_member(key, vif, "dxvif")
    need("name", name_violation(vif.name))
    need_id("gateway", vif.gateway, "vgw", vif.vni)
    need("connection", name_violation(vif.connection))
    need("edge", rules.host_name(vif.edge))
    need("device", violation_of_device(vif.device))
    need("vlan", vif_rules.vlan_violation(vif.vlan, vif.outer_vlan))
    need("mtu", vif_rules.mtu_violation(vif.mtu))
    need("address", vif_rules.link_of(vif.address, vif.peer))
    need("asn", vif_rules.asn_violation(vif.asn))
    has_key = vif.authentication is not BgpAuthentication.NONE
    need("routes", vif_rules.routing_violation(vif.asn, vif.routes, bfd=vif.bfd, has_key=has_key))
    for text in vif.routes:
        need_cidr("routes", text, vif_rules.route)
    need_single("routes", vif.routes)
    if vif.confirmed and vif.rejected:
        raise Invalid("rejected: it is also confirmed")
