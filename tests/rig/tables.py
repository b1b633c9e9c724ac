"""Change the route table of a subnet, whatever the subnet used before: EC2 has an action for each case."""

from __future__ import annotations

from netorch.control.actions.subnets import (
    associate_route_table,
    disassociate_route_table,
    replace_route_table_association,
)
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.records.read import read
from netorch.store.base import Store


def use_table(store: Store, caller: Caller, subnet_id: str, table_id: str) -> None:
    """Let a subnet use a route table; an empty id means the main table."""
    own = read(store, caller, Subnet, subnet_id)[1].record.route_table
    if own and table_id:
        replace_route_table_association(store, caller, subnet_id, table_id)
    elif own:
        disassociate_route_table(store, caller, subnet_id)
    elif table_id:
        associate_route_table(store, caller, subnet_id, table_id)
