"""Scripts: the records of a VPC on two hosts, and a sequence of steps there. Drawn at random, or stored as YAML.

The interfaces have fixed places, so that any two scripts can be played on the same hosts one after the other.
tests/policy_cases holds the scripts that are always played: cases that once ended differently, and hard ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from netorch.model.eni import NetworkInterface
from netorch.model.ids import make_id
from netorch.model.packet import ACK, ERRORS, SYN, Packet
from netorch.model.security import ICMP, ICMPV6, TCP, NetworkAcl, PrefixList, SecurityGroup, default_acl
from policy.evaluate import Policy
from tests.property.policy_strategies import PolicyCase, interface_at, packets, policies, subnets_of

CASES = Path(__file__).parent.parent / "policy_cases"
CHANGEABLE = ("memberships", "groups", "acls", "subnet_acls", "prefix_lists")
PLACES = ("hv1", "hv1", "hv2", "hv2", "hv1")  # two places can share a subnet or not, and a host or not


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step: a packet is sent, or records are replaced; records that a step omits stay."""

    send: Packet | None = None
    by: int | None = None  # place of the interface (without source/destination check) that sends the packet in another's name
    cut: bool = False  # send the packet in fragments, which changes nothing
    memberships: tuple[tuple[str, ...], ...] | None = None
    groups: tuple[SecurityGroup, ...] | None = None
    acls: tuple[NetworkAcl, ...] | None = None
    subnet_acls: tuple[str, str] | None = None
    prefix_lists: tuple[PrefixList, ...] | None = None
    ends: str = ""  # the end of the packet: `arrives` or the counter of its drop; empty: as the oracle says


class Script(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A VPC, and the steps played on it."""

    vni: int
    title: str = ""
    memberships: tuple[tuple[str, ...], ...]  # the groups of the interfaces, by place
    groups: tuple[SecurityGroup, ...] = ()
    acls: tuple[NetworkAcl, ...] = ()  # besides the default ACL
    subnet_acls: tuple[str, str] = ("", "")
    prefix_lists: tuple[PrefixList, ...] = ()
    unchecked: tuple[int, ...] = ()  # places of the interfaces without source/destination check
    steps: tuple[Step, ...]

    @property
    def policy(self) -> Policy:
        """Return the records in force at the beginning."""
        return Policy(
            subnets=subnets_of(self.vni, *self.subnet_acls),
            interfaces=tuple(
                interface_at(place, held, self.vni, checked=place not in self.unchecked)
                for place, held in enumerate(self.memberships)
            ),
            groups=self.groups,
            acls=(default_acl(make_id("acl", self.vni, 1), self.vni), *self.acls),
            prefix_lists=self.prefix_lists,
        )

    @property
    def case(self) -> PolicyCase:
        """Return the VPC on its hosts."""
        policy = self.policy
        return PolicyCase(policy=policy, homes=dict(zip((eni.id for eni in policy.interfaces), PLACES, strict=False)))

    def sender_of(self, step: Step) -> NetworkInterface | None:
        """Return the interface that sends a step's packet in the name of another, or None."""
        return self.policy.interfaces[step.by] if step.by is not None else None

    def changed(self, step: Step) -> Script:
        """Return the script with the records that a step replaces."""
        given = {name: found for name in CHANGEABLE if (found := getattr(step, name)) is not None}
        return msgspec.structs.replace(self, **given)

    def text(self) -> str:
        """Return the script as stored text."""
        return msgspec.yaml.encode(self).decode()


@cache
def stored_scripts() -> dict[str, Script]:
    """Return the stored scripts by file name."""
    return {path.stem: msgspec.yaml.decode(path.read_bytes(), type=Script) for path in sorted(CASES.glob("*.yaml"))}


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Packets of a few connections in any order, with changes of the records between them."""
    policy = draw(policies(5))
    begun = draw(st.lists(packets(policy), min_size=1, max_size=6, unique_by=_ends))
    unchecked = tuple(place for place, eni in enumerate(policy.interfaces) if not eni.source_dest_check)
    steps = []
    for _ in range(draw(st.integers(2, 24))):
        packet = draw(st.sampled_from(list(packets_of(draw(st.sampled_from(begun))))))
        by = draw(st.sampled_from((None, None, *unchecked)))
        others = by is not None and not {packet.source, packet.destination} & set(policy.interfaces[by].addresses)
        steps.append(Step(send=packet, by=by if others else None, cut=draw(st.booleans())))
    for _ in range(draw(st.integers(0, 2))):
        steps.insert(draw(st.integers(1, len(steps))), draw(changes()))
    return Script(vni=policy.subnets[0].vni, **_records_of(policy), unchecked=unchecked, steps=tuple(steps))


@st.composite
def changes(draw: st.DrawFn) -> Step:
    """Some records of the VPC, replaced by those of another."""
    records = _records_of(draw(policies(5)))
    some = draw(st.lists(st.sampled_from(CHANGEABLE), min_size=1, unique=True))
    return Step(**{name: records[name] for name in some})


def _records_of(policy: Policy) -> dict[str, Any]:
    front, back = policy.subnets
    return {
        "memberships": tuple(eni.groups for eni in policy.interfaces),
        "groups": policy.groups,
        "acls": policy.acls[1:],
        "subnet_acls": (front.acl, back.acl),
        "prefix_lists": policy.prefix_lists,
    }


def packets_of(first: Packet) -> Iterator[Packet]:
    """Yield packets of a connection: the first, an answer, more both ways, a SYN of the other end, ICMP errors."""
    yield first
    yield first.answer()
    if first.protocol == TCP:
        yield msgspec.structs.replace(first, flags=ACK)
        yield from (msgspec.structs.replace(first.answer(), flags=flags) for flags in (ACK, SYN))
    icmp = ICMP if first.version == 4 else ICMPV6
    for quoted in (first, first.answer()):
        kind = max(ERRORS[first.version])
        yield Packet(
            source=quoted.destination, destination=quoted.source, protocol=icmp, icmp_type=kind, icmp_code=1, quoted=quoted
        )


def _ends(packet: Packet) -> object:
    """Return the key of a connection, distinct within a script, so that no connection begins as the answer of another."""
    if packet.has_type:
        return packet
    ends = sorted([(packet.source, packet.source_port), (packet.destination, packet.destination_port)])
    return packet.protocol, *ends
