"""The addresses for new interfaces of one planned VPC."""

from __future__ import annotations

from collections.abc import Mapping

from netorch.control.base.addresses import AddressPool, Cursor, cursor_key
from netorch.control.base.writes import ABSENT
from netorch.model.eni import NetworkInterface
from netorch.model.vpc import Subnet
from netorch.records.codec import decode
from netorch.records.vpc import VpcRecords
from netorch.store.base import KeyValue


class SubnetPools:
    """The free addresses of a VPC's subnets during a plan. No address is given out twice.

    Request addresses before you choose any: else a later request may find its address given out.
    """

    def __init__(self, raw: Mapping[str, KeyValue], records: VpcRecords) -> None:
        """`raw` is the store; once the first address is taken, `records` no longer has the interfaces that the plan deletes."""
        self._raw = raw
        self._records = records
        self._pools: dict[str, AddressPool] = {}
        self._used: set[str] | None = None

    def of(self, subnet: Subnet) -> AddressPool:
        """Return the addresses of a subnet. Cost: O(interfaces of the VPC) the first time."""
        if self._used is None:
            self._used = {address for eni in self._records.each(NetworkInterface) for address in eni.addresses}
        if subnet.id not in self._pools:
            kv = self._raw.get(cursor_key(subnet.id))
            cursor, mod_revision = (decode(kv, Cursor), kv.mod_revision) if kv is not None else (Cursor(), ABSENT)
            self._pools[subnet.id] = AddressPool(subnet, cursor, mod_revision, self._used.__contains__)
        return self._pools[subnet.id]
