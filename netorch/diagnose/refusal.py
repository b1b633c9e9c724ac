"""Which groups, or which entry of which ACL, have refused a packet."""

from __future__ import annotations

from collections.abc import Sequence

from netorch.control.read import VpcRecords
from netorch.drivers.ct_attrs import Tuple, address_text
from netorch.model.addr import parse_ip, parse_prefix
from netorch.model.eni import NetworkInterface
from netorch.model.security import ALL_PROTOCOLS, ANY, ICMP, ICMPV6, TCP, UDP, AclEntry


def explain_refusal(records: VpcRecords, flow: Tuple, reason: str) -> str:
    """Return who refused a packet for that reason: names of groups, or an ACL's entry; nothing where neither did."""
    kind, _, direction = reason.partition("_")
    egress = direction == "egress"
    own, other = (flow.source, flow.destination) if egress else (flow.destination, flow.source)
    eni = _interface_at(records, address_text(own))
    if eni is None:
        return ""
    if kind == "sg":
        names = [records.groups[group].record.name for group in eni.groups if group in records.groups]
        return f"group{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else "the interface has no group"
    if kind == "acl":
        return _acl_entry(records, eni, flow, address_text(other), egress=egress)
    return ""


def _interface_at(records: VpcRecords, address: str) -> NetworkInterface | None:
    mapping = records.mappings.get(address)
    stored = records.enis.get(mapping.record.eni) if mapping is not None else None
    return stored.record if stored is not None else None


def _acl_entry(records: VpcRecords, eni: NetworkInterface, flow: Tuple, other: str, *, egress: bool) -> str:
    subnet = records.subnets[eni.subnet].record
    acls = [stored.record for stored in records.acls.values()]
    acl = next((acl for acl in acls if (acl.id == subnet.acl if subnet.acl else acl.is_default)), None)
    if acl is None:
        return ""
    entry = first_match(acl.egress if egress else acl.ingress, flow, other)
    return f"ACL {acl.name}, {'outbound' if egress else 'inbound'} entry {entry.number if entry is not None else '*'}"


def first_match(entries: Sequence[AclEntry], flow: Tuple, other: str) -> AclEntry | None:
    """Return the entry that decides on a packet whose other end has that address; None: the last one, which denies."""
    return next((entry for entry in entries if _matches(entry, flow, other)), None)


def _matches(entry: AclEntry, flow: Tuple, other: str) -> bool:
    prefix = parse_prefix(entry.cidr)
    version, value = parse_ip(other)
    if version != prefix.version or not prefix.network <= value <= prefix.last:
        return False
    if entry.protocol == ALL_PROTOCOLS:
        return True
    if entry.protocol != flow.protocol:
        return False
    if flow.protocol in (TCP, UDP):
        return entry.from_port <= flow.destination_port <= entry.to_port
    if flow.protocol in (ICMP, ICMPV6):
        return entry.from_port in (ANY, flow.destination_port >> 8) and entry.to_port in (ANY, flow.destination_port & 0xFF)
    return True
