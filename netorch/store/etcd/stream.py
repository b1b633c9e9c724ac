"""One stream of etcd's watch protocol, which carries watches of any number of ranges."""

from __future__ import annotations

import contextlib
import logging
import queue
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Final

import grpc

from netorch.errors import StoreDenied
from netorch.store.etcd import messages as pb
from netorch.store.etcd.client import HAS_LEADER, Client, Refused, Unanswered
from netorch.store.etcd.keyspace import Keyspace
from netorch.store.etcd.messages import Message

log = logging.getLogger(__name__)

_ANSWERS: Final = 256  # in this process's queue; further ones wait in gRPC, then in the member
# From these versions on, a requested progress notification follows all events that it covers: etcd issue 15220.
_PROGRESS_SINCE: Final = ((3, 4, 25), (3, 5, 8))
_TOO_OLD: Final = (
    "etcd %s is too old: it does not keep users apart, changes take 100 ms and more to arrive, and without its option "
    "--experimental-watch-progress-notify-interval a host that comes back counts as not running for up to 10 min; "
    "docs/design/store.md says which versions serve production"
)


class Stream:
    """Watches of `ranges` from a revision of the cluster on, at the client's current member.

    Raises:
      Unanswered: the member does not answer.
    """

    def __init__(self, client: Client, ranges: Sequence[tuple[bytes, bytes]], revision: int) -> None:
        self.can_ask = _can_ask(client)
        self._client = client
        self._at, channel = client.channel()
        self._requests: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._answers: queue.Queue[Message | Exception] = queue.Queue(_ANSWERS)
        self._closed = threading.Event()
        for number, (first, end) in enumerate(ranges):
            create = pb.WatchCreateRequest(
                key=first, range_end=end, start_revision=revision, progress_notify=True, watch_id=number, fragment=True
            )
            self._requests.put(pb.WatchRequest(create_request=create))
        path, response = pb.WATCH
        open_stream = channel.stream_stream(path, pb.WatchRequest.SerializeToString, response.FromString)
        try:
            self._call = open_stream(iter(self._requests.get, None), metadata=HAS_LEADER)
        except ValueError as error:  # another thread has closed the channel
            raise Unanswered("the connection was closed") from error
        threading.Thread(target=self._read, name="etcd watch stream", daemon=True).start()

    def ask_progress(self) -> None:
        """Request a progress notification for all watches, once they have caught up."""
        self._requests.put(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    def answers(self, timeout_s: float) -> Iterator[Message]:
        """Yield the received answers. Wait at most `timeout_s` for the first.

        Raises:
          Unanswered, Refused, StoreUnavailable: the stream has ended.
        """
        with contextlib.suppress(queue.Empty):
            for number in range(_ANSWERS + 1):
                answer = self._answers.get(block=number == 0, timeout=timeout_s)
                if isinstance(answer, Exception):
                    raise answer
                yield answer

    def close(self) -> None:
        """End the stream. A reader that waits for an answer gets Unanswered."""
        self._closed.set()
        self._requests.put(None)
        self._call.cancel()
        with contextlib.suppress(queue.Full):
            self._answers.put_nowait(Unanswered("the stream was closed"))

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._put(answer)
            self._put(Unanswered("the member ended the stream"))
        except grpc.RpcError as error:
            if not self._closed.is_set():
                self._put(self._client.understood(self._at, error))

    def _put(self, item: Message | Exception) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._answers.put(item, timeout=1.0)
                return


def compacted_at(client: Client, keys: Keyspace, revision: int) -> int:
    """Return the revision of the store's last compaction; 0: `revision` is not affected.

    Only a watch returns this number: the error of a listing does not have it.
    """
    with contextlib.suppress(Unanswered), contextlib.closing(Stream(client, [(keys.mark, b"")], revision + keys.base)) as stream:
        for _ in range(2):  # first the watch's creation, then its end
            for answer in stream.answers(client.patience_s):
                if answer.compact_revision:
                    return int(answer.compact_revision) - keys.base
    return 0


def _can_ask(client: Client) -> bool:
    """Return whether the client's cluster answers requests for progress behind all events; log a warning if it does not.

    Versions that tell their version to administrators only are newer than the first that do (3.5.28 to 3.5.30, 3.6: etcd issue
    21663). They refuse a host whose user is gone, too, as a wrong request; its watches are then denied. Raises what a call
    raises.
    """
    try:
        version = client.call(pb.STATUS, pb.StatusRequest()).version
    except (StoreDenied, Refused):
        return True
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    answers = any(numbers >= first and (numbers[:2] == first[:2] or first is _PROGRESS_SINCE[-1]) for first in _PROGRESS_SINCE)
    if not answers:
        log.warning(_TOO_OLD, version)
    return answers
