"""Common parts of gateways that track connections, each in its own namespace. New connections are blocked for two reasons:

    over_allowance    the VPC holds too many (netorch.agent.tasks.allowance)
    handing_over      they are being handed over to another edge (netorch.agent.tasks.handover)

The agent adds the zone of all the namespace's connections to the set of the reason. Each reason has its own set, so that
ending one does not end the other. Elements expire, so that nobody stays blocked without an agent. Only packets that open a
connection are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from netorch.compiler.base import PORT_MAC, Gateway, VpcView
from netorch.model.security import Direction, NetworkAcl
from netorch.model.vpc import Subnet
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.l3 import Neighbour, Route
from netorch.state.link import AdminUp, CableEnd, Settings
from netorch.state.nft import DROPPED_ESTABLISHED, DROPPED_REPLY, HANDING_OVER, OVER_ALLOWANCE, ChainSet, vpc_drop_chain
from netorch.state.sysctls import PORT_V4, device_sysctls
from policy.acl import acl_chain, allows_everything

ROUTER: Final = "192.0.0.8"  # next hop for the VPC's router in a namespace; it never appears on a wire: RFC 7335 section 6
# EC2 has 55,000 ports per destination. VXLAN and IPsec have ports below 4790, which no connection may use.
PORTS: Final = "4790-65535"
SEED: Final = 1  # of the hash that selects an address, the same on both edges

_COUNTER_OF: Final = {OVER_ALLOWANCE: "allowance", HANDING_OVER: "handing_over"}
_PARTS: Final = """set {name} {{
    typeof ct zone
    size 8
    timeout 10s
}}
counter {counter} {{
}}"""
NO_NEW_PARTS: Final = "\n".join(_PARTS.format(name=name, counter=counter) for name, counter in _COUNTER_OF.items())
# For a chain of the forward hook, before the rules that accept new connections.
NO_NEW_RULES: Final = "\n    ".join(
    f'ct state new ct zone @{name} counter name "{counter}" drop' for name, counter in _COUNTER_OF.items()
)
# Marks of dropped packets for flow logs (netorch.agent.flowlog): counted by connection tracking, and direction.
_MARKED: Final = (
    "meta mark set 0x0",
    f"ct status confirmed meta mark set {DROPPED_ESTABLISHED:#x}",
    f"ct direction reply meta mark set {DROPPED_ESTABLISHED | DROPPED_REPLY:#x}",
)


def drop_chains(*reasons: str) -> str:
    """Return the text of the chains that drop for these reasons."""
    return "\n".join(vpc_drop_chain(reason, *_MARKED) for reason in reasons)


def border(name: str, ifname: str, subnet: Subnet, acl: NetworkAcl, direction: Direction) -> tuple[str, str]:
    """Return the ACL's chain and sets for one direction, and the rule that jumps to it; empty if the ACL permits everything.

    `ifname` is the subnet's device in the gateway's namespace, if that has several.
    """
    if allows_everything(acl, direction):
        return "", ""
    far, by = ("daddr", "oifname") if direction is Direction.EGRESS else ("saddr", "iifname")
    chain = acl_chain(f"{name}_{direction.value}_rules", acl, direction)
    sets = [block("set", held.name, [*held.spec.split("; "), elements(held)]) for held in chain.sets]
    device = f'{by} "{ifname}" ' if ifname else ""
    return "\n".join((*sets, block("chain", chain.name, chain.rules))), f"{device}ip {far} != {subnet.cidr} jump {chain.name}"


def elements(held: ChainSet) -> str:
    """Return the line of a set's elements in a table's text."""
    return f"elements = {{ {', '.join(held.elements)} }}"


def block(kind: str, name: str, lines: Iterable[str]) -> str:
    """Return a set or chain in a table's text."""
    return "\n    ".join((f"{kind} {name} {{", *lines)) + "\n}"


class Port(NamedTuple):
    """A port that connects a gateway's namespace to a subnet."""

    name: str  # the overlay end of its cable
    netns: str  # the namespace's label
    inside: str  # the end in the namespace
    mac: str  # of that end
    subnet: Subnet
    addresses: tuple[str, ...]
    gateway: Gateway


def inside_objects(view: VpcView, netns: str, ifname: str, mac: str, port: str) -> Iterator[KernelObject]:
    """Yield the end of a port's cable in a gateway's namespace, with the VPC's router as a neighbour."""
    vni = view.vni
    yield CableEnd(netns=netns, vni=vni, ifname=ifname, lladdr=mac, mtu=view.mtu, vrf="", peer=port, peer_netns=OVERLAY)
    yield Settings(netns=netns, vni=vni, ifname=ifname)
    yield AdminUp(netns=netns, vni=vni, ifname=ifname)
    yield Neighbour(netns=netns, vni=vni, ifname=ifname, dst=ROUTER, lladdr=PORT_MAC)


def port_objects(view: VpcView, port: Port) -> Iterator[KernelObject]:
    """Yield a port in the VRF of its subnet's route table, and routes to its addresses if this host's seat is in use."""
    vni, ifname, vrf = view.vni, port.name, view.vrf_of(port.subnet)
    yield CableEnd(vni=vni, ifname=ifname, lladdr=PORT_MAC, mtu=view.mtu, vrf=vrf, peer=port.inside, peer_netns=port.netns)
    yield from device_sysctls(PORT_V4, ifname, vni)  # as for every port
    yield Settings(vni=vni, ifname=ifname)
    yield AdminUp(vni=vni, ifname=ifname)
    is_used = port.gateway.seat.host == view.host.host.name
    for address in port.addresses:
        yield Neighbour(vni=vni, ifname=ifname, dst=address, lladdr=port.mac)
        for table in view.tables_to(address) if is_used else ():
            yield Route(vni=vni, table=table, dst=f"{address}/32", ifname=ifname)
