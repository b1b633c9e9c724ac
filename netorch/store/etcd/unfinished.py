"""A store in a cluster that is marked as incomplete until all records are copied."""

from __future__ import annotations

from typing import Final

from netorch.errors import StoreUnavailable
from netorch.store.etcd import messages as pb
from netorch.store.etcd.address import Address
from netorch.store.etcd.client import Client
from netorch.store.etcd.keyspace import Keyspace, decode_meta
from netorch.store.etcd.store import EtcdStore, make

_PAGE: Final = 10_000  # keys deleted at once
_PATIENCE_S: Final = 10.0


class UnfinishedCluster:
    """A new store at `address`. The remains of an earlier copy are deleted. `source` describes the source for people.

    Raises:
      StoreUnavailable: there is a store, or no member answers.
    """

    def __init__(self, address: Address, source: str) -> None:
        client = Client(address, _PATIENCE_S)
        try:
            _clear(client, Keyspace(address.name))
            make(client, Keyspace(address.name), copying=source)
        finally:
            client.close()
        self.store = EtcdStore(address, unfinished=True)

    def finish(self) -> None:
        """Make the store available."""
        self.store.finish()

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def _clear(client: Client, keys: Keyspace) -> None:
    """Delete an unfinished store, its description last. Refuse a finished one."""
    found = client.call(pb.RANGE, pb.RangeRequest(key=keys.meta)).kvs
    if not found:
        return
    where = client.address.text()
    if not decode_meta(where, found[0].value).copying:
        raise StoreUnavailable(f"store: {where} exists; give a name that does not exist yet, such as {where}-2")
    same = pb.Compare(target=pb.WRITTEN_AT, key=keys.meta, mod_revision=found[0].mod_revision)
    for first, end in keys.whole():
        while page := client.call(pb.RANGE, pb.RangeRequest(key=first, range_end=end, limit=_PAGE, keys_only=True)).kvs:
            remove = pb.DeleteRangeRequest(key=page[0].key, range_end=page[-1].key + b"\0")
            request = pb.TxnRequest(compare=[same], success=[pb.RequestOp(request_delete_range=remove)])
            if not client.call(pb.TXN, request).succeeded:
                raise StoreUnavailable(
                    f"store: {where}: another command is copying to it; give another name, or wait for that copy"
                )
