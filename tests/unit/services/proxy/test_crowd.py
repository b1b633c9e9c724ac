"""Clients that are rejected, displaced, or cut off as too slow; tests set the time; an endpoint's first letter is its VPC."""

from __future__ import annotations

import asyncio

import pytest

from netorch.services.proxy import limits
from netorch.services.proxy.crowd import Client, Crowd


class Room:
    """A crowd, and its clock."""

    def __init__(self, most: int = 6, of_vpc: int = 3) -> None:
        self.time = 0.0
        self._gone: set[Client] = set()
        self.crowd = Crowd(lambda: self.time, lambda endpoint: endpoint[0], most, of_vpc)

    def enter(self, endpoint: str, busy: bool = False, tunnel: bool = False) -> Client:
        client = Client(self.crowd, endpoint, lambda: self._cut(client))
        if not self.crowd.admit(client):
            client.cut()
        if busy:
            client.begin()
        if tunnel:
            client.tunnelled()
        return client

    def counts(self, *vpcs: str) -> list[int]:
        return [self.crowd.count(vpc) for vpc in vpcs]

    def gone(self, *clients: Client) -> list[bool]:
        return [client in self._gone for client in clients]

    def _cut(self, client: Client) -> None:
        self._gone.add(client)
        self.crowd.leave(client)

    def after(self, seconds: float) -> None:
        self.time += seconds
        self.crowd.sweep()


def test_a_newcomer_pushes_out_the_longest_idle_of_its_own_vpc() -> None:
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


def test_more_endpoints_give_a_vpc_no_more_connections() -> None:
    room = Room()
    clients = [room.enter(endpoint, busy=True) for endpoint in ("a1", "a2", "a3")]
    late = room.enter("a4")
    assert room.gone(*clients, late) == [False, False, False, True]
    assert room.counts("a") == [3]


def test_if_there_are_too_many_in_all_the_vpc_with_the_most_gives_one_up() -> None:
    room = Room()
    many = [room.enter("a") for _ in range(3)]
    few = [room.enter("b"), room.enter("b"), room.enter("c")]
    late = room.enter("d")
    assert room.gone(*many, *few, late) == [True, False, False, False, False, False, False]
    assert room.counts("a", "b", "c", "d") == [2, 2, 1, 1]


@pytest.mark.parametrize("use", ["busy", "tunnel"])
def test_nobody_is_kept_out_by_four_vpcs_that_have_all_places(use: str) -> None:
    """All clients are busy, or tunnels with recent traffic."""
    room = Room(limits.CONNECTIONS, limits.CONNECTIONS_OF_VPC)
    for vpc in "abcd":
        for at in range(limits.CONNECTIONS_OF_VPC):
            room.enter(f"{vpc}{at % 20}", busy=use == "busy", tunnel=use == "tunnel")
    fair = limits.CONNECTIONS // 5
    mine = [room.enter("v", busy=True) for _ in range(fair)]
    assert room.gone(*mine) == [False] * fair
    assert room.counts(*"abcdv") == [fair] * 5
    assert room.gone(room.enter("v")) == [True]  # its share is used, and the others are busy
    assert room.counts(*"abcdv") == [fair] * 5


def test_of_those_at_work_the_one_goes_in_which_nothing_has_moved_for_the_longest() -> None:
    room = Room(most=4, of_vpc=4)
    first, second, third = (room.enter("a", busy=True) for _ in range(3))
    tunnel = room.enter("a", tunnel=True)

    async def moved(client: Client) -> None:
        room.time += 1.0
        await client.awaited(asyncio.sleep(0, 1), int)

    asyncio.run(moved(first))
    asyncio.run(moved(third))
    room.after(1.0)
    tunnel.tunnelled()
    assert room.gone(room.enter("b", busy=True), second) == [False, True]
    assert room.gone(room.enter("b", busy=True), first) == [False, True]
    assert room.gone(room.enter("b"), third, tunnel) == [True, False, False]


def test_an_idle_one_goes_before_one_at_work_also_if_another_vpc_has_more() -> None:
    room = Room(most=6, of_vpc=4)
    working = [room.enter("a", busy=True) for _ in range(4)]
    idle, other = room.enter("b"), room.enter("b")
    late = room.enter("c")
    assert room.gone(*working, idle, other, late) == [False, False, False, False, True, False, False]
    assert room.gone(room.enter("c"), other) == [False, False]  # b has less than its share now
    assert room.counts("a", "b", "c") == [3, 1, 2]


def test_a_tunnel_in_which_nothing_moves_is_idle_and_one_in_which_something_does_is_not() -> None:
    room = Room()
    first, second, third = (room.enter("a", tunnel=True) for _ in range(3))
    room.after(limits.GRACE_S - 1.0)
    first.tunnelled()
    assert room.gone(room.enter("a"), first, second, third) == [True, False, False, False]
    room.after(1.0)
    assert room.gone(room.enter("a"), first, second, third) == [False, False, True, False]


def test_where_each_vpc_has_one_connection_at_work_none_is_reset_for_another_vpcs() -> None:
    room = Room(most=3)
    clients = [room.enter(vpc, busy=True) for vpc in "abc"]
    assert room.gone(room.enter("d"), *clients) == [True, False, False, False]
    clients[1].end()
    assert room.gone(room.enter("d"), *clients) == [False, False, True, False]


def test_tunnels_alone_are_cut_by_those_endpoints_that_may_have_none() -> None:
    room = Room()
    kept, cut = room.enter("a1", tunnel=True), room.enter("a2", tunnel=True)
    plain = room.enter("a2", busy=True)
    asked: list[str] = []

    def permitted(endpoint: str) -> bool:
        asked.append(endpoint)
        return endpoint == "a1"

    room.enter("a1", tunnel=True)
    room.crowd.cut_tunnels(permitted)
    assert room.gone(kept, cut, plain) == [False, True, False]
    assert sorted(asked) == ["a1", "a2"]


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
    client.head_begins()
    room.after(limits.HEAD_S)
    assert room.gone(client) == [False]
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
        await client.awaited(chunk(0.5, limits.RATE * 60), int)  # enough bytes restore the full grace period
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
