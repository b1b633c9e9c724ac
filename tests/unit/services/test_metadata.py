"""Instance metadata: requests as bytes, tokens, the tree, and slow or many connections."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.model.services.metadata import InstanceFacts, InterfaceFacts, tree, user_data
from netorch.services.metadata import connection, handler, tokens
from netorch.services.metadata.answers import Answer, answer
from netorch.services.metadata.requests import BadRequest, Request, parse
from netorch.services.pace import Pace
from netorch.state.daemons.services.metadata import InstanceMetadata, MetadataListener

KEY = b"k" * 32
NOW = 1000.0
OWN = InterfaceFacts(
    id="eni-00138800000000001",
    mac="02:00:00:00:00:05",
    address="10.0.0.5",
    subnet="subnet-00138800000000001",
    subnet_cidr="10.0.0.0/24",
    hostname="ip-10-0-0-5.compute.internal",
    public_address="198.51.100.5",
    groups=(("sg-00138800000000001", "a"), ("sg-00138800000000002", "b")),
)
SECOND = msgspec.structs.replace(OWN, id="eni-00138800000000002", mac="02:00:00:00:00:06", address="10.0.0.6", public_address="")
FACTS = InstanceFacts(
    id="i-00138800000000001",
    owner="acme",
    vpc="vpc-00138800000000001",
    cidrs=("10.0.0.0/16", "10.1.0.0/16"),
    ipv6_cidrs=(),
    interfaces=(OWN, SECOND),
    tags=(("env", "prod"),),
)
FOUND = InstanceMetadata(
    vni=5000,
    id=FACTS.id,
    places=(("vrf5000", "10.0.0.5"),),
    enabled=True,
    needs_token=True,
    hop_limit=1,
    tree=tuple(sorted(tree(FACTS).items())),
    user_data=base64.b64encode(b"#cloud-config\n").decode(),
)
OPTIONAL = msgspec.structs.replace(FOUND, needs_token=False)


def asked(path: str, method: str = "GET", found: InstanceMetadata = OPTIONAL, now: float = NOW, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(found, Request(method=method, path=path, headers=named, persistent=True), KEY, now)


def text(path: str) -> str:
    found = asked(path)
    assert found.status == 200, path
    return found.body.decode()


def token(found: InstanceMetadata = FOUND, ttl: str = "60") -> str:
    made = asked("/latest/api/token", "PUT", found, x_aws_ec2_metadata_token_ttl_seconds=ttl)
    assert (made.status, made.hop_limit) == (200, found.hop_limit)
    return made.body.decode()


# The paths that cloud-init's data source for EC2 reads, like a crawler: a line that ends in a slash is a directory, all others
# are texts.
def crawl(path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in filter(None, text(path).splitlines()):
        if name.endswith("/"):
            found |= crawl(f"{path}{name}")
        else:
            found[f"{path}{name}"] = text(f"{path}{name}")
    return found


@pytest.mark.parametrize("version", ["2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"])
def test_a_crawler_finds_everything_in_every_version(version: str) -> None:
    found = crawl(f"/{version}/meta-data/")
    macs = f"/{version}/meta-data/network/interfaces/macs"
    assert found[f"/{version}/meta-data/instance-id"] == FACTS.id
    assert found[f"/{version}/meta-data/local-ipv4"] == "10.0.0.5"
    assert found[f"/{version}/meta-data/public-ipv4"] == "198.51.100.5"
    assert found[f"/{version}/meta-data/security-groups"] == "a\nb"
    assert found[f"/{version}/meta-data/tags/instance/env"] == "prod"
    assert found[f"{macs}/{SECOND.mac}/device-number"] == "1"
    assert found[f"{macs}/{OWN.mac}/ipv4-associations/198.51.100.5"] == "10.0.0.5"
    assert found[f"{macs}/{OWN.mac}/vpc-ipv4-cidr-blocks"] == "10.0.0.0/16\n10.1.0.0/16"
    assert len(found) == len([path for path, _ in FOUND.tree if path.startswith("meta-data/")])
    assert json.loads(text(f"/{version}/dynamic/instance-identity/document"))["instanceId"] == FACTS.id
    assert text(f"/{version}/user-data") == "#cloud-config\n"
    assert text(f"/{version}/").splitlines() == ["dynamic", "meta-data", "user-data"]


@pytest.mark.parametrize("path", ["/latest/x", "/latest/meta-data/mac/", "/1.0/meta-data/", "/latest/meta-data/ma", "/latest//"])
def test_what_is_not_there_is_not_found(path: str) -> None:
    assert asked(path).status == 404


def test_a_token_is_needed_and_is_good_for_its_time_and_its_instance_only() -> None:
    path, other = "/latest/meta-data/mac", msgspec.structs.replace(FOUND, id="i-00138900000000001")
    assert asked(path, found=FOUND).status == 401
    good = token()
    assert asked(path, found=FOUND, x_aws_ec2_metadata_token=good).status == 200
    assert asked(path, found=FOUND, now=NOW + 59, x_aws_ec2_metadata_token=good).status == 200
    assert asked(path, found=FOUND, now=NOW + 60, x_aws_ec2_metadata_token=good).status == 401
    assert asked(path, found=other, x_aws_ec2_metadata_token=good).status == 401
    for wrong in ("", "x", good[:-1], good[::-1], token(other), "BAAA" + good[4:]):
        assert asked(path, found=FOUND, x_aws_ec2_metadata_token=wrong).status == 401
        assert asked(path, found=OPTIONAL, x_aws_ec2_metadata_token=wrong).status == 401


@pytest.mark.parametrize("ttl", ["", "0", "21601", "-1", "1.5", "999999", "\u0661", " 60"])
def test_a_token_has_a_time_from_one_second_to_six_hours(ttl: str) -> None:
    assert asked("/latest/api/token", "PUT", FOUND, x_aws_ec2_metadata_token_ttl_seconds=ttl).status == 400
    token(ttl="1")
    token(ttl="21600")


def test_who_asks_for_somebody_else_gets_no_token() -> None:
    by = {"x_forwarded_for": "192.0.2.1"}
    assert asked("/latest/api/token", "PUT", FOUND, NOW, x_aws_ec2_metadata_token_ttl_seconds="60", **by).status == 403


def test_who_is_not_to_be_told_is_told_nothing() -> None:
    disabled = msgspec.structs.replace(FOUND, enabled=False)
    assert asked("/latest/api/token", "PUT", disabled, x_aws_ec2_metadata_token_ttl_seconds="60").status == 403
    assert asked("/latest/meta-data/mac", found=disabled).status == 403
    assert asked("/latest/meta-data/mac", "POST").status == 405
    assert asked("/latest/meta-data/mac", "PUT").status == 405


def test_a_token_of_another_process_is_none() -> None:
    assert not tokens.is_good(b"o" * 32, FOUND.id, NOW, token())


BAD = [
    b"GET / HTTP/1.1\r\nA: 1\r\nA: 2",
    b"GET / HTTP/1.1\r\n A: 1",
    b"GET / HTTP/1.1\r\nA : 1",
    b"GET / HTTP/1.1\r\nA",
    b"GET / HTTP/1.1\nA: 1",
    b"GET / HTTP/1.1\r\nContent-Length: 1",
    b"GET / HTTP/1.1\r\nContent-Length: 00",
    b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked",
    b"GET / HTTP/2.0",
    b"GET  / HTTP/1.1",
    b"get / HTTP/1.1",
    b"GET http://x/ HTTP/1.1",
    b"GET /\x00 HTTP/1.1",
    b"GET /" + b"a" * 1024 + b" HTTP/1.1",
    b"",
    b"GET / HTTP/1.1\r\na:" + b" " * 8000 + b"\x80",  # backtracking over the ways to split its spaces must not take long
    b"GET / HTTP/1.1\r\na:" + b"\t \t" * 2600 + b"\x80" + b" " * 100,
]


@pytest.mark.parametrize("head", BAD)
def test_what_two_readers_could_read_in_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(head)


@pytest.mark.parametrize("value", [b"", b" ", b"\t x y\t ", b" " * 8000 + b"x y"])
def test_a_header_is_read_without_the_spaces_around_it(value: bytes) -> None:
    assert parse(b"GET / HTTP/1.1\r\nA:" + value).headers == {"a": value.strip().decode()}


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_refused(head: bytes) -> None:
    for candidate in (head, b"GET / HTTP/1.1\r\n" + head):
        with suppress(BadRequest):
            assert parse(candidate).path


@pytest.mark.parametrize(("text", "sound"), [("", True), ("QQ==", True), ("Q", False), ("QQ==\n", False), ("A" * 21848, False)])
def test_user_data_are_base64_of_16_kib_at_most(text: str, sound: bool) -> None:
    assert (user_data(text) is None) == sound


def test_plans_and_logs_do_not_tell_what_an_instance_is_told_from_a_guess() -> None:
    guess = msgspec.structs.replace(FOUND, user_data=base64.b64encode(b"#cloud-confid\n").decode())
    assert len(guess.user_data) == len(FOUND.user_data)
    assert guess.text() == FOUND.text()
    assert "20 characters of user data" in FOUND.text()


# --- connections -------------------------------------------------------------------------------------------------------------


def served(client: Callable[[Callable[[], Awaitable[socket.socket]]], Awaitable[None]], tmp_path: Path) -> None:
    """Run a client against a handler with one instance, whose requests come from 127.0.0.1 in the VRF vrf5000."""

    async def run() -> None:
        listening = socket.socket()
        listening.setblocking(False)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        found = handler.Metadata(tmp_path)
        await found.put(msgspec.structs.replace(OPTIONAL, places=(("vrf5000", "127.0.0.1"),), hop_limit=3), ())
        await found.put(MetadataListener(vni=5000, ifname="vrf5000"), (listening,))
        address = listening.getsockname()

        async def connect() -> socket.socket:
            sock = socket.socket()
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, address)
            return sock

        await asyncio.wait_for(client(connect), 30)
        await found.delete(MetadataListener(vni=5000, ifname="vrf5000"))

    asyncio.run(run())


async def read(sock: socket.socket) -> bytes:
    """Return the received bytes until the other end closes."""
    found = b""
    with suppress(ConnectionResetError):
        while more := await asyncio.get_running_loop().sock_recv(sock, 65536):
            found += more
    return found


def test_several_requests_by_one_connection_are_answered_in_order(tmp_path: Path) -> None:
    async def client(connect: Callable[[], Awaitable[socket.socket]]) -> None:
        sock = await connect()
        first = b"GET /latest/meta-data/mac HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"HEAD /latest/meta-data/mac HTTP/1.1\r\nConnection: close\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(sock, first * 50 + last)
        raw = await read(sock)
        assert raw.count(b"HTTP/1.1 200 OK") == 51
        assert raw.count(b"02:00:00:00:00:05") == 50
        sock.close()

    served(client, tmp_path)


@pytest.mark.parametrize(
    ("raw", "answered"),
    [
        (b"GET /latest/meta-data/mac HTTP/1.1\r\n", b""),  # the rest never comes
        (b"GET /" + b"a" * 9000, b""),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
    ],
)
def test_who_is_slow_or_large_or_odd_is_let_go(
    raw: bytes, answered: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE_S", 0.2)

    async def client(connect: Callable[[], Awaitable[socket.socket]]) -> None:
        sock = await connect()
        await asyncio.get_running_loop().sock_sendall(sock, raw)
        assert (await read(sock)).startswith(answered)
        sock.close()

    served(client, tmp_path)


GET = b"GET / HTTP/1.1\r\n\r\n"


class Taken(asyncio.Transport):
    """A transport whose peer accepts all data at once."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0
        self.closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: object) -> None:
        self.answers += 1

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def answers_by_turn(raw: bytes, turns: int, pause: Callable[[], float] = lambda: 0.0) -> tuple[list[int], Taken]:
    """Return the number of answers after each turn of the event loop, starting with the turn that receives the bytes."""

    async def run() -> tuple[list[int], Taken]:
        transport, found = Taken(), []
        made = connection.Connection(lambda _: Answer(status=200), pause, lambda _: None)
        made.connection_made(transport)
        made.data_received(raw)
        for _ in range(turns):
            found.append(transport.answers)
            await asyncio.sleep(0)
        made.connection_lost(None)
        return found, transport

    return asyncio.run(run())


def test_of_many_requests_at_once_a_turn_of_the_event_loop_answers_one() -> None:
    found, transport = answers_by_turn(GET * 100, 6)
    assert found == [0, 1, 2, 3, 4, 5]
    assert not transport.closed


def test_who_has_more_waiting_than_a_request_may_be_is_let_go_unanswered() -> None:
    found, transport = answers_by_turn(GET * 10_000, 3)
    assert (found, transport.closed) == ([0, 0, 0], True)


def test_an_answer_waits_for_its_permit() -> None:
    assert answers_by_turn(GET, 3, lambda: 5.0)[0] == [0, 0, 0]


def test_permits_are_a_burst_and_then_a_rate() -> None:
    found = Pace(handler.BURST, handler.ANSWERS_PER_S, 0.0)
    assert [found.take(0.0) for _ in range(handler.BURST)] == [0.0] * handler.BURST
    wait_s = found.take(0.0)
    assert wait_s == pytest.approx(1 / handler.ANSWERS_PER_S)
    assert (found.take(2 * wait_s), found.take(2 * wait_s)) == (0.0, 0.0)
    assert found.take(2 * wait_s) > 0
    assert sum(found.take(1e6) == 0 for _ in range(handler.BURST + 5)) == handler.BURST


def test_all_connections_of_an_interface_have_the_same_permits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "BURST", 2)
    monkeypatch.setattr(handler, "ANSWERS_PER_S", 1e-6)
    monkeypatch.setattr(connection, "PATIENCE_S", 0.2)

    async def client(connect: Callable[[], Awaitable[socket.socket]]) -> None:
        answered = []
        for _ in range(3):
            sock = await connect()
            await asyncio.get_running_loop().sock_sendall(sock, b"GET / HTTP/1.0\r\n\r\n")
            answered.append((await read(sock))[:15])
            sock.close()
        assert answered == [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b""]

    served(client, tmp_path)


def test_of_many_connections_those_beyond_a_number_are_closed_and_there_is_room_again(tmp_path: Path) -> None:
    async def client(connect: Callable[[], Awaitable[socket.socket]]) -> None:
        many = [await connect() for _ in range(handler.CONNECTIONS_MOST)]
        beyond = await connect()
        assert await read(beyond) == b""
        for sock in (*many, beyond):
            sock.close()
        while True:
            sock = await connect()
            with suppress(ConnectionError):
                await asyncio.get_running_loop().sock_sendall(sock, b"GET / HTTP/1.0\r\n\r\n")
                if b"latest" in await read(sock):
                    break
            sock.close()
        sock.close()

    served(client, tmp_path)


def test_a_connection_that_had_a_token_goes_no_further_ever_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[int] = []
    limit = connection.Connection._limit

    def limited(self: connection.Connection, hops: int) -> None:
        limit(self, hops)
        assert self._transport is not None
        set_to.append(self._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_IP, socket.IP_TTL))

    monkeypatch.setattr(connection.Connection, "_limit", limited)

    async def client(connect: Callable[[], Awaitable[socket.socket]]) -> None:
        sock = await connect()
        put = b"PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(sock, put + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert (await read(sock)).count(b"200 OK") == 2
        sock.close()

    served(client, tmp_path)
    assert set_to == [3]
