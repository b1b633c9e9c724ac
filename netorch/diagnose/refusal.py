"""Which groups, or which entry of which ACL, have refused a packet."""

from __future__ import annotations

from netorch.diagnose.books import rulebook_of
from netorch.drivers.conntrack.attrs import Tuple, address_text
from netorch.model.eni import NetworkInterface
from netorch.model.packet import Packet, packet_of
from netorch.model.security import Direction
from netorch.records.vpc import VpcRecords
from netorch.trace.attribute import ask_acl
from netorch.trace.rulebook import Rulebook


def explain_refusal(records: VpcRecords, flow: Tuple, reason: str) -> str:
    """Return who refused a packet for that reason: names of groups, or an ACL's entry; nothing where neither did."""
    kind, _, which = reason.partition("_")
    if kind not in ("sg", "acl"):
        return ""
    book, direction, packet = rulebook_of(records), Direction(which), _packet(flow)
    eni = book.holders.get(packet.source if direction is Direction.EGRESS else packet.destination)
    if eni is None:
        return ""
    return _groups(book, eni) if kind == "sg" else _entry(book, eni, direction, packet)


def _packet(flow: Tuple) -> Packet:
    ends = address_text(flow.source), address_text(flow.destination)
    return packet_of(*ends, flow.protocol, flow.source_port, flow.destination_port)


def _groups(book: Rulebook, eni: NetworkInterface) -> str:
    names = [group.name for group in book.groups_of(eni)]
    return f"group{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else "the interface has no group"


def _entry(book: Rulebook, eni: NetworkInterface, direction: Direction, packet: Packet) -> str:
    said = ask_acl(book, eni, direction, packet)
    return f"ACL {said.acl.name}, {direction.value} entry {said.number}" if said.acl is not None else ""
