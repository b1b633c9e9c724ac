"""Bodies that are kept for a policy decision: limits of bytes and of steps, and bodies that are not read at all."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from msgspec.structs import replace

from netorch.model.iam.s3.deletion import read_deletion
from netorch.model.iam.s3.request import Asked, S3Request, read_request
from netorch.model.iam.s3.uri import Service
from netorch.services.proxy import deletions, limits
from netorch.services.proxy.bodies import Bodies
from netorch.services.proxy.crowd import Client, Crowd
from netorch.services.proxy.exchange import Exchange, Place
from netorch.services.proxy.head import Refusal
from netorch.services.proxy.policies import Policies
from netorch.services.proxy.upstream import Upstream
from netorch.services.proxy.wire.chunks import LAST, chunk
from netorch.services.proxy.wire.heads import RequestHead
from netorch.services.proxy.wire.stream import Stream
from netorch.state.daemons.services.proxy import ProxyBucket, ProxyEndpoint

ENDPOINT = ProxyEndpoint(id="vpce-1", vpc="vpc-1", service="s3", hosts=("s3.internal",), prefixes=(), upstream="http://192.0.2.1")
KEYS = 1_000


def policies(endpoint: object = None, bucket: object = None) -> Policies:
    """Return the policies of the endpoint and of the bucket `buc`, with one statement each."""
    found = Policies()
    texts = [json.dumps({"Statement": one}) if one is not None else "" for one in (endpoint, bucket)]
    found.put_endpoint(replace(ENDPOINT, policy=texts[0]))
    if texts[1]:
        found.put_bucket(ProxyBucket(service="s3", bucket="buc", policy=texts[1]))
    return found


def statement(resource: object, action: str = "s3:*", **more: object) -> dict[str, object]:
    return {"Effect": "Allow", "Principal": "*", "Action": action, "Resource": resource, **more}


def deletion(names_keys: bool = False) -> Asked:
    """Return a request to delete KEYS objects, or one whose body has not been read yet."""
    request = S3Request(method="POST", target="/buc?delete", headers=[("Host", "s3.internal")])
    asked = read_request(Service(names=("s3.internal",)), request)
    assert isinstance(asked, Asked)
    if names_keys:
        return asked
    keys = "".join(f"<Object><Key>{'a' * 1_000}{number:04d}</Key></Object>" for number in range(KEYS))
    found = read_deletion(asked, f"<Delete>{keys}</Delete>".encode())
    assert isinstance(found, Asked)
    return found


def test_bytes_of_all_and_of_one_vpc_have_a_bound_and_come_back() -> None:
    bodies = Bodies(most=100, of_vpc=60)
    bodies.keep("a", 60)
    with pytest.raises(Refusal) as refused:
        bodies.keep("a", 1)
    assert (refused.value.status, refused.value.code) == (503, "SlowDown")
    bodies.keep("b", 40)
    with pytest.raises(Refusal):
        bodies.keep("c", 1)
    bodies.forget("a", 60)
    bodies.forget("c", 0)
    bodies.keep("c", 60)
    assert bodies.count == 100


def test_a_long_list_is_judged_in_pieces_of_bounded_effort() -> None:
    usual = policies(statement([f"arn:aws:s3:::buc/{'a' * 100}*", "arn:aws:s3:::buc/*"] * 50))
    asked = deletion()
    pieces = list(deletions.pieces(asked, usual.both(asked, ENDPOINT)))
    assert sum(len(piece.needs) for piece in pieces) == KEYS
    assert max(len(piece.needs) for piece in pieces) <= limits.KEYS_AT_ONCE
    assert all(usual.verdict(piece, ENDPOINT, "10.0.0.5").refusal is None for piece in pieces)


@pytest.mark.parametrize("of_bucket", [False, True])
def test_a_list_that_would_take_too_many_steps_is_refused_before_the_first_one(of_bucket: bool) -> None:
    start = "arn:aws:s3:::buc/" if of_bucket else "arn:aws:s3:::"
    costly = statement([f"{start}*{'a' * number}b*" for number in range(470, 508)])
    known = policies(bucket=costly) if of_bucket else policies(endpoint=costly)
    asked = deletion()
    with pytest.raises(Refusal) as refused:
        list(deletions.pieces(asked, known.both(asked, ENDPOINT)))
    assert (refused.value.status, refused.value.code) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    ("endpoint", "bucket", "expected"),
    [
        (None, None, False),
        (statement("*"), None, False),
        (statement("*", "s3:DeleteObjectVersion"), None, False),
        (statement("*", "s3:Get*"), None, True),
        (statement("*", Condition={"StringEquals": {"aws:sourceVpc": "vpc-2"}}), None, False),
        (None, statement("arn:aws:s3:::buc/*", "s3:GetObject"), True),
        (None, statement("arn:aws:s3:::buc/*", "s3:GetObject", Effect="Deny"), False),
    ],
)
def test_a_list_is_not_read_if_no_key_could_be_permitted(endpoint: object, bucket: object, expected: bool) -> None:
    refusal = deletions.no_deletion(policies(endpoint, bucket).both(deletion(names_keys=True), ENDPOINT))
    assert (refusal is not None) is expected
    if refusal is not None:
        assert (refusal.status, refusal.code) == (403, "AccessDenied")


class Asking:
    """A client that sends a body in chunks, piece by piece, and the exchange that answers it."""

    def __init__(self, known: Policies) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self._end = socket.create_connection(listening.getsockname())
            served, _ = listening.accept()
        served.setblocking(False)
        self._stream = Stream(served)
        self.bodies = Bodies(most=100, of_vpc=60)
        place = Place(ENDPOINT, known, Upstream(), self.bodies, asyncio.Lock())
        crowd = Crowd(lambda: 0.0, lambda endpoint: endpoint)
        headers = ((b"Host", b"s3.internal"), (b"Transfer-Encoding", b"chunked"))
        came = RequestHead(method="POST", target="/buc?delete", headers=headers, closes=False)
        self.exchange = Exchange(place, came, Client(crowd, ENDPOINT.id, self._stream.reset), self._stream, "10.0.0.5")

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stream.close()
        self._end.close()

    async def answered(self, *pieces: bytes) -> tuple[list[int], int]:
        """Send pieces while the exchange runs; return the number of kept bytes after each, and the status of the answer."""
        running, kept = asyncio.create_task(self.exchange.run()), []
        for piece in pieces:
            await asyncio.sleep(0)
            before = self.bodies.count
            self._end.sendall(piece)
            while self.bodies.count == before and not running.done():
                await asyncio.sleep(0)
            kept.append(self.bodies.count)
        await running
        return kept, int(self._end.recv(1 << 16).split()[1])


@pytest.mark.parametrize(
    ("pieces", "kept", "status"), [((40, 40), [40, 0], 503), ((20, 20, 0), [20, 40, 0], 400)], ids=["too many", "no list"]
)
def test_a_body_counts_as_long_as_it_is_kept(pieces: tuple[int, ...], kept: list[int], status: int) -> None:
    async def run() -> tuple[list[int], int]:
        with Asking(policies()) as asking:
            return await asking.answered(*(chunk(b"x" * size) if size else LAST for size in pieces))

    assert asyncio.run(run()) == (kept, status)


def test_a_body_that_cannot_be_permitted_is_not_read() -> None:
    async def run() -> tuple[list[int], int]:
        with Asking(policies(statement("*", "s3:Get*"))) as asking:
            return await asking.answered()

    assert asyncio.run(run()) == ([], 403)


def test_others_have_their_turns_while_a_long_list_is_judged() -> None:
    async def count() -> int:
        with Asking(policies(statement("*"))) as asking:
            judging = asyncio.create_task(asking.exchange._judge(deletion(), b""))
            turns = 0
            while not judging.done():
                await asyncio.sleep(0)
                turns += 1
            assert judging.result().refusal is None
            return turns

    assert asyncio.run(count()) >= KEYS // limits.KEYS_AT_ONCE
