"""Interface endpoints: a service of another VPC at an address of one's own, by connection tracking in a namespace.

The walk of a packet of instance 10.0.1.5 to the endpoint 10.0.9.9, behind which is the service 10.0.1.5:8443 of a VPC that may
have the same addresses. In the provider's VPC the connection has the address 10.0.8.20:

    hypervisor   10.0.9.9/32 via 192.0.2.21 dev vx5000               the edge that answers and is active, as for a NAT gateway
    vrf5000      10.0.9.9/32 dev v-001388...                         verified packets only
    vpce-con-... eth0: the endpoint's security groups; destination becomes 10.0.1.5:8443
                 what comes by eth0 leaves by eth1, whatever its destination; source becomes 10.0.8.20
    v-001770...  in the VRF of the route table of the connection's subnet: 10.0.1.5/32 via 192.0.2.12 dev vx6000

and of the answer:

    hypervisor   10.0.8.20/32 via 192.0.2.21 dev vx6000
    vrf6000      10.0.8.20/32 dev v-001770...
    vpce-con-... eth1: an answer: source and destination as they were; what comes by eth1 leaves by eth0
    v-001388...  10.0.1.5/32 via 192.0.2.11 dev vx5000

The namespace has no address and no route to one: the device that a packet comes by says where it goes. So addresses of the two
VPCs never meet. Nor do they in connection tracking: connections have their original direction in a zone of its own, which what
comes by eth0 is looked up in. So what the provider sends meets answers only, and begins nothing. Linux looks for an answer, too,
where eth0's packet is none of a known beginning; such a packet is dropped. Of what consumers send only the service's ports pass,
and only after the endpoint's groups.

Which target a connection gets follows from its own addresses and ports, so both edges choose alike. The other edge knows none of
the connections and resets those of TCP (docs/design/privatelink.md).

Both ACLs are judged here, too: that of the endpoint's subnet, and that of the connection's in the provider's VPC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from edges.cable import refused
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
    elements,
    inside_objects,
    port_objects,
)
from netorch.compiler.base import HostView, Identity, LocalTable, MappingPart, Part, VpcPart, VpcView
from netorch.compiler.interface_endpoint import BACK, FRONT, Backend, EndpointEnd
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService, ServicePort
from netorch.model.eni import Role
from netorch.model.mapping import Mapping
from netorch.model.security import TCP, Direction, NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.l3 import MAIN_TABLE, Route, Rule
from netorch.state.link import LOOPBACK, AdminUp
from netorch.state.netns import Namespace
from netorch.state.nft import VPC_DROP_SETS, NftElement, NftTable
from netorch.state.sysctls import namespace_sysctls
from policy.borders import acl_of
from policy.groups import GroupRules, first_packet_chain
from policy.identities import identity_map, identity_number, own_numbers

_BACK_TABLE: Final = 100  # of routes for what comes by FRONT
_BACK_PRIORITY: Final = 100
_GROUPS: Final = "groups"  # the chain of the endpoint's security groups

_TABLE: Final = """
NO_NEW_PARTS
IDENTITIES
VPC_DROP_SETS
counter fragments {
}
counter suppressed {
}
counter sg_ingress {
}
counter acl_ingress {
}
counter acl_egress {
}
counter no_service {
}
counter no_connection {
}
counter unasked {
}
DROP_CHAINS
PARTS
chain received {
    accept
}
chain freely_received {
    accept
}
chain whole {
    type filter hook prerouting priority -450; policy accept;
    ip frag-off & 16383 != 0 meta l4proto != udp counter name "fragments" drop
    iifname "eth0" ct original zone set 0x1
}
chain arriving {
    type filter hook prerouting priority -150; policy accept;
    ARRIVING
    iifname "eth0" ct direction reply goto drop_unasked
    iifname "eth0" ct state { invalid, new } goto groups
}
chain beginnings {
    type nat hook prerouting priority -100; policy accept;
    BEGINNINGS
}
chain forward {
    type filter hook forward priority 0; policy drop;
    ct status confirmed accept
    NO_NEW_RULES
    iifname "eth0" oifname "eth1" ct state new ct status dnat accept
    iifname "eth0" jump resets
    iifname "eth0" goto drop_no_service
    goto drop_unasked
}
chain resets {
    RESETS
}
chain leaving {
    type filter hook postrouting priority 90; policy accept;
    LEAVING
}
chain translate {
    type nat hook postrouting priority 100; policy accept;
    TRANSLATE
}
chain input {
    type filter hook input priority 0; policy drop;
}
chain output {
    type filter hook output priority 0; policy drop;
    tcp flags & rst == rst accept
}
""".replace("NO_NEW_PARTS", NO_NEW_PARTS).replace("NO_NEW_RULES", NO_NEW_RULES.replace("ct zone", "ct reply zone"))

_DROP_CHAINS: Final = drop_chains("sg_ingress", "acl_ingress", "acl_egress", "no_service", "unasked")


def endpoint_table(view: VpcView, end: EndpointEnd, back: Backend) -> NftTable:
    """Return the table of a connection's namespace. Raises CompileError."""
    borders = [
        border(name, ifname, subnet, acl, direction)
        for name, ifname, subnet, acl in (
            ("front", FRONT, end.subnet, acl_of(view, end.subnet)),
            ("back", BACK, back.subnet, back.acl),
        )
        for direction in (Direction.INGRESS, Direction.EGRESS)
    ]
    arriving, leaving = ([rule for _, rule in borders[place::2] if rule] for place in (0, 1))
    chains, beginnings = _choices(end, back)
    parts = "\n".join(filter(None, (*(text for text, _ in borders), _groups(view, end), *chains)))
    identities = (block("map", identity_map(view.vni, version), [spec]) for version, spec in _IDENTITIES)
    words = {
        "IDENTITIES": "\n".join(identities),
        "VPC_DROP_SETS": VPC_DROP_SETS,
        "DROP_CHAINS": _DROP_CHAINS,
        "PARTS": parts,
        "ARRIVING": _lines(arriving),
        "BEGINNINGS": _lines(beginnings),
        "RESETS": _lines(_resets(end, back)),
        "LEAVING": _lines(leaving),
        "TRANSLATE": f'oifname "{BACK}" meta l4proto {{ tcp, udp }} snat ip to {back.address}:{PORTS}',
    }
    body = _TABLE
    for word, text in words.items():
        body = body.replace(word, text)
    return NftTable(netns=end.connection, vni=view.vni, family="inet", body="\n".join(filter(str.strip, body.splitlines())))


_IDENTITIES: Final = ((4, "type ipv4_addr : mark"), (6, "type ipv6_addr : mark"))


def _lines(rules: Sequence[str]) -> str:
    return "\n    ".join(rules)


def _groups(view: VpcView, end: EndpointEnd) -> str:
    """Return the chain of the endpoint's groups, with its sets, which accepts or drops what begins a connection."""
    rules = GroupRules(view.of(SecurityGroup), view.of(PrefixList), own_numbers(view.of(Identity)))
    chain = first_packet_chain(_GROUPS, view, rules, end.groups)
    sets = [block("set", held.name, [*held.spec.split("; "), elements(held)]) for held in chain.sets]
    return "\n".join((*sets, block("chain", chain.name, chain.rules)))


def _choices(end: EndpointEnd, back: Backend) -> tuple[list[str], list[str]]:
    """Return the chains that choose a target of each port, and the rules that lead there; without a target nothing begins."""
    if not back.targets:
        return [], []
    chains, rules = [], []
    for port in back.ports:
        name, word = f"port_{_word(port)}_{port.port}", _word(port)
        to = [f"meta l4proto {word} dnat ip to {target}:{port.target_port}" for target in back.targets]
        if len(to) > 1:
            chains += [block("chain", f"{name}_{place}", [rule]) for place, rule in enumerate(to)]
            hashed = f"jhash ip saddr . {word} sport mod {len(to)} seed {SEED:#x}"
            to = [f"{hashed} {place} goto {name}_{place}" for place in range(len(to))]
        chains.append(block("chain", name, to))
        rules += [f'iifname "{FRONT}" ip daddr {address} {word} dport {port.port} goto {name}' for address in end.addresses]
    return chains, rules


def _resets(end: EndpointEnd, back: Backend) -> list[str]:
    """Return the rules that reset what belongs to no known connection with a port of the service."""
    return [
        f'ip daddr {address} tcp dport {port.port} ct state invalid counter name "no_connection" reject with tcp reset'
        for address in end.addresses
        for port in back.ports
        if port.protocol == TCP
    ]


def _word(port: ServicePort) -> str:
    return "tcp" if port.protocol == TCP else "udp"


def _endpoints(view: VpcView) -> Iterator[KernelObject]:
    """Yield the connections that have a seat on this host: all of the consumer's, and the provider's ends."""
    backends = {back.connection: back for back in view.of(Backend)}
    for end in view.of(EndpointEnd):
        if not end.gateway.is_at(view.host.host.name):
            continue
        if end.inside == BACK:
            yield from _port(view, end)
        elif end.connection in backends:
            yield from _namespace(view, end, backends[end.connection])
            yield from _port(view, end)


def _namespace(view: VpcView, end: EndpointEnd, back: Backend) -> Iterator[KernelObject]:
    """Yield the connection's own namespace, a router with two interfaces and without addresses."""
    vni, netns = view.vni, end.connection
    yield Namespace(vni=vni, label=netns)
    yield from namespace_sysctls(netns)
    yield endpoint_table(view, end, back)
    yield AdminUp(netns=netns, vni=vni, ifname=LOOPBACK)
    for ifname, mac, port in ((FRONT, end.mac, end.port), (BACK, back.mac, back.port)):
        yield from inside_objects(view, netns, ifname, mac, port)
    # What comes by the front leaves by the back. All else by the front, resets of the namespace's own among it.
    yield Rule(netns=netns, vni=vni, version=4, priority=_BACK_PRIORITY, table=_BACK_TABLE, iif=FRONT)
    for table, ifname in ((_BACK_TABLE, BACK), (MAIN_TABLE, FRONT)):
        yield Route(netns=netns, vni=vni, table=table, dst="0.0.0.0/0", via=ROUTER, ifname=ifname)


def _port(view: VpcView, end: EndpointEnd) -> Iterator[KernelObject]:
    """Yield a port of a connection, in the VRF of its subnet's route table, and the ways to it."""
    port = Port(end.port, end.connection, end.inside, end.mac, end.subnet, end.addresses, end.gateway)
    yield from port_objects(view, port)
    yield from refused(view, end.mac)
    yield passes(port.name, view.vxlan, view.vni)
    yield passes(view.vxlan, port.name, view.vni)


def _identity_of(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield the class of an address for the groups of the endpoints here: their rules may refer to the address's groups."""
    if not mapping.groups or ":" in mapping.address:
        return
    number, name = hex(identity_number(mapping.groups)), identity_map(view.vni, 4)
    backends = {back.connection for back in view.of(Backend)}
    for end in view.of(EndpointEnd):
        if end.connection in backends and end.gateway.is_at(view.host.host.name):
            netns = end.connection
            yield NftElement(netns=netns, family="inet", set=name, items=(mapping.address,), vni=view.vni, value=number)


class InterfaceEndpoints:
    """Yields the connections of interface endpoints with services on the edges that they have a seat on."""

    name: Final = "endpoints"
    reads: Final[frozenset[type]] = frozenset({EndpointConnection, EndpointService, SecurityGroup, NetworkAcl, PrefixList})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(
            id="endpoints",
            compile=_endpoints,
            inputs=frozenset({HostView, Vpc, EndpointEnd, Backend, LocalTable, NetworkAcl, SecurityGroup, PrefixList, Identity}),
            role=Role.EDGE,
        ),
        MappingPart(
            id="endpoints.mapping", compile=_identity_of, inputs=frozenset({HostView, EndpointEnd, Backend}), role=Role.EDGE
        ),
    )
