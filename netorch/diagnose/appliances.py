"""Appliances on a packet's way: the records do not describe what they do with it."""

from __future__ import annotations

from netorch.model.addr import version_of
from netorch.model.eni import Instance
from netorch.model.packet import Packet
from netorch.records.vpc import VpcRecords
from netorch.trace.codes import Code
from netorch.trace.explain import Explanation, at_port_of
from netorch.trace.policy_index import PolicyIndex
from netorch.trace.way import Walk


def not_forwarded(
    on_way: list[VpcRecords], index: PolicyIndex, found: Walk, packet: Packet, names: dict[str, str]
) -> Explanation | None:
    """Return the explanation of a live packet that an appliance may have dropped, or None if there is no appliance on its way.

    The command checks whether the first appliance forwards packets; `names` are the names of interfaces for people.
    """
    passed = [eni for port in found.through if (eni := at_port_of(index, port)) is not None]
    if not passed:
        return None
    records = next(records for records in on_way if records.vni == passed[0].vni)
    vpc, instance = records.vpc.record, records.of(Instance)[passed[0].instance].record
    sysctl = "net.ipv4.ip_forward" if version_of(packet.destination) == 4 else "net.ipv6.conf.all.forwarding"
    command = f"netorch instance exec {vpc.owner}/{vpc.name}/{instance.name} -- sysctl {sysctl}"
    return Explanation(
        code=Code.NOT_FORWARDED,
        sentence=f"{Code.NOT_FORWARDED.text} ({', '.join(names[eni.id] for eni in passed)})",
        fix=f"check that {instance.name} forwards packets and that its own firewall does not drop them: {command}",
    )
