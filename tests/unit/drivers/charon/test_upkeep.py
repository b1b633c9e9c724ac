"""The steps for a tunnel's SAs, look by look."""

from __future__ import annotations

from netorch.drivers.charon import upkeep
from netorch.drivers.charon.messages import child_name
from netorch.drivers.charon.sas import ChildSa, IkeSa
from netorch.drivers.charon.upkeep import (
    BEGUN_S,
    GRACE_S,
    MOST_BEGUN,
    MOST_CHILDREN,
    MOST_SAS,
    RETRY_S,
    SETTLED_S,
    TAKE_OVER_S,
    Begin,
    EndChild,
    EndIke,
    Memory,
    Step,
    bounded,
    more,
    stale,
    unnamed,
)
from netorch.drivers.charon.xfrm import KernelSa
from netorch.state.daemons.ike import IkeConnection
from tests.unit.drivers.charon.connections import PLAIN, changed

BEGIN = [Begin(PLAIN.name, child_name(PLAIN))]


def child(id_: str, of: IkeConnection = PLAIN, spi: int = 1, state: str = "INSTALLED") -> ChildSa:
    return ChildSa(
        id=id_,
        name=child_name(of),
        state=state,
        spi_in=spi,
        spi_out=spi + 100,
        proposal="",
        bytes_in=0,
        bytes_out=0,
        packets_in=0,
        packets_out=0,
    )


def ike(id_: str, *children: ChildSa, state: str = "ESTABLISHED") -> IkeSa:
    return IkeSa(id=id_, name=PLAIN.name, state=state, remote=PLAIN.remote, age=1, children=children)


def steps(connection: IkeConnection, sas: list[IkeSa], left: bool, memory: Memory, now: float) -> list[Step]:
    return bounded(upkeep.steps(connection, sas, left, memory, now), memory, now)


def test_a_tunnel_that_is_up_is_left_alone() -> None:
    assert steps(PLAIN, [ike("1", child("1"))], False, Memory(), 0.0) == []


def test_a_peer_has_a_few_sas_at_a_time() -> None:
    many = [child(str(number), spi=number) for number in range(MOST_CHILDREN + 1)]
    assert steps(PLAIN, [ike("1", *many[1:])], False, Memory(), 0.0) == []
    assert steps(PLAIN, [ike("1", *many), ike("2", child("99"))], False, Memory(), 0.0) == [EndIke("1")]
    established = [ike(str(number), child(str(number))) for number in range(MOST_SAS + 2)]
    assert steps(PLAIN, established, False, Memory(), 0.0) == [EndIke("0"), EndIke("1")]
    strangers = [ike(str(number + 50), state="CONNECTING") for number in range(MOST_SAS)]
    assert steps(PLAIN, [established[0], *strangers], False, Memory(), 0.0) == []


def test_a_tunnel_that_the_customer_begins_is_left_alone() -> None:
    assert steps(PLAIN, [], False, Memory(), 0.0) == []


def test_a_tunnel_that_this_side_begins_is_begun_again_and_again_but_not_while_it_is_negotiated() -> None:
    connection, memory = changed(initiates=True), Memory()
    begin = [Begin(connection.name, child_name(connection))]
    assert steps(connection, [], False, memory, 0.0) == begin
    assert steps(connection, [], False, memory, RETRY_S - 1) == []
    assert steps(connection, [ike("1", state="CONNECTING")], False, memory, RETRY_S) == []
    assert steps(connection, [], False, memory, RETRY_S) == begin
    assert steps(connection, [ike("1")], False, memory, 2 * RETRY_S) == begin, "an IKE_SA without a CHILD_SA carries nothing"


def test_sas_by_former_options_carry_on_until_there_are_those_of_now() -> None:
    former, memory = changed(child_lifetime=1800), Memory()
    old = ike("1", child("1", former))
    assert steps(PLAIN, [old], False, memory, 0.0) == BEGIN
    assert steps(PLAIN, [old], False, memory, 1.0) == []
    assert steps(PLAIN, [old, ike("2", child("2"))], False, memory, 2.0) == [EndIke("1")]
    assert steps(PLAIN, [ike("1", child("1", former), child("2"))], False, memory, 2.0) == [EndChild("1")]


def test_sas_by_former_options_end_when_there_are_none_of_now_for_too_long() -> None:
    memory, old = Memory(), ike("1", child("1", changed(child_lifetime=1800)))
    steps(PLAIN, [old], False, memory, 0.0)
    assert steps(PLAIN, [old], False, memory, TAKE_OVER_S) == [EndIke("1")]


def test_an_sa_for_another_interface_ends_at_once() -> None:
    assert steps(PLAIN, [ike("1", child("1", changed(if_id=7)))], False, Memory(), 0.0) == [EndIke("1")]


def test_of_two_ike_sas_the_older_one_ends_a_little_later() -> None:
    memory, both = Memory(), [ike("1", child("1")), ike("2", child("2"))]
    assert steps(PLAIN, both, False, memory, 0.0) == []
    assert steps(PLAIN, both, False, memory, SETTLED_S) == [EndIke("1")]
    only = [ike("1", child("1")), ike("2")]
    assert steps(PLAIN, only, False, Memory(), SETTLED_S) == [], "the younger one carries nothing yet"


def test_a_peer_who_fell_silent_is_begun_with_until_there_is_a_tunnel() -> None:
    memory = Memory(restarts={PLAIN.name})
    assert steps(PLAIN, [], False, memory, 0.0) == BEGIN
    assert steps(PLAIN, [ike("1", child("1"))], False, memory, RETRY_S) == []
    assert steps(PLAIN, [], False, memory, 2 * RETRY_S) == []


def test_what_a_killed_charon_left_lets_the_tunnel_be_begun_where_the_peer_is_known() -> None:
    assert steps(PLAIN, [], True, Memory(), 0.0) == BEGIN
    assert steps(changed(remote=""), [], True, Memory(), 0.0) == []


def kernel_sa(spi: int, if_id: int = PLAIN.if_id) -> KernelSa:
    return KernelSa(if_id=if_id, spi=spi, destination=bytes(16), family=2, protocol=50)


def test_what_charon_names_is_nobody_else_s() -> None:
    memory, sas = Memory(), [ike("1", child("1", spi=1))]
    kernel = [kernel_sa(1), kernel_sa(101), kernel_sa(2), kernel_sa(3, if_id=9)]
    assert unnamed(sas, kernel, {PLAIN.if_id}, memory, 0.0) == [], "an SA is named a little later than it is there"
    assert unnamed(sas, kernel, {PLAIN.if_id}, memory, SETTLED_S) == [kernel_sa(2)]


def test_what_is_left_goes_when_the_peer_is_back_or_the_time_is_over() -> None:
    memory = Memory(nobodys={kernel_sa(2): 0.0})
    left = [kernel_sa(2)]
    assert stale(left, set(), memory, GRACE_S - 1) == []
    assert stale(left, {PLAIN.if_id}, memory, 0.0) == left
    assert stale(left, set(), memory, GRACE_S) == left


def test_of_hundreds_of_tunnels_a_few_are_begun_at_once_and_each_in_its_turn() -> None:
    names = [f"vpn-{number:03}" for number in range(3 * MOST_BEGUN)]
    memory, begun = Memory(), list[str]()
    for look in range(40):
        now = look * BEGUN_S / 4
        found = [step for name in names for step in upkeep.steps(changed(name=name, initiates=True), [], False, memory, now)]
        taken = bounded(found, memory, now)
        assert len(memory.waits) <= MOST_BEGUN
        begun += [step.name for step in taken if isinstance(step, Begin)]
    assert sorted(begun[: len(names)]) == names, "no tunnel is begun twice before all others were begun once"
    assert len(begun) > len(names), "nobody waits for ever"


def test_a_tunnel_that_is_up_makes_room_for_the_next_and_nothing_else_waits() -> None:
    connections = [changed(name=f"vpn-{number:03}", initiates=True) for number in range(MOST_BEGUN + 2)]
    memory, end = Memory(), EndIke("7")
    first = [step for connection in connections for step in upkeep.steps(connection, [], False, memory, 0.0)]
    assert len(bounded([*first, end], memory, 0.0)) == MOST_BEGUN + 1
    up = [ike("1", child("1", connections[0]))]
    assert upkeep.steps(connections[0], up, False, memory, 0.1) == []
    later = [
        step
        for connection in connections
        for step in upkeep.steps(connection, [], False, memory, 0.1)
        if connection.name != "vpn-000"
    ]
    assert [step.name for step in bounded(later, memory, 0.1) if isinstance(step, Begin)] == [f"vpn-{MOST_BEGUN:03}"]
    assert end in bounded([end], memory, 0.1)


def test_a_tunnel_that_is_told_to_be_up_makes_room_before_all_are_looked_at_again() -> None:
    names = [f"vpn-{number:03}" for number in range(MOST_BEGUN + 4)]
    memory = Memory()
    bounded([Begin(name, "net") for name in names], memory, 0.0)
    assert more(memory, 0.1) == []
    for name in (names[7], names[MOST_BEGUN], "unknown"):  # the peer began one of the waiting ones
        memory.is_up(name)
    assert memory.room(0.2) == 1
    assert more(memory, 0.2) == [Begin(names[MOST_BEGUN + 1], "net")]
    assert memory.room(0.3) == 0
    assert [step.name for step in more(memory, BEGUN_S)] == names[MOST_BEGUN + 2 :], "those begun count no longer"
    memory.forget(names[-1])
    assert more(memory, 3 * BEGUN_S) == []
