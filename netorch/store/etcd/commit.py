"""A transaction that happens exactly once, even if members die and answers get lost.

Each transaction has a random mark. It writes the mark, on condition that a fence with the mark's name does not exist.
If the answer is lost, the writer creates the fence: from then on the transaction cannot happen any longer, wherever its
request may be queued. The marks written meanwhile then show whether it happened before. So no transaction is repeated
blindly, and none happens after it was given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import grpc

from netorch.errors import StoreError, StoreUnavailable
from netorch.store.base import KEEP_MARK_EVERY, Compare, Delete, Put, TxnResult
from netorch.store.etcd import messages as pb
from netorch.store.etcd.client import Client, Refused, Unanswered
from netorch.store.etcd.keyspace import Keyspace
from netorch.store.etcd.messages import Message
from netorch.store.rules import new_mark

FENCE_S: Final = 86_400  # how long a stopped member may hold a request and still execute it when it continues
_OPS_LIMIT: Final = 128  # etcd's --max-txn-ops


class Committer:
    """Makes transactions of one store. `check` raises if `NAME#meta` no longer belongs to this store."""

    def __init__(self, client: Client, keys: Keyspace, check: Callable[[Sequence[Message]], None]) -> None:
        self._client = client
        self._keys = keys
        self._check = check
        self._kept = 0  # marks up to this revision are known to be kept

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete], seen: int) -> TxnResult:
        """Execute all `ops` in one revision if every compare holds, else nothing. `seen` is an earlier revision of the cluster.

        Raises:
          StoreError: a lease is gone.
          StoreUnavailable: no member answers; the outcome is unknown.
        """
        give_up = time.monotonic() + self._client.patience_s
        while True:
            mark = new_mark()
            request = self._request(compares, ops, mark, seen)
            try:
                return self._result(self._client.once(pb.TXN, request))
            except Unanswered as error:
                lost = error
            except Refused as error:
                raise _refusal(error, ops) from error
            if revision := self._settle(mark, seen):
                return TxnResult(True, revision - self._keys.base)
            if time.monotonic() >= give_up:
                raise StoreUnavailable(f"{self._client.unavailable(lost)}; nothing was written") from lost

    def keep_marks(self, revision: int) -> list[Message]:
        """Return the operations that preserve the last kept mark up to a revision of the store from compaction; often none."""
        wanted = revision - revision % KEEP_MARK_EVERY
        if wanted <= self._kept:
            return []
        key = self._keys.kept(wanted)
        past = pb.RangeRequest(key=self._keys.mark, revision=wanted + self._keys.base)
        request = pb.TxnRequest(
            compare=[pb.Compare(target=pb.VERSION, key=key, version=0)], success=[pb.RequestOp(request_range=past)]
        )
        try:
            answer = self._client.call(pb.TXN, request)
        except Refused as error:
            if error.code is not grpc.StatusCode.OUT_OF_RANGE:
                raise
            answer = None  # compacted already
        self._kept = wanted
        if answer is None or not answer.succeeded or not answer.responses[0].response_range.kvs:
            return []
        return [_put(key, answer.responses[0].response_range.kvs[0].value)]

    def _request(self, compares: Sequence[Compare], ops: Sequence[Put | Delete], mark: str, seen: int) -> Message:
        keys = self._keys
        conditions = [
            pb.Compare(target=pb.CREATED_AT, key=keys.meta, create_revision=keys.base + 1),
            pb.Compare(target=pb.VERSION, key=keys.fence(mark), version=0),
            *(_compare(keys, compare) for compare in compares),
        ]
        failure = [pb.RequestOp(request_range=pb.RangeRequest(key=keys.meta))]
        if not ops:
            return pb.TxnRequest(compare=conditions, failure=failure)
        changes = [_operation(keys, op) for op in ops]
        changes += [_put(keys.mark, mark.encode()), *self.keep_marks(seen - keys.base)]
        if not _may_change_nothing(compares, ops) or max(len(conditions), 1) + max(len(ops), len(changes)) > _OPS_LIMIT:
            return pb.TxnRequest(compare=conditions, success=changes, failure=failure)
        absent = [pb.Compare(target=pb.VERSION, key=keys.key(op.key), version=0) for op in ops]
        nested = pb.TxnRequest(compare=absent, failure=changes)
        return pb.TxnRequest(compare=conditions, success=[pb.RequestOp(request_txn=nested)], failure=failure)

    def _result(self, answer: Message) -> TxnResult:
        if not answer.succeeded:
            self._check(answer.responses[0].response_range.kvs)
        return TxnResult(answer.succeeded, answer.header.revision - self._keys.base)

    def _settle(self, mark: str, seen: int) -> int:
        """Return the cluster's revision in which a transaction happened; 0: it did not, and never will.

        Raises:
          StoreUnavailable: the outcome cannot be determined.
        """
        lease = self._client.call(pb.GRANT, pb.LeaseGrantRequest(TTL=FENCE_S)).ID
        fenced = pb.TxnRequest(success=[_put(self._keys.fence(mark), b"", lease)])
        try:
            revision = self._client.call(pb.TXN, fenced).header.revision
            while revision > seen:
                found = self._client.call(pb.RANGE, pb.RangeRequest(key=self._keys.mark, revision=revision)).kvs
                if not found or found[0].mod_revision <= seen:
                    return 0
                if found[0].value == mark.encode():
                    return int(found[0].mod_revision)
                revision = found[0].mod_revision - 1
        except Refused as error:
            raise StoreUnavailable(
                f"store: {self._client.address.text()}: the answer to a transaction was lost, and its result cannot be read "
                f"({error.reason}); check whether it was applied before you try again"
            ) from error
        return 0


def _may_change_nothing(compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> bool:
    """Return whether all of a transaction's operations may delete missing keys."""
    there = {compare.key for compare in compares if compare.mod_revision}
    return all(isinstance(op, Delete) and op.key not in there for op in ops)


def _compare(keys: Keyspace, compare: Compare) -> Message:
    revision = compare.mod_revision + keys.base if compare.mod_revision else 0
    return pb.Compare(target=pb.WRITTEN_AT, key=keys.key(compare.key), mod_revision=revision)


def _operation(keys: Keyspace, op: Put | Delete) -> Message:
    if isinstance(op, Put):
        return _put(keys.key(op.key), op.value, op.lease)
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=keys.key(op.key)))


def _put(key: bytes, value: bytes, lease: int = 0) -> Message:
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, lease=lease))


def _refusal(error: Refused, ops: Sequence[Put | Delete]) -> StoreError:
    leases = sorted({op.lease for op in ops if isinstance(op, Put) and op.lease})
    if "lease not found" in str(error):
        return StoreError(f"store: lease {', '.join(map(str, leases))} no longer exists; grant a new one")
    if error.code is grpc.StatusCode.INVALID_ARGUMENT:
        what = f"store: the cluster refuses the transaction: {error.reason}"
        return StoreError(f"{what}; give its members etcd's default limits or higher")
    return StoreUnavailable(str(error))
