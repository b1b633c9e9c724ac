"""Who is turned away, pushed out, or cut off for being slow; time is told."""

from __future__ import annotations

import asyncio

from netorch.services.proxy import limits
from netorch.services.proxy.crowd import Client, Crowd


class Transport(asyncio.Transport):
    """A transport that is cut at once."""

    def __init__(self) -> None:
        super().__init__()
        self.client: Client | None = None

    def is_closing(self) -> bool:
        return self.client is None

    def abort(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            client.connection_lost(None)


class Room:
    """A crowd, and its clock."""

    def __init__(self, most: int = 6, of_endpoint: int = 3) -> None:
        self.time = 0.0
        self.crowd = Crowd(lambda: self.time, most, of_endpoint)

    def enter(self, endpoint: str, busy: bool = False) -> Client:
        transport = Transport()
        transport.client = client = Client(self.crowd, endpoint, asyncio.Protocol())
        client.connection_made(transport)
        if busy:
            client.begin()
        return client

    def counts(self, *endpoints: str) -> list[int]:
        return [self.crowd.count(endpoint) for endpoint in endpoints]

    def gone(self, *clients: Client) -> list[bool]:
        return [client.is_gone for client in clients]

    def after(self, seconds: float) -> None:
        self.time += seconds
        self.crowd.sweep()


def test_a_newcomer_pushes_out_the_longest_idle_of_its_own_endpoint() -> None:
    room = Room()
    other = room.enter("b")
    first, second, third = (room.enter("a") for _ in range(3))
    second.begin()
    first.begin()
    first.end()
    fourth = room.enter("a")
    assert room.gone(other, first, second, third, fourth) == [False, False, False, True, False]
    fifth = room.enter("a")
    assert room.gone(first, second, fourth, fifth) == [True, False, False, False]
    assert room.counts("a", "b") == [3, 1]


def test_if_all_are_at_work_the_newcomer_is_turned_away() -> None:
    room = Room()
    clients = [room.enter("a", busy=True) for _ in range(3)]
    late = room.enter("a")
    assert room.gone(*clients, late) == [False, False, False, True]
    assert room.counts("a") == [3]


def test_if_there_are_too_many_in_all_the_endpoint_with_the_most_gives_one_up() -> None:
    room = Room()
    many = [room.enter("a") for _ in range(3)]
    few = [room.enter("b"), room.enter("b"), room.enter("c")]
    late = room.enter("d")
    assert room.gone(*many, *few, late) == [True, False, False, False, False, False, False]
    assert room.counts("a", "b", "c", "d") == [2, 2, 1, 1]


def test_who_says_nothing_is_cut_off() -> None:
    room = Room()
    client = room.enter("a")
    room.after(limits.IDLE_S)
    assert room.gone(client) == [False]
    room.after(1.0)
    assert room.gone(client) == [True]
    assert room.counts("a") == [0]


def test_a_head_that_comes_byte_by_byte_has_a_deadline_of_its_own() -> None:
    room = Room()
    client = room.enter("a")
    for _ in range(int(limits.HEAD_S)):
        client.data_received(b"G")
        room.after(1.0)
    assert room.gone(client) == [False]
    client.data_received(b"G")
    room.after(1.0)
    assert room.gone(client) == [True]


def test_a_body_may_stall_for_a_while_but_not_drip() -> None:
    async def body() -> None:
        room = Room()
        client = room.enter("a", busy=True)

        async def chunk(seconds: float, size: int) -> int:
            room.after(seconds)
            return size

        await client.awaited(chunk(limits.GRACE_S - 1.0, 1), int)
        assert room.gone(client) == [False]
        await client.awaited(chunk(0.5, limits.RATE * 60), int)  # a good piece earns all of the grace again
        await client.awaited(chunk(limits.GRACE_S - 1.0, 1), int)
        assert room.gone(client) == [False]
        for _ in range(3):
            await client.awaited(chunk(1.0, 1), int)
        assert room.gone(client) == [True]

    asyncio.run(body())


def test_nobody_is_cut_off_while_the_server_behind_is_slow() -> None:
    room = Room()
    client = room.enter("a", busy=True)
    room.after(10_000.0)
    assert room.gone(client) == [False]
    client.end()
    room.after(limits.IDLE_S + 1.0)
    assert room.gone(client) == [True]
