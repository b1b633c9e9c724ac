"""A member that answers progress requests, like etcd 3.5.8 and later: a transaction in two watches is delivered at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from netorch.errors import StoreUnavailable
from netorch.store import open_store
from netorch.store.base import Event
from netorch.store.etcd import messages as pb
from netorch.store.etcd import watch
from netorch.store.etcd.address import parse_address
from netorch.store.etcd.client import Client
from netorch.store.etcd.frontier import EVERY_WATCH
from netorch.store.etcd.keyspace import Keyspace
from netorch.store.etcd.stream import Stream
from netorch.store.etcd.watch import EtcdWatch
from netorch.store.replay import events_until

KEYS = Keyspace("s")


class Member:
    """Reports revision 2 on one of two watches, and progress on the second request for it."""

    version = "3.5.33"
    refusal: tuple[grpc.StatusCode, str] | None = None  # of a request for its version

    def __init__(self) -> None:
        self.asked = 0

    def status(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - messages have no types
        if self.refusal is not None:
            context.abort(*self.refusal)
        return pb.STATUS[1](version=self.version)

    def watch(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        made = 0
        for request in requests:
            if request.HasField("create_request"):
                yield pb.WatchResponse(created=True, watch_id=request.create_request.watch_id)
                made += 1
                if made == 2:
                    yield _event("a")
            else:
                self.asked += 1
                if self.asked == 2:
                    progress = pb.WatchResponse(watch_id=EVERY_WATCH)
                    progress.header.revision = 2
                    yield progress


def _event(key: str) -> Any:  # noqa: ANN401
    answer = pb.WatchResponse(watch_id=0)
    answer.events.add(kv=pb.KeyValue(key=KEYS.key(key), value=b"x", mod_revision=2, create_revision=2))
    return answer


@pytest.fixture
def member() -> Member:
    return Member()


@pytest.fixture
def client(member: Member) -> Iterator[Client]:
    server = grpc.server(ThreadPoolExecutor(4))
    status = grpc.unary_unary_rpc_method_handler(member.status, pb.StatusRequest.FromString, pb.STATUS[1].SerializeToString)
    watch = grpc.stream_stream_rpc_method_handler(member.watch, pb.WatchRequest.FromString, pb.WatchResponse.SerializeToString)
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler("etcdserverpb.Maintenance", {"Status": status}),
            grpc.method_handlers_generic_handler("etcdserverpb.Watch", {"Watch": watch}),
        ]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    made = Client(parse_address(f"etcd://127.0.0.1:{port}"), 5.0)
    yield made
    made.close()
    server.stop(None).wait()


class SlowMember(Member):
    """Sends its event only after the first request for progress, which it does not answer: its watches have not caught up."""

    def watch(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        made = 0
        for request in requests:
            if request.HasField("create_request"):
                yield pb.WatchResponse(created=True, watch_id=request.create_request.watch_id)
                made += 1
                continue
            self.asked += 1
            if self.asked == 1:
                yield _event("a")
            else:
                progress = pb.WatchResponse(watch_id=EVERY_WATCH)
                progress.header.revision = 2
                yield progress


@pytest.mark.parametrize("member", [SlowMember()])
def test_a_request_before_an_event_is_none_for_it(client: Client, member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("_ASK_AGAIN_S", "_ASK_EVERY_S"):
        monkeypatch.setattr(watch, pause, 600.0)
    follows = EtcdWatch(client, KEYS, lambda revision: (2, "mark"), ["a", "b"], 2, "mark")
    assert events_until(follows, 2) == (Event("a", b"x", 2, 2),)
    assert member.asked == 2
    follows.close()


def test_a_cluster_that_refuses_calls_is_unavailable(client: Client) -> None:
    """As one whose members differ does (alarm CORRUPT), and a server that is no etcd: an agent retries, a command says so."""
    url = f"etcd://{client.address.members[0]}/cloud"
    with pytest.raises(StoreUnavailable, match="the cluster refuses: Method not found!; see its log"):
        open_store(url, patience_s=2.0)
    with pytest.raises(StoreUnavailable, match="the cluster refuses"):
        client.call(pb.GRANT, pb.LeaseGrantRequest(TTL=15))


def test_progress_is_asked_for_until_it_is_told(client: Client, member: Member) -> None:
    watch = EtcdWatch(client, KEYS, lambda revision: (2, "mark"), ["a", "b"], 2, "mark")
    assert events_until(watch, 2) == (Event("a", b"x", 2, 2),)
    assert member.asked == 2
    assert watch.mark == "mark"
    watch.close()


@pytest.mark.parametrize(
    ("version", "asks"),
    [("3.4.23", False), ("3.4.25", True), ("3.5.0", False), ("3.5.7", False), ("3.5.8", True), ("3.6.0", True), ("4.0.0", True)],
)
def test_only_members_that_tell_it_behind_all_events_are_asked(
    client: Client, member: Member, caplog: pytest.LogCaptureFixture, version: str, asks: bool
) -> None:
    member.version = version
    stream = Stream(client, [(b"a", b"b")], 2)
    assert stream.can_ask == asks
    assert ("--experimental-watch-progress-notify-interval" in caplog.text) == (not asks)
    stream.close()


@pytest.mark.parametrize(
    "refusal",
    [
        (grpc.StatusCode.PERMISSION_DENIED, "etcdserver: permission denied"),
        (grpc.StatusCode.FAILED_PRECONDITION, "etcdserver: user name not found"),
    ],
)
def test_a_member_that_tells_its_version_to_administrators_only_is_asked(
    client: Client, member: Member, refusal: tuple[grpc.StatusCode, str]
) -> None:
    """As 3.5.30 does with a host, and with one that was revoked. A host that gave up there would follow nothing."""
    member.refusal = refusal
    stream = Stream(client, [(b"a", b"b")], 2)
    assert stream.can_ask
    stream.close()
