"""Calls to an etcd cluster: each call goes to one member, and to the next one if there is no answer.

gRPC could choose among members by itself. But it does not notice a member that is stopped or cut off from the others,
and accepts no list of host names. So this module chooses.
"""

from __future__ import annotations

import contextlib
import errno
import random
import threading
import time
from typing import Final

import grpc

from netorch.errors import StoreDenied, StoreUnavailable
from netorch.store.etcd.address import Address
from netorch.store.etcd.messages import KEEP_ALIVE, Message, Method

LEAST_PATIENCE_S: Final = 2.0  # an election takes one to two seconds, and every member may have to be tried
_TRY_S: Final = 3.0  # at most, for one member
_TRIES: Final = 16  # while rights of users change
_PAUSE_S: Final = 0.05  # after a round of all members; doubles, up to 16 of them
# With this, a member without a leader refuses a call instead of holding it. etcd: api/v3rpc/rpctypes/metadatafields.go
HAS_LEADER: Final = (("hasleader", "true"),)
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # commit.py handles a lost answer
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 6000),  # etcd closes connections with pings more often than every 5 s
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.ping_timeout_ms", 5000),
    ("grpc.http2.max_pings_without_data", 0),
)
# Codes after which the call may have been executed. Any other code is the cluster's answer.
_UNANSWERED: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)
_FULL: Final = "database space exceeded"
# The rights of some user changed between the check of a request and its execution, so it was not executed. etcd itself repeats
# only requests that went through Raft. server/auth/store.go: ErrAuthOldRevision
_RIGHTS_CHANGED: Final = ("revision of auth store is old", "revision in header is old")
_DENIED: Final = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED})
# etcd's text for a certificate without a common name; its code means a wrong request.
_UNKNOWN_USER: Final = "user name is empty"


DENIED_ADVICE: Final = (
    'docs/design/identities.md, "Which command where", says which command needs an operator\'s certificate. If an agent is '
    "refused, an operator's `netorch ca list` shows whether etcd knows its host"
)
_FULL_ADVICE: Final = (
    "compact and defragment the cluster, disarm the alarm, and raise --quota-backend-bytes; "
    'docs/design/store.md, "When etcd is full", has the commands'
)


class _RightsChanged(Exception):
    """The request was not executed and can be repeated."""


class Unanswered(Exception):
    """A member did not answer, so it is unknown whether the call was executed."""


class Refused(StoreUnavailable):
    """The cluster refused the call; `code` is gRPC's, `reason` etcd's text."""

    def __init__(self, where: str, code: grpc.StatusCode, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(f"store: {where}: the cluster refuses: {reason}; see its log")


class Client:
    """Connections to the members of a cluster. Threads may share it. Not for use in a child after fork.

    A call gives up after `patience_s`, but not before LEAST_PATIENCE_S.
    """

    def __init__(self, address: Address, patience_s: float) -> None:
        self.address = address
        self.patience_s = max(patience_s, LEAST_PATIENCE_S)
        self._try_s = min(_TRY_S, self.patience_s / len(address.members))
        self._lock = threading.Lock()
        self._channels: list[grpc.Channel | None] = [None] * len(address.members)
        self._at = random.randrange(len(address.members))  # so that clients are spread over the members
        self._closed = False

    def call(self, method: Method, request: Message) -> Message:
        """Return the answer to an idempotent call.

        Raises:
          Refused: the cluster refuses the call.
          StoreUnavailable: no member answered in time.
        """
        give_up, pause = time.monotonic() + self.patience_s, _PAUSE_S
        while True:
            for _ in self.address.members:
                try:
                    return self.once(method, request)
                except Unanswered as error:
                    last = error
                if time.monotonic() >= give_up:
                    break
            if time.monotonic() + pause >= give_up:
                raise self.unavailable(last) from last
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, 16 * _PAUSE_S)

    def once(self, method: Method, request: Message) -> Message:
        """Return the answer to a call that is made once.

        Raises:
          Unanswered: it may have been executed or not.
          Refused, StoreDenied, StoreUnavailable: it was not executed, and will not be.
        """
        for _ in range(_TRIES):
            with contextlib.suppress(_RightsChanged):
                return self._once(method, request)
        raise Unanswered("the rights of users keep changing")

    def _once(self, method: Method, request: Message) -> Message:
        at, channel = self.channel()
        path, response = method
        try:
            if method is KEEP_ALIVE:  # a stream, of which only one answer is needed
                stream = channel.stream_stream(path, type(request).SerializeToString, response.FromString)
                return next(stream(iter([request]), timeout=self._try_s, metadata=HAS_LEADER))
            unary = channel.unary_unary(path, type(request).SerializeToString, response.FromString)
            return unary(request, timeout=self._try_s, metadata=HAS_LEADER)
        except grpc.RpcError as error:
            if any(text in str(error.details()) for text in _RIGHTS_CHANGED):
                raise _RightsChanged from error
            raise self.understood(at, error) from error
        except (StopIteration, ValueError) as error:  # the stream ended, or another thread closed the channel
            self.leave(at)
            raise Unanswered(f"{self.address.members[at]} closed the connection") from error

    def channel(self) -> tuple[int, grpc.Channel]:
        """Return the current member, and the connection to it.

        Raises:
          StoreUnavailable: the store is closed, or its files cannot be read.
        """
        with self._lock:
            if self._closed:
                raise StoreUnavailable(f"store: {self.address.text()}: the store is closed; connect again")
            at = self._at
            channel = self._channels[at]
            if channel is None:
                channel = self._channels[at] = self._connect(self.address.members[at])
            return at, channel

    def leave(self, at: int, *, reconnect: bool = False) -> None:
        """Switch to the next member, if `at` is the current one.

        `reconnect` makes a new connection to `at` on its next use: certificate files may have changed.
        """
        with self._lock:
            if self._at == at:
                self._at = (at + 1) % len(self._channels)
            channel = self._channels[at]
            if reconnect and channel is not None and not self._closed:
                self._channels[at] = None
                channel.close()

    def understood(self, at: int, error: grpc.RpcError) -> Unanswered | Refused | StoreUnavailable:
        """Return the meaning of an error of the member `at`, and switch to the next member if there was no answer."""
        code, text = error.code(), str(error.details() or error.code().name)
        if code in _UNANSWERED or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and _FULL not in text):
            self.leave(at, reconnect=code is grpc.StatusCode.UNAVAILABLE and "etcdserver" not in text)
            return Unanswered(f"{self.address.members[at]}: {text}")
        if code in _DENIED or _UNKNOWN_USER in text:
            return StoreDenied(f"store: {self.address.text()}: {text}; {DENIED_ADVICE}")
        if _FULL in text:
            return StoreUnavailable(f"store: {self.address.text()}: {text}; {_FULL_ADVICE}")
        return Refused(self.address.text(), code, text)

    def unavailable(self, error: Exception) -> StoreUnavailable:
        """Return the error that no member answers, with the last one's error."""
        return StoreUnavailable(
            f"store: {self.address.text()}: no member of the cluster answers ({error}); "
            "check that a majority of them is running and can be reached"
        )

    def close(self) -> None:
        """Close the connections. Running calls fail."""
        with self._lock:
            self._closed = True
            for channel in self._channels:
                if channel is not None:
                    channel.close()

    def _connect(self, member: str) -> grpc.Channel:
        if self.address.ca is None:
            return grpc.insecure_channel(member, _OPTIONS)
        files = (self.address.ca, self.address.key, self.address.cert)
        try:
            root, key, chain = (path.read_bytes() if path is not None else None for path in files)
        except OSError as error:
            what = "the authority's certificate" if error.filename == str(self.address.ca) else "the own certificate or key"
            fix = "give a PEM file that this user may read"
            if error.errno == errno.ENOENT:
                fix = "the commands `host join` (for a host) and `ca create` or `ca operator` (for an operator) write it"
            raise StoreUnavailable(f"store: {error.filename} ({what}): {error.strerror}; {fix}") from error
        credentials = grpc.ssl_channel_credentials(root_certificates=root, private_key=key, certificate_chain=chain)
        return grpc.secure_channel(member, credentials, _OPTIONS)
