"""One stream of etcd's watch protocol, over which any number of ranges are watched."""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Final

import grpc

from netorch.store.etcd import messages as pb
from netorch.store.etcd.client import HAS_LEADER, Client, Unanswered
from netorch.store.etcd.keyspace import Keyspace
from netorch.store.etcd.messages import Message

log = logging.getLogger(__name__)

_ANSWERS: Final = 256  # how many may wait here; the rest waits in gRPC, and then in the member
# From here on progress that was asked for comes behind all events that it covers: etcd issue 15220.
_PROGRESS_SINCE: Final = ((3, 4, 25), (3, 5, 8))


class Stream:
    """Watches of `ranges` from a revision of the cluster on, at the member that the client asks now.

    Raises:
      Unanswered: the member does not answer.
    """

    def __init__(self, client: Client, ranges: Sequence[tuple[bytes, bytes]], revision: int) -> None:
        version = client.call(pb.STATUS, pb.StatusRequest()).version
        self.can_ask = _answers_progress(version)
        if not self.can_ask:
            log.warning("etcd is too old: what one transaction changes in several places comes late version=%s", version)
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
        """Let the member say how far all watches are, once they have caught up."""
        self._requests.put(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    def answers(self, timeout_s: float) -> Iterator[Message]:
        """Yield what has come; wait for the first at most so long.

        Raises:
          Unanswered, Refused, StoreUnavailable: the stream has ended.
        """
        with contextlib.suppress(queue.Empty):
            answer = self._answers.get(timeout=timeout_s)
            for _ in itertools.repeat(None, _ANSWERS):
                if isinstance(answer, Exception):
                    raise answer
                yield answer
                answer = self._answers.get_nowait()
            if isinstance(answer, Exception):
                raise answer
            yield answer

    def close(self) -> None:
        """End the stream; who waits for an answer gets Unanswered."""
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
    """Return before which revision of the store everything is forgotten; 0: nothing that concerns `revision` is.

    Only a watch tells it: a listing is refused without the number.
    """
    with contextlib.suppress(Unanswered), contextlib.closing(Stream(client, [(keys.mark, b"")], revision + keys.base)) as stream:
        for _ in range(2):  # first that the watch was made, then that it has ended
            for answer in stream.answers(client.patience_s):
                if answer.compact_revision:
                    return int(answer.compact_revision) - keys.base
    return 0


def _answers_progress(version: str) -> bool:
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    return any(numbers >= first and (numbers[:2] == first[:2] or first is _PROGRESS_SINCE[-1]) for first in _PROGRESS_SINCE)
