"""Hand-made traffic, in the form that drivers report."""

from __future__ import annotations

import socket

from netorch.agent.flowlog.ledger import Finished, Target
from netorch.agent.flowlog.lines import Interface
from netorch.agent.flowlog.unlogged import service_addresses
from netorch.drivers.conntrack.attrs import SEEN_REPLY, Connection, Counts, Tuple
from netorch.drivers.conntrack.headers import Headers
from netorch.model.flow_log import FIELDS, FlowLog, Traffic
from netorch.model.security import TCP
from netorch.model.vpc import Subnet

VNI = 5000
A, B, FAR = "10.0.0.4", "10.0.0.5", "10.0.9.9"
SUBNET = Subnet(id="subnet-00138800000000001", vni=VNI, name="s", cidr="10.0.0.0/24")


def interface(number: int, address: str) -> Interface:
    return Interface(
        id=f"eni-{number}",
        owner="acme",
        vni=VNI,
        vpc="vpc-00138800000000001",
        subnet=SUBNET.id,
        instance=f"i-{number}",
        addresses=(packed(address),),
    )


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def target(
    *interfaces: Interface, name: str = "1", traffic: Traffic = Traffic.ALL, interval_s: int = 60, fields: tuple[str, ...] = ()
) -> Target:
    log = FlowLog(id=f"fl-{name}", vni=VNI, name=name, resource="vpc-1", traffic=traffic, interval_s=interval_s)
    if fields:
        log = FlowLog(
            id=f"fl-{name}", vni=VNI, name=name, resource="vpc-1", traffic=traffic, interval_s=interval_s, format=fields
        )
    return Target(log=log, interfaces=interfaces, services=service_addresses((SUBNET,)))


def flow(source: str, destination: str, port: int = 443, protocol: int = TCP, source_port: int = 50000) -> Tuple:
    return Tuple(packed(source), packed(destination), protocol, source_port, port)


def connection(
    original: Tuple,
    sent: tuple[int, int] = (0, 0),
    answered: tuple[int, int] = (0, 0),
    *,
    started_s: float = 0.0,
    ended_s: float = 0.0,
    tcp_state: int = 3,
) -> Connection:
    return Connection(
        original=original,
        reply=original.reversed(),
        zone=1,
        mark=0,
        id=1,
        timeout_s=100,
        status=SEEN_REPLY if answered[0] else 0,
        original_counts=Counts(*sent),
        reply_counts=Counts(*answered),
        started_s=started_s,
        ended_s=ended_s,
        tcp_state=tcp_state,
    )


def packet(of: Tuple, length: int = 60, flags: int = 0) -> Headers:
    return Headers(tuple=of, length=length, tcp_flags=flags)


def table(finished: Finished, *fields: str) -> list[str]:
    """Return these fields of each line, sorted."""
    return sorted(" ".join(line.split()[finished.log.format.index(field)] for field in fields) for line in finished.lines)


ALL_FIELDS = tuple(FIELDS)
