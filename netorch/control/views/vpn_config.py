"""The facts that the customer of a VPN connection needs."""

from __future__ import annotations

from netorch.errors import ApiError
from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection, leads_to_aws
from netorch.records.caller import Caller
from netorch.records.read import read
from netorch.spec.vpn_config.facts import Facts, facts_of
from netorch.store.base import Store


def customer_facts(store: Store, caller: Caller, vpn_id: str) -> Facts:
    """Return the facts for a configuration of the customer's device.

    Raises:
      ApiError: InvalidVpnConnectionID.NotFound; UnsupportedOperation for a connection to AWS; IncorrectState while no tunnel
        ends on an edge.
    """
    vpc, connection = read(store, caller, VpnConnection, vpn_id)
    if leads_to_aws(connection.record):
        what = f"VPN connection {connection.record.name}: the customer's device is an edge, which netorch configures"
        raise ApiError("UnsupportedOperation", f"{what}; configure the other end at AWS")
    _, gateway = read(store, caller, VirtualPrivateGateway, connection.record.gateway)
    return facts_of(connection.record, gateway.record, vpc.record.cidrs)
