"""Explains why a packet did not arrive, or which rule let it pass: a code, a sentence, the rule's name, a command as remedy."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netorch.model.addr import parse_ip, parse_prefix
from netorch.model.eni import NetworkInterface
from netorch.model.ids import port_name
from netorch.model.packet import Packet
from netorch.model.routing.effective import effective, is_reserved, ranges_of_subnet, route_of
from netorch.model.routing.reach import learned
from netorch.model.routing.target import BLACKHOLE, LOCAL, TargetKind
from netorch.model.rule_text import traffic_text
from netorch.model.security import ACL_NUMBER_LAST, AclEntry, Direction, NetworkAcl, SecurityGroup
from netorch.model.vpc import Vpc
from netorch.state.names import inlet_name
from netorch.trace.attribute import AclSays, GroupsSay, acl_says, ask_acl, ask_groups
from netorch.trace.codes import Code
from netorch.trace.policy_index import PolicyIndex, acl_entries, group_rules
from netorch.trace.services import EPHEMERAL, name_of
from netorch.trace.way import Hop, Place, RoundTrip, Walk

_SIDE = {
    "sg_egress": Direction.EGRESS,
    "acl_egress": Direction.EGRESS,
    "sg_ingress": Direction.INGRESS,
    "acl_ingress": Direction.INGRESS,
}
_ADVICE = {
    Code.SOURCE_SPOOFED: "send from the interface's own MAC and address",
    Code.NO_ROUTE_TO_DESTINATION: "add a route, or choose an address that has one: netorch route-table list",
    Code.BAD_STATE_ROUTE: "replace the route, or restore its target: netorch route-table list",
    Code.NO_MAPPING: "see which interface has which address: netorch map list",
    Code.PCX_REQUIRES_ADDRESS_IN_VPC_CIDR: "send from the source's own interface, to an address of the peer's ranges",
    Code.CONNECTION_ALLOWANCE: "end unneeded connections, or move instances to another host",
    Code.CONNECTION_TABLE_FULL: "move instances to another host, or raise its net.netfilter.nf_conntrack_max",
    Code.INVALID_CONNECTION_STATE: "begin a new connection",
    Code.NGW_REQUIRES_SOURCE_IN_VPC: "send to an instance that has a public address: netorch address list",
    Code.EIGW_REQUIRES_SOURCE_IN_VPC: "route ::/0 of the subnet to an internet gateway, which accepts connections from outside",
    Code.VPCE_SERVES_HTTP_AND_TLS_ONLY: "choose tcp/80 or tcp/443",
    Code.VPCE_REQUIRES_SOURCE_IN_CONSUMER_VPC: "open the connection from the consumer, to its endpoint",
    Code.PCX_REQUIRES_ADDRESS_IN_MAPPED_RANGE: "see which ranges and aliases the connection has: netorch peering list",
    Code.VGW_REACHES_NO_SUCH_ADDRESS: "see what its edges reach: netorch vpn status; netorch dx vif list",
    Code.VGW_REJECTS_SPOOFED_TRAFFIC: "let the site announce the source by BGP, or add a static route: netorch vpn route add",
    Code.VGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS: "see which interface has which address: netorch map list",
    Code.PROTOCOL_RESTRICTION: "give the instance a public address, and its subnet a route to the internet gateway",
    Code.UPSTREAM_REQUIRES_ENDPOINT: "send to the service's prefixes, through a gateway endpoint: netorch endpoint create",
    Code.NO_WAY_TO_UPLINK: "choose an address behind the border router, or the address of an instance",
    Code.NOT_SERVED_THERE: "use port 53 (UDP or TCP) for DNS, or TCP port 80 for metadata",
    Code.ROUTER_ANSWERS_PINGS_ONLY: "ping it, or choose an instance",
}
# Codes whose advice lists objects of the VPC.
_LISTED = frozenset({Code.NO_ROUTE_TO_DESTINATION, Code.BAD_STATE_ROUTE, Code.NO_MAPPING})


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a packet, or its arrival. `rule` is an sgr- id or an ACL entry's number, if one decided."""

    code: Code | None
    sentence: str
    rule: str = ""
    fix: str = ""


class Across(msgspec.Struct, frozen=True, kw_only=True):
    """A peer as the destination of a packet. The pairs are for the direction of the packet and for that of the answer."""

    peer: Vpc
    connection: str
    leads: tuple[bool, bool]  # whether the route tables of their subnets lead to the active connection
    ranges: tuple[tuple[str, ...], tuple[str, ...]]  # of the other VPC, as each VPC sees it


def explain(
    index: PolicyIndex,
    vpc: Vpc,
    packet: Packet,
    found: Walk,
    name_of: dict[str, str],
    *,
    is_answer: bool = False,
    across: Across | None = None,
) -> Explanation:
    """Return the explanation of a walk's end. `name_of` has the names of interfaces for people."""
    if found.arrived:
        return Explanation(code=None, sentence=f"{packet.destination} is reached", rule=_permitted_by(index, found))
    code = found.code or Code.DROPPED
    direction = _SIDE.get(found.counter)
    eni = _refusing(index, packet, found.hops[-1], direction) if direction is not None else None
    if direction is not None and eni is not None:
        of = across.peer if across is not None and eni.vni == across.peer.vni else vpc
        at = _Place(vpc=f"{of.owner}/{of.name}", name=name_of.get(eni.id, eni.id), host=found.host)
        if code is Code.ENI_SG_RULES_MISMATCH:
            return _groups_refuse(ask_groups(index, eni, direction, packet), packet, at, index)
        words = _answer_words(packet) if is_answer else service_words(packet)
        return _acl_refuses(acl_says(index, eni.subnet, direction, packet), packet, at, words)
    if code is Code.ENI_SOURCE_DEST_CHECK_RESTRICTION:
        return _checked(index, found, name_of)
    if across is not None and code in (Code.NO_ROUTE_TO_DESTINATION, Code.BAD_STATE_ROUTE):
        return _not_across(index, vpc, packet, found, across, int(is_answer))
    if code is Code.BAD_STATE_ROUTE and (named := _black_hole(index, vpc, packet, found)) is not None:
        return named
    if code is Code.NO_ROUTE_TO_DESTINATION and packet.destination in index.holders:
        return _unmapped(packet, found, code)
    if code is Code.NO_ROUTE_TO_DESTINATION and _inside(packet.destination, (*vpc.cidrs, *vpc.ipv6_cidrs)):
        code = Code.NO_MAPPING
    return _plain(code, found, vpc)


def _plain(code: Code, found: Walk, vpc: Vpc) -> Explanation:
    """Return the code's own explanation. Its advice lists objects of `vpc`."""
    advice = _ADVICE.get(code, _drift(found.host))
    scope = f" --vpc {vpc.owner}/{vpc.name}" if code in _LISTED else ""
    return Explanation(code=code, sentence=f"on host {found.host}: {code.text} ({found.hops[-1].said})", fix=advice + scope)


def _unmapped(packet: Packet, found: Walk, code: Code) -> Explanation:
    said = found.hops[-1].said
    text = f"on host {found.host}: the records map {packet.destination}, but the host's kernel has no route to it ({said})"
    return Explanation(code=code, sentence=text, fix=_drift(found.host))


def _not_across(index: PolicyIndex, vpc: Vpc, packet: Packet, found: Walk, across: Across, way: int) -> Explanation:
    """Return why a packet found no route to a peer; `way` is 1 for the answer."""
    code = found.code or Code.DROPPED
    here, there = (across.peer, vpc) if way else (vpc, across.peer)
    if across.leads[way]:
        if packet.destination in index.holders:
            return _unmapped(packet, found, code)
        inside = _inside(packet.destination, (*there.cidrs, *there.ipv6_cidrs))
        return _plain(Code.NO_MAPPING if inside else Code.PCX_REQUIRES_ADDRESS_IN_VPC_CIDR, found, there)
    if code is Code.BAD_STATE_ROUTE:
        return _black_hole(index, here, packet, found) or _plain(code, found, here)
    cidr = next((cidr for cidr in across.ranges[way] if _inside(packet.destination, (cidr,))), "")
    sender = index.holders.get(packet.source)
    table = index.table_of(sender.subnet) if sender is not None else None
    plain = _plain(code, found, here)
    if table is None or not cidr:
        return plain
    fix = f"netorch route-table route add {here.owner}/{here.name}/{table.name} {cidr} via {across.connection}"
    return Explanation(code=code, sentence=plain.sentence, fix=fix)


def _refusing(index: PolicyIndex, packet: Packet, hop: Hop, direction: Direction) -> NetworkInterface | None:
    """Return the interface whose rules refuse a packet: an end, or an appliance on the way.

    When a packet leaves its host, only the ACL of its source address's subnet decides there (policy.borders).
    """
    at_port = at_port_of(index, hop.devices[0 if direction is Direction.EGRESS else 1])
    return at_port or index.holders.get(packet.source) or index.holders.get(packet.destination)


def at_port_of(index: PolicyIndex, port: str) -> NetworkInterface | None:
    """Return the interface with a port, including that of a NAT gateway."""
    found = (*index.interfaces.values(), *index.gateways.values())
    return next((eni for eni in found if port_name(eni.id) == port), None)


def _black_hole(index: PolicyIndex, vpc: Vpc, packet: Packet, found: Walk) -> Explanation | None:
    """Return the explanation of a packet that a route table sends to a black hole, if the records have such a route."""
    sender = at_port_of(index, found.hops[-1].devices[0])
    table = index.table_of(sender.subnet) if sender is not None else None
    if sender is None or table is None or table.vni != vpc.vni:
        return None
    everything = {*(route.target for route in table.routes), *table.propagating}
    own, propagated = ranges_of_subnet(index.subnets[sender.subnet]), learned(index.reaches, table.propagating)
    lists = index.prefix_lists
    found_routes = effective(vpc, table.routes, available=everything, lists=lists, learned=propagated, own=own)
    route = route_of(found_routes, packet.destination)
    if route is None or route.target == LOCAL:
        return None
    advice = "change the target of the route" if route.target == BLACKHOLE else "replace the route, or restore its target"
    text = f"route {route.prefix} via {route.target} of route table {table.name} leads to nothing"
    if is_reserved(route.prefix):
        advice = "choose another address"
        text = f"EC2 reserves {route.prefix}, and no route of route table {table.name} can lead there"
    fix = f"{advice}: netorch route-table show {vpc.owner}/{vpc.name}/{table.name}"
    if route.target.kind is TargetKind.VPN_GATEWAY:
        text = f"{text}: no edge reaches {packet.destination} through it"
        of = f"--vpc {vpc.owner}/{vpc.name}"
        fix = f"see which tunnels and virtual interfaces are up: netorch vpn list {of}; netorch dx vif list {of}"
    return Explanation(code=Code.BAD_STATE_ROUTE, sentence=f"on host {found.host}: {text}", fix=fix)


def _checked(index: PolicyIndex, found: Walk, name_of: dict[str, str]) -> Explanation:
    """Return the explanation of a packet that fails an interface's source/destination check."""
    hop = found.hops[-1]
    eni = next((eni for eni in index.interfaces.values() if inlet_name(eni.vni, eni.id) == hop.devices[0]), None)
    who = f"{name_of.get(eni.id, eni.id)}: " if eni is not None else ""
    sentence = f"on host {found.host}: {who}{Code.ENI_SOURCE_DEST_CHECK_RESTRICTION.text} ({hop.said})"
    fix = f"netorch eni modify {eni.id} --no-source-dest-check" if eni is not None else _drift(found.host)
    return Explanation(code=Code.ENI_SOURCE_DEST_CHECK_RESTRICTION, sentence=sentence, fix=fix)


class _Place(msgspec.Struct, frozen=True):
    """The place of a refusal: the interface's name, its VPC (owner/name, since names may repeat), and the host."""

    vpc: str
    name: str
    host: str


def _drift(host: str) -> str:
    return f"netorch drift --host {host}"


def explain_round_trip(
    index: PolicyIndex, vpc: Vpc, found: RoundTrip, name_of: dict[str, str], *, across: Across | None = None
) -> Explanation:
    """Return the explanation of the end of a packet, or of the answer to it."""
    if found.back is None or found.back.arrived:
        return explain(index, vpc, found.there.packet, found.there, name_of, across=across)
    said = explain(index, vpc, found.back.packet, found.back, name_of, is_answer=True, across=across)
    reached = found.there.hops[0].packet.destination
    return msgspec.structs.replace(said, sentence=f"{reached} is reached, but its answer is lost {said.sentence}")


def _permitted_by(index: PolicyIndex, found: Walk) -> str:
    """Return the rule that admits a packet at its receiver, or at its sender if the packet has left for the internet."""
    if not any(hop.place in (Place.POLICY, Place.FLOWTABLE) for hop in found.hops):
        return ""  # the host itself answers, or the subnet's router
    first, last = found.hops[0].packet, found.packet
    for direction, packet, end in ((Direction.INGRESS, last, last.destination), (Direction.EGRESS, first, first.source)):
        eni = index.holders.get(end)
        rule = ask_groups(index, eni, direction, packet).rule if eni is not None else None
        if rule is not None:
            return rule.id
    return ""


def _groups_refuse(said: GroupsSay, packet: Packet, at: _Place, index: PolicyIndex) -> Explanation:
    where = f"on host {at.host}"
    peer, option = _peer(said.direction, packet)
    if said.rule is not None:
        text = f"{where}: the records permit it ({said.rule.id}), but the host's chains refuse it"
        return Explanation(code=Code.ENI_SG_RULES_MISMATCH, sentence=text, rule=said.rule.id, fix=_drift(at.host))
    if not said.asked:
        text = f"{where}: {at.name} has no security group, so everything is refused"
        fix = f"netorch eni set-groups {said.eni.id} default"
        return Explanation(code=Code.ENI_SG_RULES_MISMATCH, sentence=text, fix=fix)
    names = ", ".join(group.name for group in said.asked)
    groups = f"group {names} of {at.name} has" if len(said.asked) == 1 else f"groups {names} of {at.name} have"
    preposition = "to" if said.direction is Direction.EGRESS else "from"
    text = f"{where}: {groups} no {said.direction.value} rule that permits {service_text(packet)} {preposition} {peer}"
    group, peer_words = _rule_to_add(said, peer, index)
    fix = f"netorch sg rule add {at.vpc}/{group.name} {said.direction.value} {service_words(packet)} --{option} {peer_words}"
    return Explanation(code=Code.ENI_SG_RULES_MISMATCH, sentence=text, fix=fix)


def _rule_to_add(said: GroupsSay, peer: str, index: PolicyIndex) -> tuple[SecurityGroup, str]:
    """Return the group that needs a rule, and the peer that the rule should name.

    An instance is named by one of its groups: its address may change, and similar instances may follow. If an existing
    rule names a group of the peer, that group is used. An address outside of the VPC has no group. A group of another
    VPC is named by its id.
    """
    holder = index.holders.get(peer)
    groups = index.groups_of(holder) if holder is not None else []
    for asked in said.asked:
        named = {rule.group for rule in group_rules(asked, said.direction)}
        found = next((group for group in groups if group.id in named), None)
        if found is not None:
            return asked, _group_words(found, asked)
    own = next((group for group in groups if not group.is_default), None)
    return said.asked[0], _group_words(own, said.asked[0]) if own is not None else _only(peer)


def _group_words(group: SecurityGroup, asked: SecurityGroup) -> str:
    """Return a group in the form in which another group's rule names it."""
    return f"sg-{group.name}" if group.vni == asked.vni else group.id


def _only(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _acl_refuses(said: AclSays, packet: Packet, at: _Place, words: str) -> Explanation:
    """Return the explanation of an ACL's refusal. `words` are the services that the remedy allows."""
    where = f"on host {at.host}"
    peer, _ = _peer(said.direction, packet)
    if said.acl is None or said.allows:
        text = f"{where}: the records allow it, but the host's chains deny it"
        return Explanation(code=Code.SUBNET_ACL_RESTRICTION, sentence=text, fix=_drift(at.host))
    border = "leaving" if said.direction is Direction.EGRESS else "entering"
    denied = f"network ACL {said.acl.name} denies {service_text(packet)} {border} the subnet of {at.name}"
    text = f"{where}: {denied}: entry {said.number}"
    fix = " && ".join(_commands(said.acl, said, f"{at.vpc}/{said.acl.name}", f"allow {words} --cidr {_only(peer)}"))
    return Explanation(code=Code.SUBNET_ACL_RESTRICTION, sentence=text, rule=said.number, fix=fix)


def _commands(acl: NetworkAcl, said: AclSays, name: str, wanted: str) -> list[str]:
    """Return the commands that add an entry before the denying one, or after all others if the final `*` denies.

    If no number before it is free, the entries from the denying one on move up by one, the last first. At each step,
    each packet is evaluated as before, until the wanted entry takes the free place.
    """
    entries = {entry.number: entry for entry in acl_entries(acl, said.direction)}
    rule = "netorch nacl rule {} " + f"{name} {said.direction.value} " + "{} {}"
    if said.entry is None:
        behind = max(entries, default=0) + 10
        number = behind if behind <= ACL_NUMBER_LAST else max(set(range(1, ACL_NUMBER_LAST + 1)) - entries.keys())
        return [rule.format("add", number, wanted)]
    number = next((free for free in range(said.entry.number - 1, 0, -1) if free not in entries), 0)
    if number:
        return [rule.format("add", number, wanted)]
    free = next(free for free in range(said.entry.number, ACL_NUMBER_LAST + 1) if free not in entries)
    moved = [
        rule.format("add" if number == free - 1 else "replace", number + 1, _entry_words(entries[number]))
        for number in range(free - 1, said.entry.number - 1, -1)
    ]
    return [*moved, rule.format("replace", said.entry.number, wanted)]


def _entry_words(entry: AclEntry) -> str:
    """Return an entry in command-line syntax."""
    return f"{'allow' if entry.allow else 'deny'} {traffic_text(entry)} --cidr {entry.cidr}"


def _peer(direction: Direction, packet: Packet) -> tuple[str, str]:
    return (packet.destination, "destination") if direction is Direction.EGRESS else (packet.source, "source")


def service_words(packet: Packet) -> str:
    """Return a packet's protocol and port in command-line syntax, e.g. `tcp 443`."""
    name = name_of(packet.protocol)
    if packet.has_ports:
        return f"{name} {packet.destination_port}"
    return f"{name} {packet.icmp_type}/{packet.icmp_code}" if packet.has_type else name


def _answer_words(packet: Packet) -> str:
    """Return the services that an ACL must allow for answers, whichever port the sender has chosen."""
    return f"{name_of(packet.protocol)} {EPHEMERAL[0]}-{EPHEMERAL[1]}" if packet.has_ports else service_words(packet)


def service_text(packet: Packet) -> str:
    """Return a packet's protocol and port for people, e.g. `tcp/443` or `icmp 8/0`."""
    return service_words(packet).replace(" ", "/") if packet.has_ports else service_words(packet)


def _inside(address: str, cidrs: tuple[str, ...]) -> bool:
    version, value = parse_ip(address)
    return any(parse_prefix(cidr).holds(version, value) for cidr in cidrs)


def policy_text(index: PolicyIndex, packet: Packet, direction: Direction, *, port: str = "", is_answer: bool = False) -> str:
    """Return the records' verdict on a packet, with the names of rules.

    The verdict is that at a port, which may be an appliance's, or without one at the packet's sender (EGRESS) or
    receiver (INGRESS).
    """
    eni = at_port_of(index, port) or index.holders.get(packet.source if direction is Direction.EGRESS else packet.destination)
    if eni is None:
        return f"{direction.value}: no interface has the address"
    acl = ask_acl(index, eni, direction, packet)
    border = "inside the subnet" if acl.acl is None else f"ACL {acl.acl.name} entry {acl.number}"
    if not acl.allows:
        return f"{direction.value}: {border} denies"
    if is_answer:
        return f"{direction.value}: {border}, groups permit answers"
    groups = ask_groups(index, eni, direction, packet)
    if groups.rule is None or groups.group is None:
        return f"{direction.value}: {border}, no rule of {', '.join(group.name for group in groups.asked) or 'no group'} permits"
    return f"{direction.value}: {border}, group {groups.group.name} {groups.rule.id}"


def said_at(indexes: Iterable[PolicyIndex], walks: Iterable[Walk], *, is_answer: bool = False) -> dict[tuple[str, str], str]:
    """Return the records' verdict on a packet at each port on its way, including appliances', by direction and port."""
    hops = [hop for found in walks for hop in found.hops if hop.place is Place.POLICY]
    return {
        (direction.value, port): policy_text(index, hop.packet, direction, port=port, is_answer=is_answer)
        for index in indexes
        for hop in hops
        for direction, port in zip((Direction.EGRESS, Direction.INGRESS), hop.said.split(" -> "), strict=False)
        if (eni := at_port_of(index, port)) is not None and not eni.gateway
    }
