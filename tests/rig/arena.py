"""Two real hosts that play scripts of packets one after the other, as fast as a kernel can load new rules.

The hosts carry two VPCs with the same addresses, ports and places at once: the script's, and one that permits everything.
Each packet is sent in the open VPC first, then in the script's. So a test fails when the kernel mistakes a connection or
a packet of one VPC for the other's.

Nothing sleeps. The kernel handles packets in the order in which they were sent. The last packets sent are markers, in the open
VPC and on the longest way. When they have arrived, every other packet that arrives at all has arrived.
"""

from __future__ import annotations

import os
import re
import select
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Final

import msgspec
import nftables

from netorch.compiler.registry import compile_host, compile_slice, load_compilers
from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.model.ids import make_id
from netorch.model.packet import Packet
from netorch.model.security import SecurityGroup
from netorch.plan.diff import diff
from netorch.state.base import OVERLAY, KernelObject, Key
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
    refusals: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)  # by host and counter


def open_script() -> Script:
    """Return the script of the VPC that permits everything."""
    name = make_id("sg", OPEN_VNI, 1)
    group = SecurityGroup(id=name, vni=OPEN_VNI, name="open", ingress=anything(0, OPEN_VNI), egress=anything(50, OPEN_VNI))
    return Script(vni=OPEN_VNI, memberships=((name,),) * len(PLACES), groups=(group,), steps=())


class Arena:
    """The hosts, the instances, and a listener at each instance."""

    def __init__(self, directory: Path) -> None:
        self._world = World(directory, tuple(HOSTS))
        self._compilers = load_compilers()
        self._kernels: dict[str, LinuxKernel] = {}
        for name, host in self._world.hosts.items():
            with netns.inside(host.fd):
                self._kernels[name] = LinuxKernel(name)
        self._held: dict[str, dict[Key, KernelObject]] = {name: {} for name in self._kernels}
        self._open = open_script()
        self._plays = self.sent = 0
        self._ears: dict[Place, socket.socket] = {}

    def play(self, script: Script) -> None:
        """Play a script. Fails when a packet does not end as the oracle says, or the oracle not as the script says."""
        self._plays += 1
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
                self._send(batch, OPEN_VNI, msgspec.structs.replace(step, by=None), of_open.send(step.send))
                verdict = oracle.send(step.send, script.sender_of(step))
                assert step.ends in ("", end_of(verdict)), (step, verdict)
                self._send(batch, script.vni, step, verdict)
        self._finish(batch)
        self._forget()

    def _forget(self) -> None:
        """Delete the connections of a play from the kernels: the table of a small machine is full after a few hundred plays."""
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
        for name, kernel in self._kernels.items():
            wanted = compile_host(self._compilers, script.case.view(name).host)
            for number, one in zip(self._zones(), (script, self._open), strict=True):
                view = msgspec.structs.replace(one.case.view(name), zone=number)
                wanted |= compile_slice(self._compilers, view, one.case.mappings())
            failures = kernel.apply(diff(wanted, self._held[name]))
            self._held[name] = kernel.dump() if failures else wanted
            assert [str(failure.error) for failure in failures] == []
        for vni, place in product((script.vni, OPEN_VNI), range(len(PLACES))):
            if (vni, place) not in self._ears:
                self._ears[vni, place] = _listener(interface_at(place, (), vni).instance)

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

    def _emit(self, vni: int, packet: Packet, place: int, *, cut: bool = False) -> bytes:
        self.sent += 1
        token = b"token%08x" % self.sent
        mac = interface_at(place, ()).mac
        for sent in fragments(packet, mac, token, self.sent & 0xFFFF) if cut else [frame(packet, mac, token)]:
            self._ears[vni, place].send(sent)
        return token

    def _finish(self, batch: Batch) -> None:
        """Wait until everything has arrived, and compare."""
        heard = self._listen({self._emit(OPEN_VNI, udp(_address(a), _address(b)), a): (OPEN_VNI, b) for a, b in _LONGEST_WAYS})
        wrong = [
            f"{packet}: expected at {batch.arrivals[token]}, heard at {heard.get(token, [])}"
            for token, packet in batch.sent.items()
            if heard.get(token, []) != batch.arrivals[token]
        ]
        counted = {(host, name): n for host, counters in self._counters().items() for name, n in counters.items()}
        risen = {key: n - batch.before[key[0]].get(key[1], 0) for key, n in counted.items() if key[1] not in _NOISE}
        risen = {key: n for key, n in risen.items() if n}
        assert not wrong, "\n".join([*wrong, f"refused {risen}, expected {dict(batch.refusals)}"])
        assert risen == batch.refusals, f"refused {risen}, expected {dict(batch.refusals)}"

    def _listen(self, markers: dict[bytes, Place]) -> dict[bytes, list[Place]]:
        """Return the places at which each token arrived, once all markers have arrived."""
        heard: dict[bytes, list[Place]] = {}
        places = {listener: place for place, listener in self._ears.items()}

        def hear(listeners: Iterable[socket.socket]) -> None:
            for listener in listeners:
                for token in _tokens(listener):
                    heard.setdefault(token, []).append(places[listener])

        while any(place not in heard.get(token, []) for token, place in markers.items()):
            ready, _, _ = select.select(list(places), [], [], _PATIENCE_S)
            assert ready, "no marker arrives"
            hear(ready)
        hear(places)  # a listener may have had nothing yet when the others were ready
        return heard


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
