"""NAT gateways: many private addresses share one on the internet, by connection tracking in a separate namespace.

The path of a packet from instance 10.0.1.5 to 203.0.113.10, by the NAT gateway with MAC N, 10.0.9.9 in the subnet `pub`:

    hypervisor   0.0.0.0/0 via the gateway's hop dev vx5000          the instance's route table; inner destination MAC N
    vx5000       ingress: dst_mac N: redirected to v-001388abcdef0   verified packets only; no routing
    nat-...      eth0 has N; a new connection: source becomes 10.0.9.9, a port from 4790 on
    v-...        in the VRF of the route table of `pub`: 0.0.0.0/0 dev g-001388abcdef0
    g-...        egress: 10.0.9.9 becomes its public address         edges.internet

and of the reply:

    g-...        ingress: destination becomes 10.0.9.9
    vrf5000      10.0.9.9 dev v-...; on the edge that is not in use: via the other edge (netorch.compiler.nat)
    nat-...      a reply: destination becomes 10.0.1.5
    v-...        10.0.1.5/32 via 192.0.2.11 dev vx5000

So the gateway is one-armed, like EC2's: all packets use one interface in the subnet. The namespace need not distinguish
inside from outside. Routed packets are addressed to 10.0.9.9, and are dropped there unless they are replies. All others come
from instances, by their route tables.

Both edges have all of this, and hosts send to the first edge that answers echoes as active (docs/design/nat.md). The other
edge knows none of its connections. With `tcp_loose` off, they are invalid there and are reset, so that clients reconnect at
once.

The ACL of the gateway's subnet is applied in the namespace, where packets have the addresses that its rules refer to: on the
way in, before a reply is translated back. On the way out it only matches the far end, so it is applied before the source is
translated: the log of a dropped packet shows its original source. A NAT gateway has no security groups. The namespace has one
table: a changed ACL replaces all of it at once, and connections are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from edges.cable import redirected
from edges.skeleton import passes
from edges.tracking import (
    NO_NEW_PARTS,
    NO_NEW_RULES,
    PORTS,
    ROUTER,
    SEED,
    Port,
    block,
    border,
    drop_chains,
    inside_objects,
    port_objects,
)
from netorch.compiler.base import Gateway, HostView, LocalTable, Part, VpcPart, VpcView
from netorch.compiler.nat import Nat
from netorch.model.eni import Role
from netorch.model.ids import port_name
from netorch.model.outside.gateway import NatGateway
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.target import TargetKind
from netorch.model.security import Direction, NetworkAcl
from netorch.model.vpc import Subnet, Vpc
from netorch.state.base import KernelObject
from netorch.state.l3 import MAIN_TABLE, Address, Route
from netorch.state.link import LOOPBACK, AdminUp
from netorch.state.names import outside_cable
from netorch.state.netns import Namespace
from netorch.state.nft import VPC_DROP_SETS, NftTable
from netorch.state.sysctls import namespace_sysctls
from policy.acl import acl_of

INSIDE: Final = "eth0"  # the gateway's end of its port's cable

_TABLE: Final = """
NO_NEW_PARTS
counter fragments {
}
VPC_DROP_SETS
counter suppressed {
}
counter acl_ingress {
}
counter acl_egress {
}
counter protocol {
}
counter no_connection {
}
counter to_gateway {
}
counter in_from_source {
}
counter in_from_destination {
}
counter out_to_destination {
}
counter out_to_source {
}
counter attempts {
}
counter established {
}
ACLS
DROP_CHAINS
chain whole {
    type filter hook prerouting priority -450; policy accept;
    ip frag-off & 16383 != 0 meta l4proto != udp counter name "fragments" drop
}
chain arriving {
    type filter hook prerouting priority -150; policy accept;
    ARRIVING
}
chain forward {
    type filter hook forward priority 0; policy drop;
    ct direction original counter name "in_from_source"
    ct direction reply counter name "in_from_destination"
    ct direction reply ct mark 0 @th,104,8 & 0x17 == 0x12 meta l4proto tcp ct mark set 1 counter name "established"
    ct status confirmed accept
    ct state new meta l4proto tcp counter name "attempts"
    NO_NEW_RULES
    ct state new meta l4proto { icmp, tcp, udp } accept
    ct state new goto drop_protocol
    meta l4proto tcp ct state invalid counter name "no_connection" reject with tcp reset
    counter name "no_connection" drop
}
SPREAD
chain translate {
    type nat hook postrouting priority 100; policy accept;
    TRANSLATE
}
chain leaving {
    type filter hook postrouting priority 90; policy accept;
    LEAVING
}
chain sent {
    type filter hook postrouting priority 150; policy accept;
    ct direction original counter name "out_to_destination"
    ct direction reply counter name "out_to_source"
}
chain input {
    type filter hook input priority 0; policy drop;
    goto drop_to_gateway
}
""".replace("NO_NEW_PARTS", NO_NEW_PARTS).replace("NO_NEW_RULES", NO_NEW_RULES)

_DROP_CHAINS: Final = drop_chains("acl_ingress", "acl_egress", "protocol", "to_gateway")


def gateway_table(
    nat_id: str, vni: int, addresses: Sequence[str], subnet: Subnet, acl: NetworkAcl, ports: str = PORTS
) -> NftTable:
    """Return the table of a gateway's namespace: the addresses and ports for connections, and the ACL of its subnet."""
    arriving, leaving = (border("acl", "", subnet, acl, direction) for direction in (Direction.INGRESS, Direction.EGRESS))
    body = _TABLE.replace("ACLS", "\n".join(filter(None, (arriving[0], leaving[0]))))
    body = body.replace("VPC_DROP_SETS", VPC_DROP_SETS).replace("DROP_CHAINS", _DROP_CHAINS)
    body = body.replace("ARRIVING", arriving[1]).replace("LEAVING", leaving[1])
    spread, translate = _translation(addresses, ports)
    body = body.replace("SPREAD\n", "".join(f"{chain}\n" for chain in spread)).replace("TRANSLATE", "\n    ".join(translate))
    return NftTable(netns=nat_id, vni=vni, family="inet", body=body)


def _translation(addresses: Sequence[str], ports: str) -> tuple[list[str], list[str]]:
    """Return chains that translate to one address each, and rules that choose the same one for all connections of two ends."""
    each = [[f"meta l4proto {{ tcp, udp }} snat ip to {address}:{ports}", f"snat ip to {address}"] for address in addresses]
    if len(each) == 1:
        return [], each[0]
    chains = [block("chain", f"address_{place}", rules) for place, rules in enumerate(each)]
    hashed = f"jhash ip saddr . ip daddr mod {len(each)} seed {SEED:#x}"
    return chains, [f"{hashed} {place} goto address_{place}" for place in range(len(each))]


def _nats(view: VpcView) -> Iterator[KernelObject]:
    """Yield the VPC's NAT gateways with a seat on this host."""
    for nat in view.of(Nat):
        if nat.gateway.is_at(view.host.host.name):
            yield from _namespace(view, nat)
            yield from _port(view, nat)


def _namespace(view: VpcView, nat: Nat) -> Iterator[KernelObject]:
    """Yield the gateway's own namespace, a router with one interface."""
    vni, netns = view.vni, nat.id
    yield Namespace(vni=vni, label=netns)
    yield from namespace_sysctls(netns)
    yield gateway_table(netns, vni, nat.beginning, nat.subnet, acl_of(view, nat.subnet))
    yield AdminUp(netns=netns, vni=vni, ifname=LOOPBACK)
    yield from inside_objects(view, netns, INSIDE, gateway_mac(nat.id), port_name(nat.eni.id))
    for address in nat.addresses:
        yield Address(netns=netns, vni=vni, ifname=INSIDE, address=f"{address}/32")
    yield Route(netns=netns, vni=vni, table=MAIN_TABLE, dst="0.0.0.0/0", via=ROUTER, ifname=INSIDE)


def _port(view: VpcView, nat: Nat) -> Iterator[KernelObject]:
    """Yield the gateway's port, in the VRF of its subnet's route table, and the paths to it."""
    vni, port, mac = view.vni, port_name(nat.eni.id), gateway_mac(nat.id)
    yield from port_objects(view, Port(port, nat.id, INSIDE, mac, nat.subnet, nat.addresses, nat.gateway))
    yield from redirected(view, mac, port)
    for other in (view.vxlan, *_outside_cables(view)):
        yield passes(port, other, vni)
        yield passes(other, port, vni)


def _outside_cables(view: VpcView) -> Iterator[str]:
    """Yield the near end of the cable of the VPC's internet gateway, if that is also on this host."""
    if view.host.host.uplink is None:
        return
    for gateway in view.of(Gateway):
        if gateway.kind is TargetKind.INTERNET_GATEWAY and gateway.is_at(view.host.host.name):
            yield outside_cable(view.vni, gateway.id)[0]


class NatCompiler:
    """Yields the NAT gateways of a VPC on the edges with their seats."""

    name: Final = "nat"
    reads: Final[frozenset[type]] = frozenset({NatGateway, NetworkAcl})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(
            id="nat",
            compile=_nats,
            inputs=frozenset({HostView, Vpc, Gateway, Nat, LocalTable, NetworkAcl}),
            role=Role.EDGE,
        ),
    )
