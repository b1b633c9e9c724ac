"""The consistency check of Direct Connect: ports, VLANs and virtual interfaces.

dxcon/<name>                             the connection: a device of an edge
alloc/dxport/<host>/<device>             the connection of a device
alloc/vlan/<connection>/<outer>.<vlan>   the virtual interface of a VLAN
vpc/<vni>/dxvif/<id>                     the virtual interface, with a copy of its connection's fields
"""

from __future__ import annotations

from collections.abc import Iterator

from netorch.errors import UnreadableRecord
from netorch.model.ids import is_id, vni_of
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.records import keys
from netorch.records.codec import decode
from netorch.records.inventory import Inventory


def wrong_ports(inventory: Inventory) -> Iterator[UnreadableRecord]:
    """Yield inconsistent Direct Connect records, as far as the VPCs are readable. Cost: O(their number)."""
    vlans = {vif_key(vif): vif.id for vif in _live(inventory)}
    ports = {keys.port(found.record.host, found.record.device): name for name, found in inventory.connections.items()}
    for wanted, prefix in ((vlans, keys.connection_vlans()), (ports, keys.ports())):
        held = {key: kv for key, kv in inventory.raw.items() if key.startswith(prefix)}
        for key in sorted(wanted.keys() - held.keys()):
            yield UnreadableRecord(key, f"is missing, and {wanted[key]} has it")
        for key in sorted(held):
            holder = decode(held[key], str)
            if wanted.get(key) != holder and not _is_unknown(inventory, holder):
                yield UnreadableRecord(key, f"is held by {holder}, which does not exist or has another")
    for vif in _live(inventory):
        port = inventory.connections.get(vif.connection)
        if port is None or (port.record.host, port.record.device) != (vif.edge, vif.device):
            what = f"says that connection {vif.connection} is {vif.device} of {vif.edge}, but it is not"
            yield UnreadableRecord(keys.resource(vif.id), what)


def vif_key(vif: VirtualInterface) -> str:
    """Return the key of a virtual interface's VLAN."""
    return keys.connection_vlan(vif.connection, vif.outer_vlan, vif.vlan)


def _live(inventory: Inventory) -> Iterator[VirtualInterface]:
    """Yield the virtual interfaces that are not rejected, i.e. hold a VLAN."""
    for records in inventory.vpcs.values():
        yield from (vif for vif in records.each(VirtualInterface) if not vif.rejected)


def _is_unknown(inventory: Inventory, holder: str) -> bool:
    """Return whether a holder belongs to an isolated VPC or is an unreadable connection."""
    if is_id(holder, "dxvif"):
        return vni_of(holder) in inventory.isolated
    return any(error.key == keys.connection(holder) for error in inventory.unreadable)
