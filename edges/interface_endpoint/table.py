"""The rules of a connection's namespace: which packets open a connection, its target, and its source address.

See edges.interface_endpoint for a packet's path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from edges.tracking import NO_NEW_PARTS, NO_NEW_RULES, PORTS, SEED, block, border, drop_chains, elements
from netorch.compiler.base import Identity, VpcView
from netorch.compiler.interface_endpoint import AILING, BACK, FRONT, Backend, EndpointEnd
from netorch.model.endpoints.endpoint_service import ServicePort
from netorch.model.security import TCP, Direction, PrefixList, SecurityGroup
from netorch.state.daemons.services.relay import RELAY_ADDRESS
from netorch.state.nft import VPC_DROP_SETS, NftTable
from policy.acl import acl_of
from policy.groups import GroupRules, group_chain
from policy.identities import identity_map, own_numbers

# The namespace's own packets: connections to targets, for health checks and for relaying.
_OWN: Final = f'oifname "{BACK}" ip saddr {RELAY_ADDRESS}'
_GROUPS: Final = "groups"  # the chain of the endpoint's security groups

_TABLE: Final = """
NO_NEW_PARTS
IDENTITIES
set AILING {
    type ipv4_addr . inet_service
}
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
chain loopback {
    type filter hook output priority -300; policy accept;
    oifname "lo" notrack
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
    iifname "lo" accept
    ct status confirmed accept
    NO_NEW_RULES
    iifname "eth0" ct state new ct status dnat accept
    drop
}
chain output {
    type filter hook output priority 0; policy drop;
    oifname "lo" accept
    oifname "eth0" ct direction reply accept
    oifname "eth0" ct state invalid tcp flags & rst == rst accept
    oifname "eth1" ct direction original ct status confirmed accept
    OWN
    drop
}
""".replace("NO_NEW_PARTS", NO_NEW_PARTS).replace("NO_NEW_RULES", NO_NEW_RULES.replace("ct zone", "ct reply zone"))

_DROP_CHAINS: Final = drop_chains("sg_ingress", "acl_ingress", "acl_egress", "no_service", "unasked")


def endpoint_table(view: VpcView, end: EndpointEnd, back: Backend) -> NftTable:
    """Return the table of a connection's namespace. Raises CompileError."""
    borders = list(_borders(view, end, back))
    arriving, leaving = ([rule for _, rule in borders[place::2] if rule] for place in (0, 1))
    chains, beginnings = _choices(end, back)
    parts = "\n".join(filter(None, (*(text for text, _ in borders), _groups(view, end), *chains)))
    identities = (block("map", identity_map(view.vni, version), [spec]) for version, spec in _IDENTITIES)
    words = {
        "IDENTITIES": "\n".join(identities),
        "AILING": AILING,
        "VPC_DROP_SETS": VPC_DROP_SETS,
        "DROP_CHAINS": _DROP_CHAINS,
        "PARTS": parts,
        "ARRIVING": _lines(arriving),
        "BEGINNINGS": _lines(beginnings),
        "RESETS": _lines(_resets(end, back)),
        "LEAVING": _lines(leaving),
        "OWN": _lines(_own(back)),
        "TRANSLATE": f'oifname "{BACK}" meta l4proto {{ tcp, udp }} snat ip to {back.address}:{PORTS}',
    }
    body = _TABLE
    for word, text in words.items():
        body = body.replace(word, text)
    return NftTable(netns=end.connection, vni=view.vni, family="inet", body="\n".join(filter(str.strip, body.splitlines())))


_IDENTITIES: Final = ((4, "type ipv4_addr : mark"), (6, "type ipv6_addr : mark"))


def _lines(rules: Sequence[str]) -> str:
    return "\n    ".join(rules)


def _borders(view: VpcView, end: EndpointEnd, back: Backend) -> Iterator[tuple[str, str]]:
    """Yield each subnet's ACL for arriving and for leaving packets, in turn, with the rule that jumps to it.

    Consumers reach the endpoint at one address per subnet. A reply has the target's address until it leaves, so its
    connection determines the subnet.
    """
    for place, (address, subnet) in enumerate(zip(end.addresses, end.subnets, strict=True)):
        for direction, far in ((Direction.INGRESS, "ip daddr"), (Direction.EGRESS, "ct original ip daddr")):
            text, rule = border(f"front{place or ''}", FRONT, subnet, acl_of(view, subnet), direction)
            yield text, f"{far} {address} {rule}" if rule and len(end.addresses) > 1 else rule
    for direction in (Direction.INGRESS, Direction.EGRESS):
        yield border("back", BACK, back.subnet, back.acl, direction)


def _own(back: Backend) -> list[str]:
    """Return the rules for connections that the namespace itself opens: to targets' ports, and nothing else."""
    ports = sorted({str(port.target_port) for port in back.ports if port.protocol == TCP})
    if not back.targets or not ports:
        return []
    return [f"{_OWN} ip daddr {{ {', '.join(back.targets)} }} tcp dport {{ {', '.join(ports)} }} accept"]


def _groups(view: VpcView, end: EndpointEnd) -> str:
    """Return the chain of the endpoint's groups with its sets; it accepts or drops packets that open a connection."""
    rules = GroupRules(view.of(SecurityGroup), view.of(PrefixList), own_numbers(view.of(Identity)))
    chain = group_chain(_GROUPS, view, rules, end.groups, Direction.INGRESS, "freely_received")
    sets = [block("set", held.name, [*held.spec.split("; "), elements(held)]) for held in chain.sets]
    return "\n".join((*sets, block("chain", chain.name, chain.rules)))


def _choices(end: EndpointEnd, back: Backend) -> tuple[list[str], list[str]]:
    """Return the chains that choose a target for each port, and the rules that go there; no targets, no connections.

    Relayed connections end in the namespace instead, where a listening program chooses the target.
    """
    if not back.targets:
        return [], []
    chains, rules = [], []
    for port in back.ports:
        name, word = f"port_{_word(port)}_{port.port}", _word(port)
        chosen = ((RELAY_ADDRESS, port.port),) if back.relays(port) else back.healthy(port)
        to = [f"meta l4proto {word} dnat ip to {address}:{number}" for address, number in chosen]
        if len(to) > 1:
            chains += [block("chain", f"{name}_{place}", [rule]) for place, rule in enumerate(to)]
            hashed = f"jhash ip saddr . {word} sport mod {len(to)} seed {SEED:#x}"
            to = [f"{hashed} {place} goto {name}_{place}" for place in range(len(to))]
        chains.append(block("chain", name, to))
        rules += [f'iifname "{FRONT}" ip daddr {address} {word} dport {port.port} goto {name}' for address in end.addresses]
    return chains, rules


def _resets(end: EndpointEnd, back: Backend) -> list[str]:
    """Return the rules that reset packets to a port of the service that belong to no known connection."""
    return [
        f'ip daddr {address} tcp dport {port.port} ct state invalid counter name "no_connection" reject with tcp reset'
        for address in end.addresses
        for port in back.ports
        if port.protocol == TCP
    ]


def _word(port: ServicePort) -> str:
    return "tcp" if port.protocol == TCP else "udp"
