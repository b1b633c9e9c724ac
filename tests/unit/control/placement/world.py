"""What the tests of placement share: a store that counts and interferes, a subnet, an instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netorch.control.actions import instances, subnets, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.store.base import Compare, Delete, KeyValue, Put, Range, Store, TxnResult
from netorch.store.memory import MemoryStore


class Watched(MemoryStore):
    """A store that counts the keys that are read, and lets another caller act just before the next transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0
        self.meanwhile: Callable[[], object] | None = None

    def get(self, key: str) -> KeyValue | None:
        self.read += 1
        return super().get(key)

    def list(self, prefix: str, revision: int = 0) -> Range:
        found = super().list(prefix, revision)
        self.read += 1 + len(found.kvs)
        return found

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        act, self.meanwhile = self.meanwhile, None
        if act is not None:
            act()
        return super().txn(compares, ops)


def wide_subnet(store: Store, caller: Caller, name: str = "web") -> Subnet:
    vpc = vpcs.create_vpc(store, caller, name=name, cidrs=["10.0.0.0/16"])
    return subnets.create_subnet(store, caller, vpc.id, name="a", cidr="10.0.0.0/18")


def one_of(store: Store, caller: Caller, subnet: Subnet, name: str = "", host: str = "") -> str:
    return instances.run_instance(store, caller, RunRequest(name=name, subnet=subnet.id, host=host)).host.name
