"""Two real hosts that play scripts of packets one after the other, as fast as a kernel can load new rules.

The hosts carry two VPCs with the same addresses, ports and places at once: the script's, and one that permits everything.
Each packet is sent in the open VPC first, then in the script's. So a test fails when the kernel mistakes a connection or
a packet of one VPC for the other's.

In an offloaded arena, each packet that arrives is followed by a conversation between its ends, long enough for the kernel to
offload its connection. So the script's later packets, and the effects of changed rules, meet offloaded connections. Each
connection must be offloaded if both directions passed, unless an end has no source/destination check: such a port's packets add
no flows.

Nothing sleeps. The kernel handles packets in the order in which they were sent. The last packets sent are markers, in the open
VPC and on the longest way. When they have arrived, every other packet that arrives at all has arrived.
"""

from __future__ import annotations

import os
import re
import select
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Final

import msgspec
import nftables

from netorch.compiler.registry import compile_host, compile_slice, load_compilers
from netorch.drivers import netns
from netorch.drivers.conntrack.attrs import OFFLOADED, address_text, parse
from netorch.drivers.conntrack.attrs import Connection as Entry
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.netlink import Channel
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.model.ids import make_id
from netorch.model.packet import ACK, Packet, packet_of
from netorch.model.security import UDP, SecurityGroup
from netorch.plan.diff import diff
from netorch.state.base import OVERLAY, KernelObject, Key
from netorch.trace.way import Connection, connection_of
from policy.connections import Connections
from policy.evaluate import Verdict
from tests.property.policy_scripts import PLACES, Script, Step
from tests.property.policy_strategies import HOSTS, anything, interface_at
from tests.property.walked import ARRIVES, end_of
from tests.rig.policy_frames import can_be_cut, can_be_sent, fragments, frame
from tests.rig.world import World
from tests.unit.policy.small import udp

OPEN_VNI: Final = 6000
_PATIENCE_S: Final = 10.0
_ETH_P_ALL, _PACKET_IGNORE_OUTGOING, _SOL_PACKET = 3, 23, 263  # linux/if_ether.h, linux/if_packet.h, linux/socket.h
# Instances send nothing on their own: the listener gets each arriving packet, then the instance drops it.
_DEAF: Final = "table inet deaf { chain input { type filter hook input priority 0; policy drop; }; }"
_NOISE: Final = frozenset({"suppressed", "to_router"})  # suppressed log entries; router solicitations

Place = tuple[int, int]  # VNI and place
_LONGEST_WAYS: Final = ((0, 2), (3, 1))  # between the hosts, one for each direction


class Batch(msgspec.Struct):
    """Packets sent since the last change of rules, and what must become of them."""

    before: dict[str, dict[str, int]]  # counters by host
    sent: dict[bytes, Packet] = {}  # by token
    arrivals: dict[bytes, list[Place]] = {}
    heard: dict[bytes, list[Place]] = {}  # where each token has arrived so far
    refusals: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)  # by host and counter
    lasting: set[tuple[str, int, Connection]] = set()  # by host and VNI: the connections that must be offloaded


def open_script() -> Script:
    """Return the script of the VPC that permits everything."""
    name = make_id("sg", OPEN_VNI, 1)
    group = SecurityGroup(id=name, vni=OPEN_VNI, name="open", ingress=anything(0, OPEN_VNI), egress=anything(50, OPEN_VNI))
    return Script(vni=OPEN_VNI, memberships=((name,),) * len(PLACES), groups=(group,), steps=())


def offloaded_connections(overlay: str) -> list[Entry]:
    """Return the connections that the flowtables of a host's overlay forward."""
    fd = netns.find(overlay)
    channel = Channel(fd, NETLINK_NETFILTER)
    try:
        found = [parse(body) for _, _, body in channel.dump(1 << 8 | 1, bytes(4))]
    finally:
        channel.close()
        os.close(fd)
    return [known for known in found if known is not None and known.status & OFFLOADED]


class Arena:
    """The hosts, the instances, and a listener at each instance."""

    def __init__(self, directory: Path, *, offloaded: bool = False) -> None:
        self._offloaded = offloaded
        self._world = World(directory, tuple(HOSTS))
        self._compilers = load_compilers()
        self._kernels: dict[str, LinuxKernel] = {}
        for name, host in self._world.hosts.items():
            with netns.inside(host.fd):
                self._kernels[name] = LinuxKernel(name)
        self._held: dict[str, dict[Key, KernelObject]] = {name: {} for name in self._kernels}
        self._open = open_script()
        self._plays = self.sent = self.offloads = 0
        self._conversed: set[tuple[int, Connection]] = set()  # connections of this play, by VNI, that have had a conversation
        self._vnis = (OPEN_VNI, OPEN_VNI)  # of the VPCs in the zones of this play
        self._ears: dict[Place, socket.socket] = {}

    def play(self, script: Script) -> None:
        """Play a script. Fails when a packet does not end as the oracle says, or the oracle not as the script says."""
        self._plays += 1
        self._conversed = set()
        oracle, of_open = (Connections(one.policy, one.case.home_of_address()) for one in (script, self._open))
        self._load(script)
        batch = Batch(before=self._counters())
        for step in script.steps:
            if step.send is None:
                self._finish(batch)
                script = script.changed(step)
                oracle.policy = script.policy
                self._load(script)
                batch = Batch(before=self._counters())
            elif can_be_sent(step.send):
                batch.lasting = {known for known in batch.lasting if known[2] != connection_of(step.send)}  # it may end
                self._send(batch, OPEN_VNI, msgspec.structs.replace(step, by=None), of_open.send(step.send))
                verdict = oracle.send(step.send, script.sender_of(step))
                assert self._offloaded or step.ends in ("", end_of(verdict)), (step, verdict)
                self._send(batch, script.vni, step, verdict)
                if self._offloaded and verdict.passed and step.send.has_ports and step.send.begins and step.by is None:
                    passed = self._converse(batch, step.send, {OPEN_VNI: of_open, script.vni: oracle})
                    ends = [_place_of(step.send.source), _place_of(step.send.destination)]
                    self._expect(batch, step.send, ends, passed - ({script.vni} if set(ends) & set(script.unchecked) else set()))
        self._finish(batch)
        self._forget()

    def _converse(self, batch: Batch, packet: Packet, oracles: Mapping[int, Connections]) -> set[int]:
        """Send answers and more packets between the ends of a packet, in both VPCs, and have its connections offloaded.

        Return the VPCs in which all of them pass. The kernel takes UDP for a stream only after two seconds; here it learns so at
        once.
        """
        passed = set(oracles)
        answer = packet.answer()
        more, acknowledgement = (msgspec.structs.replace(one, flags=ACK) for one in (packet, answer))
        for said in (answer, more, None, acknowledgement, more, acknowledgement, more):
            if said is None:
                self._assure()
                continue
            for vni, oracle in oracles.items():
                verdict = oracle.send(said)
                self._send(batch, vni, Step(send=said), verdict)
                passed -= set() if verdict.passed else {vni}
        return passed

    def _expect(self, batch: Batch, packet: Packet, ends: Iterable[int], vnis: Iterable[int]) -> None:
        """Note that a packet's connections in these VPCs must be offloaded.

        A connection of an earlier conversation may still be in a deleted flowtable, which Linux empties a little later. Until
        then no other one takes it.
        """
        connection = connection_of(packet)
        for vni in vnis:
            if (vni, connection) not in self._conversed:
                batch.lasting |= {(PLACES[end], vni, connection) for end in ends}
        self._conversed |= {(vni, connection) for vni in (OPEN_VNI, *vnis)}

    def _assure(self) -> None:
        """Have the answered connections of this play taken for lasting ones."""
        for kernel in self._kernels.values():
            tracker = kernel.trackers[OVERLAY]
            for zone in self._zones():
                young = [flow for flow in tracker.flows(zone) if flow.replied and not flow.assured and flow.protocol == UDP]
                tracker.forget(young)
                tracker.restore([msgspec.structs.replace(flow, assured=True) for flow in young])

    def _forget(self) -> None:
        """Delete a play's connections: a small machine's table is full after a few hundred plays."""
        for kernel in self._kernels.values():
            for zone in self._zones():
                kernel.trackers[OVERLAY].forget(kernel.trackers[OVERLAY].flows(zone))

    def _zones(self) -> tuple[int, int]:
        """Return the conntrack zones of this play: the script's VPC and the open one. Each play has zones of its own."""
        first = self._plays % 30000 * 2 + 1
        return first, first + 1

    def close(self) -> None:
        """Check that the kernels hold exactly what they were given, then remove everything."""
        try:
            for name, kernel in self._kernels.items():
                assert diff(self._held[name], kernel.dump()) == []
        finally:
            for listener in self._ears.values():
                listener.close()
            for kernel in self._kernels.values():
                kernel.close()
            self._world.close()

    def _load(self, script: Script) -> None:
        """Load the script's present records into the hosts."""
        self._vnis = (script.vni, OPEN_VNI)
        for name, kernel in self._kernels.items():
            wanted = compile_host(self._compilers, script.case.view(name).host)
            for number, one in zip(self._zones(), (script, self._open), strict=True):
                view = msgspec.structs.replace(one.case.view(name), zone=number)
                wanted |= compile_slice(self._compilers, view, one.case.mappings())
            failures = kernel.apply(diff(wanted, self._held[name]))
            if not self._held[name]:
                self._keep_flows(self._world.hosts[name].overlay)
            self._held[name] = kernel.dump() if failures else wanted
            assert [str(failure.error) for failure in failures] == []
        for vni, place in product((script.vni, OPEN_VNI), range(len(PLACES))):
            if (vni, place) not in self._ears:
                self._ears[vni, place] = _listener(interface_at(place, (), vni).instance)

    def _keep_flows(self, overlay: str) -> None:
        """Have flowtables keep silent connections for long: the clock of a lab kernel jumps when its machine is busy.

        Not for longer than conntrack would keep them: Linux would end those that leave a flowtable at once.
        """
        fd = netns.find(overlay)
        with netns.inside(fd):
            for protocol, seconds in (("tcp", 3600), ("udp", 120)):
                Path(f"/proc/sys/net/netfilter/nf_flowtable_{protocol}_timeout").write_text(str(seconds), encoding="ascii")
        os.close(fd)

    def _counters(self) -> dict[str, dict[str, int]]:
        return {name: kernel.counters() for name, kernel in self._kernels.items()}

    def _send(self, batch: Batch, vni: int, step: Step, verdict: Verdict) -> None:
        packet = step.send
        assert packet is not None
        here = _place_of(packet.source) if step.by is None else step.by
        there = _place_of(packet.destination)
        token = self._emit(vni, packet, here, cut=step.cut and can_be_cut(packet))
        end = end_of(verdict)
        batch.sent[token] = packet
        batch.arrivals[token] = [(vni, there)] if end == ARRIVES else []
        if end != ARRIVES:
            batch.refusals[PLACES[here if verdict.at_sender else there], end] += 1
        elif PLACES[here] != PLACES[there]:
            self._follow(batch, token, (vni, there))

    def _emit(self, vni: int, packet: Packet, place: int, *, cut: bool = False) -> bytes:
        self.sent += 1
        token = b"token%08x" % self.sent
        mac = interface_at(place, ()).mac
        for sent in fragments(packet, mac, token, self.sent & 0xFFFF) if cut else [frame(packet, mac, token)]:
            self._ears[vni, place].send(sent)
        return token

    def _finish(self, batch: Batch) -> None:
        """Wait until everything has arrived, and compare."""
        for a, b in _LONGEST_WAYS:
            marker = self._emit(OPEN_VNI, udp(_address(a), _address(b)), a)
            assert self._follow(batch, marker, (OPEN_VNI, b)), "no marker arrives"
        self._hear(batch, self._ears.values())  # a listener may have had nothing yet when the others were ready
        wrong = [
            f"{packet}: expected at {batch.arrivals[token]}, heard at {batch.heard.get(token, [])}"
            for token, packet in batch.sent.items()
            if batch.heard.get(token, []) != batch.arrivals[token]
        ]
        counted = {(host, name): n for host, counters in self._counters().items() for name, n in counters.items()}
        risen = {key: n - batch.before[key[0]].get(key[1], 0) for key, n in counted.items() if key[1] not in _NOISE}
        risen = {key: n for key, n in risen.items() if n}
        lasting = self._offloaded_now() if batch.lasting else set()
        assert not wrong, "\n".join([*wrong, f"refused {risen}, expected {dict(batch.refusals)}"])
        assert risen == batch.refusals, f"refused {risen}, expected {dict(batch.refusals)}"
        assert batch.lasting <= lasting, f"not offloaded: {batch.lasting - lasting}"
        self.offloads += len(batch.lasting)

    def _offloaded_now(self) -> set[tuple[str, int, Connection]]:
        """Return the connections that flowtables forward, by host and VNI."""
        found = set()
        for name, host in self._world.hosts.items():
            for known in offloaded_connections(host.overlay):
                if known.zone in self._zones():
                    pair, ends = (known.original.source, known.original.destination), known.original
                    source, destination = map(address_text, pair)
                    packet = packet_of(source, destination, ends.protocol, ends.source_port, ends.destination_port)
                    found.add((name, self._vnis[self._zones().index(known.zone)], connection_of(packet)))
        return found

    def _follow(self, batch: Batch, token: bytes, place: Place) -> bool:
        """Wait until a packet has arrived at another host, and return whether it has.

        Otherwise one that is sent there next could be judged first: packets of two hosts wait for the processor in one queue, and
        the first one has a longer way.
        """
        while place not in batch.heard.get(token, []):
            ready, _, _ = select.select(list(self._ears.values()), [], [], _PATIENCE_S)
            if not ready:
                return False
            self._hear(batch, ready)
        return True

    def _hear(self, batch: Batch, listeners: Iterable[socket.socket]) -> None:
        """Note which tokens have arrived at these listeners."""
        places = {listener: place for place, listener in self._ears.items()}
        for listener in listeners:
            for token in _tokens(listener):
                batch.heard.setdefault(token, []).append(places[listener])


def _listener(instance: str) -> socket.socket:
    """Return a socket that sends frames as an instance and receives its frames; the instance itself answers none."""
    fd = netns.find(instance)
    try:
        with netns.inside(fd):
            code, _, error = nftables.Nftables().cmd(_DEAF)
            assert code == 0, error
            listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            listener.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            listener.bind(("eth0", _ETH_P_ALL))
    finally:
        os.close(fd)
    listener.setblocking(False)
    return listener


def _tokens(listener: socket.socket) -> Iterator[bytes]:
    with suppress(BlockingIOError):
        while True:
            yield from re.findall(rb"token[0-9a-f]{8}", listener.recv(65535))


def _place_of(address: str) -> int:
    return next(place for place in range(len(PLACES)) if address in interface_at(place, ()).addresses)


def _address(place: int) -> str:
    return interface_at(place, ()).address
