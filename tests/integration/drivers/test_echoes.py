"""Echoes between hosts' kernels: which hosts answer, which do not, and which answer that they are ready."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace

import pytest

from edges import readiness
from netorch.drivers.base import Answer
from netorch.drivers.probe import echo, first_packet, injected
from netorch.drivers.probe.echo import Probe, ask, checksum
from netorch.drivers.probe.echoes import RawEchoes
from netorch.drivers.probe.first_packet import Ears, send_probe
from netorch.drivers.probe.injected import inject
from netorch.errors import KernelError
from netorch.lab.wiring import in_node
from netorch.model.addr import packed
from netorch.model.packet import Packet
from netorch.model.packet import echo as echo_packet
from netorch.model.security import TCP
from netorch.state.base import UNDERLAY
from netorch.state.nft import NFT_KINDS, READY_ID, NftTable
from netorch.state.op import Create, Delete
from policy import skeleton
from tests.rig.packets import PacketListener, ip_packet
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

HV1, HV2, HV3, NOBODY = "192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.99"


@pytest.fixture
def ready(world: World) -> World:
    """A world whose hosts hv2 and hv3 answer that they are ready, without agents."""
    for name, vtep in (("hv2", HV2), ("hv3", HV3)):
        assert world.reader(name).apply([Create(skeleton.underlay_table()), Create(readiness.ready(vtep))]) == []
    return world


def answering(echoes: RawEchoes, vteps: Sequence[str], count: int = 1) -> set[str]:
    """Return the hosts that answer an echo with ready, once so many have answered."""
    found: dict[str, Answer] = {}

    def enough() -> bool:
        found.update(echoes.heard())
        return len(found) >= count

    echoes.send(vteps)
    wait_for(enough, f"{count} answers")
    return {vtep for vtep, said in (found | echoes.heard()).items() if said is not Answer.NOT_READY}


def test_echoes_are_answered_by_those_who_are_there(ready: World) -> None:
    echoes = RawEchoes(ready.hosts["hv1"].fd, HV1)
    assert answering(echoes, (HV2, HV3, NOBODY), 2) == {HV2, HV3}
    assert ask([Probe(netns="hv1", destination=HV2)])[0].ok  # another program's echo, whose answer this socket receives too
    assert echoes.heard() == {}
    echoes.close()


def test_two_hosts_on_one_machine_hear_their_own_answers_only(ready: World) -> None:
    one, other = RawEchoes(ready.hosts["hv1"].fd, HV1), RawEchoes(ready.hosts["hv1"].fd, HV1)
    assert answering(one, [HV2]) == {HV2}
    other.send(())  # another round, with the same number
    assert other.heard() == {}
    for echoes in (one, other):
        echoes.close()


def test_a_host_says_whether_it_is_active_and_that_alone_is_not_enough(ready: World) -> None:
    kernel, echoes = ready.reader("hv2"), RawEchoes(ready.hosts["hv1"].fd, HV1)

    def answer() -> Answer | None:
        """Return hv2's answer."""
        echoes.send([HV2])
        return wait_for(lambda: echoes.heard().get(HV2), "an answer")

    assert answer() is Answer.STANDBY
    assert kernel.apply([Create(readiness.active(HV2))]) == []
    found = kernel.dump(NFT_KINDS)
    assert found[readiness.active(HV2).key] == readiness.active(HV2)
    assert answer() is Answer.ACTIVE
    assert kernel.apply([Delete(readiness.ready(HV2))]) == []
    assert answer() is Answer.NOT_READY
    echoes.close()


def test_a_host_knows_whether_somebody_asks_it(ready: World) -> None:
    echoes, asked = RawEchoes(ready.hosts["hv1"].fd, HV1), RawEchoes(ready.hosts["hv2"].fd, HV2)
    asked.asked()
    assert not asked.asked()
    assert answering(echoes, [HV2]) == {HV2}
    assert asked.asked()
    assert not asked.asked()
    for each in (echoes, asked):
        each.close()


def test_an_echo_without_a_route_stays_without_an_answer_and_stops_no_other(ready: World) -> None:
    echoes = RawEchoes(ready.hosts["hv1"].fd, HV1)
    with ready.hosts["hv1"].rtnl() as ipr:
        ipr.route("add", dst="203.0.113.1/32", type="unreachable")
    assert answering(echoes, ["203.0.113.1", HV2]) == {HV2}
    echoes.close()


def is_echo_request(frame: bytes) -> bool:
    return (frame[12:14], frame[23], frame[34:36]) == (b"\x08\x00", socket.IPPROTO_ICMP, b"\x08\x00")


def reply(identifier: int, body: bytes) -> bytes:
    """Return an echo reply of the first round, after an IPv4 header."""
    head = struct.pack("!BBHHH", 0, 0, 0, identifier, 1)
    return struct.pack("!BBHHH", 0, 0, checksum(head + body), identifier, 1) + body


def send(place: str, source: str, packets: Sequence[bytes]) -> None:
    """Send ICMP messages to hv1 with a forged source."""
    with in_node(place), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for packet in packets:
            raw.sendto(ip_packet(source, HV1, socket.IPPROTO_ICMP, packet), (HV1, 0))


def test_a_flood_of_strangers_echoes_loses_no_answer(ready: World) -> None:
    """Without a filter in the kernel these echoes would fill the socket's buffer before it is read."""
    echoes = RawEchoes(ready.hosts["hv1"].fd, HV1)
    send("hv3", HV3, [reply(READY_ID, os.urandom(1400)) for _ in range(2000)])
    # An echo takes the same way behind the flood: once it is answered, no queue before the socket is full of the flood.
    assert ask([Probe(netns="hv3", destination=HV1)])[0].ok
    assert answering(echoes, [HV2]) == {HV2}
    echoes.close()


def test_nobody_answers_in_the_name_of_another(ready: World) -> None:
    """hv3 has seen its own echo request, and forges hv2's answer, while hv2 is no longer ready."""
    assert ready.reader("hv2").apply([Delete(readiness.ready(HV2))]) == []
    echoes = RawEchoes(ready.hosts["hv1"].fd, HV1)
    with PacketListener("hv3") as wire:
        echoes.send([HV3])
        wait_for(lambda: echoes.heard() == {HV3: Answer.STANDBY}, "the answer")
        asked = next(filter(is_echo_request, wire.take()))
    forged = reply(READY_ID, asked[42:])
    send("hv3", HV2, [forged])
    send("hv3", HV3, [forged])
    found: dict[str, Answer] = {}

    def both() -> bool:
        found.update(echoes.heard())
        return bool(found)

    wait_for(both, "what was sent last")
    assert found == {HV3: Answer.STANDBY}
    echoes.close()


def test_a_turn_ends_however_much_there_is(ready: World) -> None:
    echoes = RawEchoes(ready.hosts["hv1"].fd, HV1)
    with PacketListener("hv3") as wire:
        echoes.send([HV3])
        wait_for(lambda: echoes.heard() == {HV3: Answer.STANDBY}, "the answer")
        asked = next(filter(is_echo_request, wire.take()))
    endless = Endless(echoes._socket, ip_packet(HV3, HV1, socket.IPPROTO_ICMP, reply(READY_ID, asked[42:])))
    echoes._socket = endless  # type: ignore[assignment]
    assert echoes.heard() == {HV3: Answer.STANDBY}
    assert endless.reads < 10_000
    echoes.close()


class Endless:
    """A socket that always has one more packet."""

    def __init__(self, behind: socket.socket, packet: bytes) -> None:
        self._behind = behind
        self._packet = packet
        self.reads = 0

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[str, int]]:
        """Return the packet. Fails when the caller reads for too long."""
        self.reads += 1
        assert self.reads < 10_000
        return self._packet, (HV3, 0)

    def close(self) -> None:
        """Close the underlying socket."""
        self._behind.close()


def test_an_address_that_is_nowhere_is_an_error(world: World) -> None:
    with pytest.raises(KernelError, match=f"send echoes from {NOBODY}"):
        RawEchoes(world.hosts["hv1"].fd, NOBODY)


def test_a_kernel_that_does_not_say_that_it_is_ready_is_there_and_not_ready(ready: World) -> None:
    kernel, table, element = ready.reader("hv2"), skeleton.underlay_table(), readiness.ready(HV2)
    echoes = RawEchoes(ready.hosts["hv1"].fd, HV1)
    found = kernel.dump(NFT_KINDS)
    assert found[element.key] == element
    assert table.matches(found[table.key])  # the element is not mistaken for a change of the table
    for op in (Delete(element), Delete(table)):  # not ready; freshly booted
        assert kernel.apply([op]) == []
        assert ask([Probe(netns="hv1", destination=HV2)])[0].ok  # the kernel runs, and answers
        assert answering(echoes, [HV2, HV3], 2) == {HV3}
    assert kernel.apply([Create(table), Create(element)]) == []
    assert answering(echoes, [HV2]) == {HV2}
    echoes.close()


def test_a_table_of_somebody_elses_says_nothing(ready: World) -> None:
    kernel = ready.reader("hv2")
    assert kernel.apply([Delete(skeleton.underlay_table())]) == []
    bare = NftTable(netns=UNDERLAY, family="ip", body="set ready {\n    type ipv4_addr\n}\n")
    assert kernel.apply([Create(bare), Create(readiness.ready(HV2))]) == []
    echoes = RawEchoes(ready.hosts["hv1"].fd, HV1)
    assert answering(echoes, [HV2, HV3], 2) == {HV3}
    echoes.close()


def stand_still(monkeypatch: pytest.MonkeyPatch, probing: ModuleType, wire: PacketListener, answer: bytes, reads: int) -> None:
    """Let a prober stand still at its clock's next reading after so many: until the answer is there, and for an hour."""
    done = 0

    def monotonic() -> float:
        nonlocal done
        done += 1
        if done <= reads:
            return time.monotonic()
        wait_for(lambda: wire.heard(answer), "the answer")
        return time.monotonic() + 3600.0

    monkeypatch.setattr(probing, "time", SimpleNamespace(monotonic=monotonic, sleep=time.sleep))


def test_an_answer_to_an_echo_counts_however_late_the_prober_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with PacketListener("hv1") as wire:
        stand_still(monkeypatch, echo, wire, packed(HV2) + packed(HV1), 2)
        assert ask([Probe(netns="hv1", destination=HV2)])[0].ok


def test_an_answer_to_a_first_packet_counts_however_late_the_prober_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    packet = Packet(source=HV1, destination=HV2, protocol=TCP, destination_port=9)
    with PacketListener("hv1") as wire:
        stand_still(monkeypatch, first_packet, wire, packed(HV2) + packed(HV1), 1)
        assert send_probe("hv1", packet, Ears((), packet), 1.0).answer.startswith("refused by the receiver")


def test_an_answer_to_the_outside_counts_however_late_the_prober_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    packet = echo_packet(NOBODY, HV2)
    with PacketListener("hv2") as wire, PacketListener("hv2") as uplink:
        stand_still(monkeypatch, injected, wire, packed(HV2) + packed(NOBODY), 1)
        assert inject("hv1", packet, Ears((), packet), (uplink,), 1.0).answer == "answered"
