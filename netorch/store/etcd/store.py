"""`EtcdStore` implements the store's contract in an etcd cluster."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterable, Sequence
from typing import Final

import grpc

from netorch.errors import Compacted, FutureRevision, NoStore, StoreError, StoreUnavailable
from netorch.store.base import KEEP_MARK_EVERY, Compare, Delete, KeyValue, Put, Range, TxnResult
from netorch.store.etcd import messages as pb
from netorch.store.etcd.address import Address
from netorch.store.etcd.client import Client, Refused
from netorch.store.etcd.commit import Committer
from netorch.store.etcd.keyspace import PAGE, Keyspace, Meta, decode_meta, encode_meta
from netorch.store.etcd.messages import Message
from netorch.store.etcd.stream import compacted_at
from netorch.store.etcd.watch import EtcdWatch
from netorch.store.rules import FIRST_REVISION, check_from_revision, check_txn, first_marks

_TRIES: Final = 3  # of a listing, if compaction overtakes it


class EtcdStore:
    """A `Store` in the cluster at `address`. Not for use in a child after fork.

    A call gives up after `patience_s` seconds, but not before every member was tried. `unfinished` opens an incomplete
    copy, to complete it.

    Raises:
      StoreUnavailable: there is no such store, it is an unfinished copy, or no member answers.
    """

    def __init__(self, address: Address, *, create: bool = False, patience_s: float = 10.0, unfinished: bool = False) -> None:
        self._where = address.text()
        self._client = Client(address, patience_s)
        self._watches: list[EtcdWatch] = []
        self._lock = threading.Lock()
        self._seen = 0  # the highest known revision of the cluster
        try:
            self._keys, self._meta = self._open(Keyspace(address.name), create, unfinished)
        except BaseException:
            self._client.close()
            raise
        self._committer = Committer(self._client, self._keys, self._check)

    @property
    def uid(self) -> str:
        """The identity of the history."""
        return self._meta.uid

    def revision(self) -> int:
        """Return the current revision."""
        return self._read()[0] - self._keys.base

    def mark(self, revision: int) -> str:
        """Return the random mark of a revision."""
        first, end = self._keys.kept_from(revision)
        # Where others filled the cluster's history, nobody of this store wrote between this revision and the next kept mark.
        kept = pb.RangeRequest(key=first, range_end=end, limit=1)
        past = pb.RangeRequest(key=self._keys.mark, revision=revision + self._keys.base)
        try:
            return self._mark(self._read(past if revision else pb.RangeRequest(key=first))[1][0])
        except Refused as error:
            if revision % KEEP_MARK_EVERY == 0 and (found := self._read(kept)[1][0].kvs):
                return bytes(found[0].value).decode(errors="replace")  # any host may write it
            raise self._past(error, revision) from error

    def get(self, key: str) -> KeyValue | None:
        """Return the current state of a key."""
        found = self._read(pb.RangeRequest(key=self._keys.key(key)))[1][0].kvs
        return self._keys.key_value(found[0]) if found else None

    def list(self, prefix: str, revision: int = 0) -> Range:
        """Return all keys with `prefix` at `revision` (0: now)."""
        return self._listed(prefix, revision, keys_only=False)

    def revisions(self, prefix: str, revision: int = 0) -> dict[str, int]:
        """Return the mod_revision of each key with `prefix` at `revision` (0: now); the members send no values."""
        return {kv.key: kv.mod_revision for kv in self._listed(prefix, revision, keys_only=True).kvs}

    def _listed(self, prefix: str, revision: int, *, keys_only: bool) -> Range:
        for _ in range(1 if revision else _TRIES):
            try:
                return self._list(prefix, revision, keys_only)
            except Refused as error:
                refused = error
        raise self._past(refused, revision)

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Execute all `ops` in one revision if every compare holds, else nothing; durable when it returns."""
        check_txn(compares, ops)
        result = self._committer.txn(compares, ops, self._seen)
        self._saw(result.revision + self._keys.base)
        return result

    def watch(self, prefixes: Iterable[str], from_revision: int, mark: str = "") -> EtcdWatch:
        """Return a watch of all keys with any of `prefixes`."""
        check_from_revision(from_revision)
        watch = EtcdWatch(self._client, self._keys, self.history_at, prefixes, from_revision, mark)
        with self._lock:
            self._watches = [known for known in self._watches if known.fileno() >= 0] + [watch]
        return watch

    def grant(self, ttl_s: int) -> int:
        """Return a new lease. etcd's minimum is two seconds."""
        if ttl_s < 1:
            raise StoreError(f"store: a lease of {ttl_s} s; give at least 1 s")
        return int(self._client.call(pb.GRANT, pb.LeaseGrantRequest(TTL=ttl_s)).ID)

    def keep_alive(self, lease: int) -> int:
        """Renew the lease and return its remaining seconds; 0: it is gone."""
        return int(self._client.call(pb.KEEP_ALIVE, pb.LeaseKeepAliveRequest(ID=lease)).TTL)

    def revoke(self, lease: int) -> None:
        """End the lease and delete its keys now."""
        with contextlib.suppress(Refused):  # it is gone already
            self._client.call(pb.REVOKE, pb.LeaseRevokeRequest(ID=lease))

    def compact(self, revision: int) -> None:
        """Drop the history before `revision`, of all stores in the cluster."""
        for kept in range(KEEP_MARK_EVERY, revision + 1, KEEP_MARK_EVERY):
            if ops := self._committer.keep_marks(kept):
                self._client.call(pb.TXN, pb.TxnRequest(success=ops))
        try:
            self._client.call(pb.COMPACT, pb.CompactionRequest(revision=revision + self._keys.base))
        except Refused as error:
            raise self._past(error, revision) from error

    def finish(self) -> None:
        """Make a complete copy available to others."""
        condition = pb.Compare(target=pb.CREATED_AT, key=self._keys.meta, create_revision=self._keys.base + 1)
        put = pb.PutRequest(key=self._keys.meta, value=encode_meta(Meta(uid=self.uid)))
        request = pb.TxnRequest(compare=[condition], success=[pb.RequestOp(request_put=put)])
        if not self._client.call(pb.TXN, request).succeeded:
            raise StoreUnavailable(f"store: {self._where} was removed or replaced while in use; begin the copy again")

    def close(self) -> None:
        """Close the connections. Watches are of no further use."""
        with self._lock:
            watches, self._watches = self._watches, []
        for watch in watches:
            watch.stop()
        self._client.close()

    def history_at(self, revision: int) -> tuple[int, str]:
        """Return the store's current revision, and the mark of another one, empty if that is in the future; for watches.

        Raises:
          Compacted: that mark is gone.
        """
        if revision < 1:
            return self.revision(), ""
        past = pb.RangeRequest(key=self._keys.mark, revision=revision + self._keys.base)
        try:
            current, (found,) = self._read(past)
        except Refused as error:
            reason = self._past(error, revision)
            if isinstance(reason, FutureRevision):
                return self.revision(), ""
            raise reason from error
        return current - self._keys.base, self._mark(found)

    def _list(self, prefix: str, revision: int, keys_only: bool) -> Range:
        first, end = self._keys.range(prefix)
        at = revision + self._keys.base if revision else 0
        current, (mark, page) = self._read(
            pb.RangeRequest(key=self._keys.mark, revision=at),
            pb.RangeRequest(key=first, range_end=end, limit=PAGE, revision=at, keys_only=keys_only),
        )
        found, count, at = list(page.kvs), page.count, at or current
        while page.more and page.kvs:
            first = found[-1].key + b"\0"
            more = pb.RangeRequest(key=first, range_end=end, limit=PAGE, revision=at, keys_only=keys_only)
            page = self._client.call(pb.RANGE, more)
            found += page.kvs
        if len(found) != count:
            raise StoreUnavailable(
                f"store: {self._where}: a member lists {len(found)} of the {count} keys below {prefix!r}; see its log"
            )
        return Range(at - self._keys.base, tuple(map(self._keys.key_value, found)), self._mark(mark))

    def _read(self, *ranges: Message) -> tuple[int, Sequence[Message]]:
        """Return the cluster's revision and the contents of ranges at that revision, if the store is still the opened one."""
        revision, (own, *found) = _at_once(self._client, pb.RangeRequest(key=self._keys.meta), *ranges)
        self._check(own.kvs)
        self._saw(revision)
        return revision, found

    def _saw(self, revision: int) -> None:
        with self._lock:
            self._seen = max(self._seen, revision)

    def _check(self, found: Sequence[Message]) -> None:
        """Raise StoreUnavailable unless `NAME#meta` is that of the opened store."""
        if not found:
            raise StoreUnavailable(f"store: {self._where} was removed while in use; restore a backup, or connect again")
        if found[0].create_revision != self._keys.base + 1 or decode_meta(self._where, found[0].value).uid != self.uid:
            raise StoreUnavailable(f"store: {self._where} now holds another store, not {self.uid}; connect again")

    def _mark(self, found: Message) -> str:
        if not found.kvs:
            raise StoreUnavailable(f"store: {self._where}: the mark of its last transaction is missing; restore a backup")
        return bytes(found.kvs[0].value).decode(errors="replace")

    def _past(self, error: Refused, revision: int) -> StoreError:
        """Return the reason why a revision cannot be read."""
        if error.code is grpc.StatusCode.OUT_OF_RANGE and "future" in str(error):
            return FutureRevision(f"store: revision {revision} does not exist yet; list again")
        if error.code is grpc.StatusCode.OUT_OF_RANGE:
            return Compacted(compacted_at(self._client, self._keys, revision) or revision)
        return StoreUnavailable(str(error))

    def _open(self, keys: Keyspace, create: bool, unfinished: bool) -> tuple[Keyspace, Meta]:
        found = self._client.call(pb.RANGE, pb.RangeRequest(key=keys.meta)).kvs
        if not found and create:
            found = [make(self._client, keys)]
        if not found:
            raise NoStore(f"store: {self._where}: no store exists; the first `host create` or `apply` creates one")
        meta = decode_meta(self._where, found[0].value)
        if meta.copying and not unfinished:
            raise StoreUnavailable(
                f"store: {self._where} is a copy of {meta.copying} that is not complete; run `netorch store copy` again"
            )
        return Keyspace(self._client.address.name, found[0].create_revision - 1), meta


def _at_once(client: Client, *ranges: Message) -> tuple[int, Sequence[Message]]:
    """Return the cluster's revision and the contents of ranges at that revision."""
    answer = client.call(pb.TXN, pb.TxnRequest(success=[pb.RequestOp(request_range=item) for item in ranges]))
    return answer.header.revision, [response.response_range for response in answer.responses]


def make(client: Client, keys: Keyspace, copying: str = "") -> Message:
    """Return `NAME#meta` of a new store, or of one that another process creates at the same time. Raises StoreUnavailable."""
    samples = (pb.RangeRequest(key=first, range_end=end, limit=1) for first, end in keys.whole())
    _, (known, *found) = _at_once(client, pb.RangeRequest(key=keys.meta), *samples)
    if any(sample.kvs for sample in found) and not known.kvs:
        raise StoreUnavailable(
            f"store: {client.address.text()} has keys, but not the one that identifies the store; restore a backup"
        )
    content = {
        keys.meta: encode_meta(Meta(uid=secrets.token_hex(16), copying=copying)),
        **{keys.mark if revision else keys.kept(0): mark.encode() for revision, mark in first_marks(FIRST_REVISION).items()},
    }
    ops = [pb.RequestOp(request_put=pb.PutRequest(key=key, value=value)) for key, value in content.items()]
    absent = pb.Compare(target=pb.VERSION, key=keys.meta, version=0)
    client.call(pb.TXN, pb.TxnRequest(compare=[absent], success=ops))
    return client.call(pb.RANGE, pb.RangeRequest(key=keys.meta)).kvs[0]
