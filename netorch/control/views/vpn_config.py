"""What the customer of a VPN connection is to be told of it."""

from __future__ import annotations

from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection
from netorch.records.caller import Caller
from netorch.records.read import read
from netorch.spec.vpn_config.facts import Facts, facts_of
from netorch.store.base import Store


def customer_facts(store: Store, caller: Caller, vpn_id: str) -> Facts:
    """Return what a configuration of the customer's device is written from.

    Raises:
      ApiError: InvalidVpnConnectionID.NotFound; IncorrectState while no tunnel ends at an edge.
    """
    vpc, connection = read(store, caller, VpnConnection, vpn_id)
    _, gateway = read(store, caller, VirtualPrivateGateway, connection.record.gateway)
    return facts_of(connection.record, gateway.record, vpc.record.cidrs)
