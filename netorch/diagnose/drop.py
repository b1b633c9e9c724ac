"""The groups, or the ACL entry, that dropped a packet."""

from __future__ import annotations

from netorch.diagnose.policy_indexes import policy_index_of
from netorch.drivers.conntrack.attrs import Tuple, address_text
from netorch.model.eni import NetworkInterface
from netorch.model.packet import Packet, packet_of
from netorch.model.security import Direction
from netorch.records.vpc import VpcRecords
from netorch.trace.attribute import acl_says
from netorch.trace.policy_index import PolicyIndex


def explain_drop(records: VpcRecords, flow: Tuple, reason: str) -> str:
    """Return the names of the groups, or the ACL entry, that dropped a packet for this reason; "" for other reasons."""
    kind, _, which = reason.partition("_")
    if kind not in ("sg", "acl"):
        return ""
    index, direction, packet = policy_index_of(records), Direction(which), _packet(flow)
    eni = index.holders.get(packet.source if direction is Direction.EGRESS else packet.destination)
    if eni is None:
        return ""
    return _groups(index, eni) if kind == "sg" else _entry(index, eni, direction, packet)


def _packet(flow: Tuple) -> Packet:
    ends = address_text(flow.source), address_text(flow.destination)
    return packet_of(*ends, flow.protocol, flow.source_port, flow.destination_port)


def _groups(index: PolicyIndex, eni: NetworkInterface) -> str:
    names = [group.name for group in index.groups_of(eni)]
    return f"group{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else "the interface has no group"


def _entry(index: PolicyIndex, eni: NetworkInterface, direction: Direction, packet: Packet) -> str:
    said = acl_says(index, eni.subnet, direction, packet)
    return f"ACL {said.acl.name}, {direction.value} entry {said.number}" if said.acl is not None else ""
