"""The hosts of a case in memory: packets walk through the objects that the compilers yield.

The oracle (policy.evaluate, policy.connections) reads the records; the walk (netorch.trace) reads compiled objects. They share
only the packet code. Connection tracking is imitated here, like the kernel's but without timeouts.
"""

from __future__ import annotations

import msgspec

from netorch.compiler.registry import compile_host, compile_slice, load_compilers
from netorch.model.eni import NetworkInterface
from netorch.model.ids import port_name
from netorch.model.packet import ACK, SYN, Packet
from netorch.model.security import TCP
from netorch.trace.host_model import HostModel
from netorch.trace.walk import walk
from netorch.trace.way import Ct, Departure, Tracker, Walk, connection_of
from policy.evaluate import Stage, Verdict
from tests.property.policy_strategies import HOSTS, ZONE, PolicyCase

COMPILERS = load_compilers()
ARRIVES = "arrives"
COUNTERS = {
    Stage.SENDER_ACL: "acl_egress",
    Stage.SENDER_GROUPS: "sg_egress",
    Stage.RECEIVER_ACL: "acl_ingress",
    Stage.RECEIVER_GROUPS: "sg_ingress",
}


class Flow(msgspec.Struct):
    """A connection in the conntrack table of a host."""

    begun_by: str
    answered: bool = False
    accepted: bool = False  # TCP only: SYN and ACK were seen
    confirmed: bool = False  # TCP only: then the initiator has sent a packet without SYN
    mark: int = 0


class Site:
    """The hosts of a case: their compiled objects, and their connections."""

    def __init__(self, case: PolicyCase) -> None:
        self._case = case
        self._flows: dict[tuple[str, object], Flow] = {}
        self.host_models = _compiled(case)

    def change(self, case: PolicyCase) -> None:
        """Compile the hosts for other records; they keep their connections."""
        self._case, self.host_models = case, _compiled(case)

    def forget(self) -> None:
        """Delete all connections."""
        self._flows.clear()

    def send(self, packet: Packet, sender: NetworkInterface | None = None) -> Walk:
        """Return the walk of the next packet, from the holder of its source address, or from `sender` in that name."""
        sender = sender or self._case.policy.holder(packet.source)
        assert sender is not None
        start = Departure(host=self._case.homes[sender.id], ifname=port_name(sender.id), mac=sender.mac)
        seen = {host: self._seen(host, packet) for host in HOSTS}
        known = {Tracker(host, ZONE, connection_of(packet)): ct for host, ct in seen.items()}
        found = walk(self.host_models, start, packet, known)
        for (host, *_), mark in found.marks.items():
            flow = self._flows.get((host, _key(packet)))
            confirmed = found.arrived or host != found.host
            if flow is None and packet.begins and packet.has_connection and confirmed:
                flow = self._flows[host, _key(packet)] = Flow(begun_by=packet.source)
            if flow is not None and packet.quoted is None and seen[host].state != "invalid":
                flow.mark = mark
                if packet.source != flow.begun_by:
                    flow.answered = True
                    flow.accepted = flow.accepted or packet.flags & (SYN | ACK) == SYN | ACK
                else:
                    flow.confirmed = flow.confirmed or (flow.accepted and not packet.flags & SYN)
        return found

    def _seen(self, host: str, packet: Packet) -> Ct:
        flow = self._flows.get((host, _key(packet.quoted or packet)))
        if flow is None:
            return Ct(state="new" if packet.begins else "invalid")
        direction = "original" if packet.source == flow.begun_by else "reply"
        if packet.quoted is None and packet.protocol == TCP:
            too_early = direction == "original" and not (packet.begins or flow.accepted)
            too_late = direction == "original" and flow.confirmed and packet.flags & (SYN | ACK) == SYN | ACK
            if too_early or too_late or (direction == "reply" and packet.begins and flow.accepted):
                return Ct(state="invalid")
        if packet.quoted is not None:
            return Ct(state="related", direction=direction, mark=flow.mark)
        known = flow.answered or direction == "reply"
        return Ct(state="established" if known else "new", direction=direction, mark=flow.mark)


def _compiled(case: PolicyCase) -> dict[str, HostModel]:
    mappings = list(case.mappings())
    host_models = {}
    for host in HOSTS:
        view = case.view(host)
        host_models[host] = HostModel(host, compile_host(COMPILERS, view.host) | compile_slice(COMPILERS, view, mappings))
    return host_models


def _key(packet: Packet) -> object:
    if packet.has_type:
        asking = packet if packet.begins else packet.answer()
        kind = packet.answer().icmp_type if packet.begins else packet.icmp_type
        return (packet.protocol, asking.source, asking.destination, kind, packet.icmp_code)
    ends = [(packet.source, packet.source_port), (packet.destination, packet.destination_port)]
    return (packet.protocol, *sorted(ends))


def end_of(verdict: Verdict) -> str:
    """Return the counter of a packet that the oracle drops, or `arrives`."""
    if verdict.dropped_by is None:
        return ARRIVES
    return "invalid" if verdict.strange else COUNTERS[verdict.dropped_by]


def end_of_walk(found: Walk) -> str:
    """Return the counter of a packet that is dropped on its walk, or `arrives`."""
    return ARRIVES if found.arrived else found.counter
