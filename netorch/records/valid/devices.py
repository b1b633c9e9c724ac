"""The consistency check of VPN connections, their customer gateways and their IKE identities.

alloc/vpn/<owner>/<cgw id>/<vpn id>   the connections of a customer gateway
alloc/ike/<pair>/<name>               the connection of a pair of edges to the device with that IKE identity
vpc/<vni>/vpn/<id>                    the connection
"""

from __future__ import annotations

from collections.abc import Iterator

from netorch.errors import UnreadableRecord
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.vpn import VpnConnection, peer_identities
from netorch.records import keys
from netorch.records.codec import decode
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords


def wrong_devices(inventory: Inventory) -> Iterator[UnreadableRecord]:
    """Yield the `alloc/` keys that do not agree with the connections, as far as the VPCs are readable.

    Cost: O(connections).
    """
    uses: dict[str, str] = {}
    names: dict[str, str] = {}
    for records in inventory.vpcs.values():
        for vpn in records.each(VpnConnection):
            uses[keys.vpn_use(records.vpc.record.owner, vpn.customer_gateway, vpn.id)] = vpn.id
            pair = _pair(inventory, records, vpn)
            names |= {keys.ike_peer(pair, name): vpn.id for name in peer_identities(vpn)} if pair else {}
    held_uses = {key: key.rpartition("/")[2] for key in inventory.raw if key.startswith(keys.vpn_uses())}
    held_names = {key: decode(kv, str) for key, kv in inventory.raw.items() if key.startswith(keys.ike_peers())}
    for wanted, held in ((uses, held_uses), (names, held_names)):
        for key in sorted(wanted.keys() - held.keys()):
            yield UnreadableRecord(key, f"is missing, but {wanted[key]} leads there")
        for key in sorted(held):
            if wanted.get(key) != held[key] and not _is_unknown(inventory, held[key]):
                yield UnreadableRecord(key, f"is held by {held[key]}, which does not exist or leads elsewhere")


def _pair(inventory: Inventory, records: VpcRecords, vpn: VpnConnection) -> str:
    """Return the pair of edges that carries a connection's gateway; empty if unknown."""
    mapping = records.one(GatewayMapping, vpn.gateway)
    hosts = [inventory.hosts[seat.host].host for seat in mapping.seats if seat.host in inventory.hosts] if mapping else []
    return hosts[0].pair if hosts else ""


def _is_unknown(inventory: Inventory, holder: str) -> bool:
    """Return whether a holder is a connection in an isolated VPC or with an unknown pair."""
    if not is_id(holder, "vpn"):
        return False
    records = inventory.vpcs.get(vni_of(holder))
    if records is None:
        return vni_of(holder) in inventory.isolated
    vpn = records.one(VpnConnection, holder)
    return vpn is not None and not _pair(inventory, records, vpn)
