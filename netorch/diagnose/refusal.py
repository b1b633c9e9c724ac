"""Which groups, or which entry of which ACL, have refused a packet."""

from __future__ import annotations

from netorch.control.read import VpcRecords
from netorch.diagnose.books import rulebook_of
from netorch.drivers.ct_attrs import Tuple, address_text
from netorch.model.eni import NetworkInterface
from netorch.model.packet import Packet
from netorch.model.security import ICMP, ICMPV6, Way
from netorch.trace.attribute import ask_acl
from netorch.trace.rulebook import Rulebook


def explain_refusal(records: VpcRecords, flow: Tuple, reason: str) -> str:
    """Return who refused a packet for that reason: names of groups, or an ACL's entry; nothing where neither did."""
    kind, _, direction = reason.partition("_")
    if kind not in ("sg", "acl"):
        return ""
    book, way, packet = rulebook_of(records), Way(direction), packet_of(flow)
    eni = book.holders.get(packet.source if way is Way.EGRESS else packet.destination)
    if eni is None:
        return ""
    return _groups(book, eni) if kind == "sg" else _entry(book, eni, way, packet)


def packet_of(flow: Tuple) -> Packet:
    """Return the packet that the kernel tells of."""
    source, destination = address_text(flow.source), address_text(flow.destination)
    if flow.protocol in (ICMP, ICMPV6):
        kind, code = divmod(flow.destination_port, 256)
        return Packet(source=source, destination=destination, protocol=flow.protocol, icmp_type=kind, icmp_code=code)
    return Packet(
        source=source,
        destination=destination,
        protocol=flow.protocol,
        source_port=flow.source_port,
        destination_port=flow.destination_port,
    )


def _groups(book: Rulebook, eni: NetworkInterface) -> str:
    names = [group.name for group in book.groups_of(eni)]
    return f"group{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else "the interface has no group"


def _entry(book: Rulebook, eni: NetworkInterface, way: Way, packet: Packet) -> str:
    said = ask_acl(book, eni, way, packet)
    return f"ACL {said.acl.name}, {way.value} entry {said.number}" if said.acl is not None else ""
