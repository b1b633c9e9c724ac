"""Why a packet did not arrive, or what let it through: a code, a sentence, the rule's own name, the command that mends it."""

from __future__ import annotations

import msgspec

from netorch.model.addr import parse_ip, parse_prefix
from netorch.model.packet import Packet
from netorch.model.security import Way
from netorch.model.vpc import Vpc
from netorch.trace.attribute import AclSays, GroupsSay, ask_acl, ask_groups
from netorch.trace.codes import Code
from netorch.trace.rulebook import Rulebook
from netorch.trace.services import EPHEMERAL, name_of
from netorch.trace.walk import RoundTrip, Walk

_SIDE = {"sg_egress": Way.EGRESS, "acl_egress": Way.EGRESS, "sg_ingress": Way.INGRESS, "acl_ingress": Way.INGRESS}
_ADVICE = {
    Code.SOURCE_SPOOFED: "send from the interface's own MAC and address",
    Code.NO_ROUTE_TO_DESTINATION: "choose an address inside the VPC: netorch route-table list",
    Code.NO_MAPPING: "look who has which address: netorch map list",
    Code.CONNECTION_ALLOWANCE: "end connections that are not needed, or move instances to another host",
    Code.CONNECTION_TABLE_FULL: "move instances to another host, or raise its net.netfilter.nf_conntrack_max",
    Code.INVALID_CONNECTION_STATE: "begin a new connection",
    Code.ROUTER_ANSWERS_PINGS_ONLY: "ping it, or choose an instance",
}


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What ended a packet, or that nothing did. `rule` is an sgr- id or an ACL entry's number, where one decided."""

    code: Code | None
    sentence: str
    rule: str = ""
    fix: str = ""


def explain(
    book: Rulebook, vpc: Vpc, packet: Packet, found: Walk, name_of: dict[str, str], *, is_answer: bool = False
) -> Explanation:
    """Return why a walk ended as it did. `name_of` gives interfaces the names that people know."""
    if found.arrived:
        return Explanation(code=None, sentence=f"{packet.destination} is reached", rule=_permitted_by(book, packet))
    code = found.code or Code.DROPPED
    where = f"on host {found.host}"
    way = _SIDE.get(found.counter)
    eni = book.holders.get(packet.source if way is Way.EGRESS else packet.destination)
    if way is not None and eni is not None:
        name = name_of.get(eni.id, eni.id)
        if code is Code.ENI_SG_RULES_MISMATCH:
            return _groups_refuse(ask_groups(book, eni, way, packet), packet, vpc.name, name, where)
        words = _answer_words(packet) if is_answer else service_words(packet)
        return _acl_refuses(ask_acl(book, eni, way, packet), packet, vpc.name, name, where, words)
    if code is Code.NO_ROUTE_TO_DESTINATION and _inside(packet.destination, (*vpc.cidrs, *vpc.ipv6_cidrs)):
        code = Code.NO_MAPPING
    said = found.hops[-1].said
    return Explanation(code=code, sentence=f"{where}: {code.text} ({said})", fix=_ADVICE.get(code, "netorch drift"))


def explain_round_trip(book: Rulebook, vpc: Vpc, packet: Packet, found: RoundTrip, name_of: dict[str, str]) -> Explanation:
    """Return why a packet, or the answer to it, ended as it did."""
    if found.back is None or found.back.arrived:
        return explain(book, vpc, packet, found.there, name_of)
    said = explain(book, vpc, packet.answer(), found.back, name_of, is_answer=True)
    return msgspec.structs.replace(said, sentence=f"{packet.destination} is reached, but its answer dies {said.sentence}")


def _permitted_by(book: Rulebook, packet: Packet) -> str:
    receiver = book.holders.get(packet.destination)
    rule = ask_groups(book, receiver, Way.INGRESS, packet).rule if receiver is not None else None
    return rule.id if rule is not None else ""


def _groups_refuse(said: GroupsSay, packet: Packet, vpc: str, name: str, where: str) -> Explanation:
    peer, option = _peer(said.way, packet)
    if said.rule is not None:
        text = f"{where}: the records permit it ({said.rule.id}), but the host's chains refuse it"
        return Explanation(code=Code.ENI_SG_RULES_MISMATCH, sentence=text, rule=said.rule.id, fix="netorch drift")
    if not said.asked:
        text = f"{where}: {name} has no security group, so everything is refused"
        return Explanation(code=Code.ENI_SG_RULES_MISMATCH, sentence=text, fix=f"give {name} a group: netorch eni show {name}")
    names = ", ".join(group.name for group in said.asked)
    groups = f"group {names} of {name} has" if len(said.asked) == 1 else f"groups {names} of {name} have"
    preposition = "to" if said.way is Way.EGRESS else "from"
    text = f"{where}: {groups} no {said.way.value} rule that permits {service_text(packet)} {preposition} {peer}"
    host = f"{peer}/{128 if packet.version == 6 else 32}"
    fix = f"netorch sg rule add {vpc}/{said.asked[0].name} {said.way.value} {service_words(packet)} --{option} {host}"
    return Explanation(code=Code.ENI_SG_RULES_MISMATCH, sentence=text, fix=fix)


def _acl_refuses(said: AclSays, packet: Packet, vpc: str, name: str, where: str, words: str) -> Explanation:
    """Return the explanation of an ACL's refusal; `words` are the services that the fix allows."""
    peer, _ = _peer(said.way, packet)
    if said.acl is None or said.allows:
        text = f"{where}: the records allow it, but the host's chains deny it"
        return Explanation(code=Code.SUBNET_ACL_RESTRICTION, sentence=text, fix="netorch drift")
    border = "leaving" if said.way is Way.EGRESS else "entering"
    text = (
        f"{where}: network ACL {said.acl.name} denies {service_text(packet)} {border} the subnet of {name}: entry {said.number}"
    )
    host = f"{peer}/{128 if packet.version == 6 else 32}"
    number = _free_number(said)
    fix = f"netorch nacl rule add {vpc}/{said.acl.name} {said.way.value} {number} allow {words} --cidr {host}"
    return Explanation(code=Code.SUBNET_ACL_RESTRICTION, sentence=text, rule=said.number, fix=fix)


def _free_number(said: AclSays) -> int:
    """Return a number in front of the entry that denies, or behind all others if it is the last word that does."""
    assert said.acl is not None
    entries = said.acl.egress if said.way is Way.EGRESS else said.acl.ingress
    used = {entry.number for entry in entries}
    if said.entry is None:
        return max(used, default=0) + 10
    return next((number for number in range(said.entry.number - 1, 0, -1) if number not in used), said.entry.number)


def _peer(way: Way, packet: Packet) -> tuple[str, str]:
    return (packet.destination, "destination") if way is Way.EGRESS else (packet.source, "source")


def service_words(packet: Packet) -> str:
    """Return a packet's protocol and port as the command line takes them, e.g. `tcp 443`."""
    name = name_of(packet.protocol)
    if packet.has_ports:
        return f"{name} {packet.destination_port}"
    return f"{name} {packet.icmp_type}/{packet.icmp_code}" if packet.has_type else name


def _answer_words(packet: Packet) -> str:
    """Return the services that an ACL must let back, whichever port the one who asks has chosen."""
    return f"{name_of(packet.protocol)} {EPHEMERAL[0]}-{EPHEMERAL[1]}" if packet.has_ports else service_words(packet)


def service_text(packet: Packet) -> str:
    """Return a packet's protocol and port for people, e.g. `tcp/443` or `icmp 8/0`."""
    return service_words(packet).replace(" ", "/") if packet.has_ports else service_words(packet)


def _inside(address: str, cidrs: tuple[str, ...]) -> bool:
    version, value = parse_ip(address)
    return any(parse_prefix(cidr).holds(version, value) for cidr in cidrs)


def policy_text(book: Rulebook, packet: Packet, way: Way, *, is_answer: bool = False) -> str:
    """Return what the records say of a packet at its sender (EGRESS) or receiver (INGRESS), by the names of rules."""
    eni = book.holders.get(packet.source if way is Way.EGRESS else packet.destination)
    if eni is None:
        return f"{way.value}: nobody has the address"
    acl = ask_acl(book, eni, way, packet)
    border = "inside the subnet" if acl.acl is None else f"ACL {acl.acl.name} entry {acl.number}"
    if not acl.allows:
        return f"{way.value}: {border} denies"
    if is_answer:
        return f"{way.value}: {border}, groups let answers pass"
    groups = ask_groups(book, eni, way, packet)
    if groups.rule is None or groups.group is None:
        return f"{way.value}: {border}, no rule of {', '.join(group.name for group in groups.asked) or 'no group'} permits"
    return f"{way.value}: {border}, group {groups.group.name} {groups.rule.id}"
