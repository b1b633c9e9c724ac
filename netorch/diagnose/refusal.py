"""Which groups, or which entry of which ACL, have refused a packet."""

from __future__ import annotations

from netorch.diagnose.books import rulebook_of
from netorch.drivers.conntrack.attrs import Tuple, address_text
from netorch.model.eni import NetworkInterface
from netorch.model.packet import Packet, packet_of
from netorch.model.security import Way
from netorch.records.vpc import VpcRecords
from netorch.trace.attribute import ask_acl
from netorch.trace.rulebook import Rulebook


def explain_refusal(records: VpcRecords, flow: Tuple, reason: str) -> str:
    """Return who refused a packet for that reason: names of groups, or an ACL's entry; nothing where neither did."""
    kind, _, direction = reason.partition("_")
    if kind not in ("sg", "acl"):
        return ""
    book, way, packet = rulebook_of(records), Way(direction), _packet(flow)
    eni = book.holders.get(packet.source if way is Way.EGRESS else packet.destination)
    if eni is None:
        return ""
    return _groups(book, eni) if kind == "sg" else _entry(book, eni, way, packet)


def _packet(flow: Tuple) -> Packet:
    ends = address_text(flow.source), address_text(flow.destination)
    return packet_of(*ends, flow.protocol, flow.source_port, flow.destination_port)


def _groups(book: Rulebook, eni: NetworkInterface) -> str:
    names = [group.name for group in book.groups_of(eni)]
    return f"group{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else "the interface has no group"


def _entry(book: Rulebook, eni: NetworkInterface, way: Way, packet: Packet) -> str:
    said = ask_acl(book, eni, way, packet)
    return f"ACL {said.acl.name}, {way.value} entry {said.number}" if said.acl is not None else ""
