"""The ways of packets through compiled chains that end in a flowtable, whatever each reading of a packet's state finds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from policy.skeleton import AGREED, OVERLAY_INET, SENT

Chains = Mapping[str, tuple[str, ...]]
_SKELETON: Final = {
    name: tuple(body.split("\n    ")) for name, body in re.findall(r"^chain (\S+) \{\n    (.*?)\n\}", OVERLAY_INET, re.M | re.S)
}
_MARK: Final = re.compile(r"meta mark (set )?(?:(!=) |& (\w+) != )?(0x\w+)(?= |$)")
_INSIDE: Final = re.compile(r"ip6? [sd]addr \S+( meta mark set \S+)? return")  # of `answers-...`: for packets within the subnet
_VERDICT: Final = re.compile(r"(accept|drop|return|goto|jump)(?: (\S+))?$")


class Way(msgspec.Struct, frozen=True):
    """A way to `flow add`: the subnets of the sender and of a receiver on this host, as in chains' names."""

    sender: str
    receiver: str
    agreed: frozenset[str]  # the chains `answers-...` that agreed


class _Packet(msgspec.Struct, frozen=True):
    mark: int
    agreed: frozenset[str] = frozenset()


def ways_to_add(chains: Chains) -> set[Way]:
    """Return the ways of packets that leave a subnet, to another host or to any other border of this one.

    Marks are followed. All other matches may say yes or no, a different one each time, except that the packet crosses the border.
    """
    known, found = {**_SKELETON, **chains}, set()
    for border in (name for name in chains if name.startswith("border-") and name.endswith("-egress")):
        sender = border.split("-")[2]
        passed: set[_Packet] = set()
        for packet, adds in _enter(known, border, _Packet(0)):
            if adds:
                found.add(Way(sender, "", packet.agreed))
            else:
                passed.add(packet)
        for packet in passed:
            if packet.mark not in (int(SENT, 16), int(AGREED, 16)):
                continue
            mark = packet.mark if packet.mark == int(AGREED, 16) else 0
            for receiver in (name for name in chains if name.startswith("border-") and name.endswith("-ingress")):
                for last, adds in _enter(known, receiver, _Packet(mark, packet.agreed)):
                    if adds:
                        found.add(Way(sender, receiver.split("-")[2], last.agreed))
    return found


def _enter(chains: Chains, name: str, packet: _Packet) -> Iterator[tuple[_Packet, bool]]:
    """Yield the packets with which a chain adds a flow (True) or returns (False); not those that it accepts or drops."""
    if name.startswith("drop_"):
        return
    yield from _run(chains, name, 0, packet)


def _run(chains: Chains, name: str, place: int, packet: _Packet) -> Iterator[tuple[_Packet, bool]]:
    if place == len(chains[name]):
        yield packet, False
        return
    rule = chains[name][place]
    crosses = re.search(r"addr != ", rule) is not None
    changed, matched = _marked(rule, packet)
    if name.startswith("answers-") and _INSIDE.fullmatch(rule):
        matched = False
    undecided = _MARK.sub("", _VERDICT.sub("", rule)).replace("flow add", "").strip() != ""
    if not matched or (undecided and not crosses):
        yield from _run(chains, name, place + 1, packet)
    if not matched:
        return
    if "flow add" in rule:
        yield changed, True
        return
    verdict = _VERDICT.search(rule)
    word, target = verdict.groups() if verdict else ("", "")
    if word == "return":
        agreed = {name} if rule != "return" and name.startswith("answers-") else set()
        yield _Packet(changed.mark, changed.agreed | agreed), False
    elif word == "goto":
        yield from _enter(chains, target, changed)
    elif word == "jump":
        for each, adds in set(_enter(chains, target, changed)):
            if adds:
                yield each, True
            else:
                yield from _run(chains, name, place + 1, each)
    elif not word:
        yield from _run(chains, name, place + 1, changed)


def _marked(rule: str, packet: _Packet) -> tuple[_Packet, bool]:
    """Return the packet with the mark that the rule sets, and whether its matches of the mark agree."""
    mark = packet.mark
    for sets, unequal, mask, value in _MARK.findall(rule):
        number = int(value, 16)
        if sets:
            mark = number
        elif mask:
            if mark & int(mask, 16) == number:
                return packet, False
        elif (mark != number) is not (unequal == "!="):
            return packet, False
    return _Packet(mark, packet.agreed), True
