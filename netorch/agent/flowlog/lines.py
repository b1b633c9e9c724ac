"""One line of a flow log: a flow in the log's format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from netorch.drivers.conntrack.attrs import Tuple, address_text
from netorch.model.drop_reason import code_of
from netorch.model.flow_log import FlowLog
from netorch.model.routing.effective import Effective, route_of
from netorch.model.routing.target import TargetKind

NOTHING: Final = "-"


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """An interface on this host whose traffic is logged."""

    id: str
    owner: str
    vni: int
    vpc: str
    subnet: str
    instance: str
    addresses: tuple[bytes, ...]
    gateway: str = ""  # label of the namespace that tracks the connections: that of a gateway, or of an endpoint's connection
    end: str = ""  # the device in that namespace, for an endpoint's connection
    routes: tuple[Effective, ...] = ()  # in force in its subnet, whatever their targets' state


Ends = tuple[bytes, bytes]  # source and destination


class FlowRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one interface saw of one flow in one direction, within an interval."""

    tuple: Tuple  # without ports for ICMP
    egress: bool
    reason: str  # the counter's name; empty: accepted
    packets: int
    bytes: int
    start_s: int
    end_s: int
    tcp_flags: int
    packet: Ends | None = None  # the packet's own addresses, where the interface is between their ends


def flow_line(log: FlowLog, interface: Interface, record: FlowRecord) -> str:
    """Return the line of a flow."""
    values = {**_common(log, interface, record.start_s, record.end_s, "OK"), **{k: get(record) for k, get in _OF_FLOW.items()}}
    if record.egress and not record.reason:
        values["traffic-path"] = _path(interface, _destination(record))
    return " ".join(values.get(field, NOTHING) for field in log.format)


def status_line(log: FlowLog, interface: Interface, start_s: int, end_s: int, status: str) -> str:
    """Return the NODATA or SKIPDATA line of an interval."""
    values = _common(log, interface, start_s, end_s, status)
    return " ".join(values.get(field, NOTHING) for field in log.format)


def _common(log: FlowLog, interface: Interface, start_s: int, end_s: int, status: str) -> dict[str, str]:
    return {
        "version": str(log.version),
        "account-id": interface.owner,
        "interface-id": interface.id,
        "vpc-id": interface.vpc,
        "subnet-id": interface.subnet,
        "instance-id": interface.instance or NOTHING,
        "start": str(start_s),
        "end": str(end_s),
        "log-status": status,
    }


def _source(record: FlowRecord) -> str:
    return address_text(record.tuple.source)


def _destination(record: FlowRecord) -> str:
    return address_text(record.tuple.destination)


def _packet_source(record: FlowRecord) -> str:
    return address_text(record.packet[0]) if record.packet is not None else _source(record)


def _packet_destination(record: FlowRecord) -> str:
    return address_text(record.packet[1]) if record.packet is not None else _destination(record)


def _path(interface: Interface, destination: str) -> str:
    """Return the number of the path that traffic to an address takes."""
    route = route_of(interface.routes, destination)
    return _PATHS.get(route.target.kind, NOTHING) if route is not None else NOTHING


# Source: EC2's "Flow log records", traffic-path.
_PATHS: Final = {
    TargetKind.LOCAL: "1",  # through another resource in the same VPC
    TargetKind.INTERFACE: "1",
    TargetKind.NAT_GATEWAY: "1",
    TargetKind.VPN_GATEWAY: "3",
    TargetKind.PEERING: "4",
    TargetKind.ENDPOINT: "7",
    TargetKind.INTERNET_GATEWAY: "8",
    TargetKind.EGRESS_ONLY_GATEWAY: "8",
}
# At an instance's interface packets are not translated yet, so the packet's addresses are the flow's. At a NAT gateway they
# differ: the packet goes from an instance to an internet host, but its flow ends at the gateway. Source: EC2's "Flow log record
# examples", traffic through a NAT gateway.
_OF_FLOW: Final[dict[str, Callable[[FlowRecord], str]]] = {
    "srcaddr": _source,
    "dstaddr": _destination,
    "pkt-srcaddr": _packet_source,
    "pkt-dstaddr": _packet_destination,
    "srcport": lambda record: str(record.tuple.source_port),
    "dstport": lambda record: str(record.tuple.destination_port),
    "protocol": lambda record: str(record.tuple.protocol),
    "packets": lambda record: str(record.packets),
    "bytes": lambda record: str(record.bytes),
    "action": lambda record: "REJECT" if record.reason else "ACCEPT",
    "tcp-flags": lambda record: str(record.tcp_flags),
    "type": lambda record: "IPv4" if len(record.tuple.source) == 4 else "IPv6",
    "flow-direction": lambda record: "egress" if record.egress else "ingress",
    "reject-reason": lambda record: code_of(record.reason) or NOTHING,
}
