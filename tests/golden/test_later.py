"""The ways of later packets of a connection as text: where flowtables forward them, and where rules judge each.

NETORCH_UPDATE_GOLDEN=1 rewrites the text; read the difference before committing it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from netorch.model.packet import Packet
from netorch.model.security import TCP
from netorch.trace.way import RoundTrip
from policy.evaluate import Policy
from tests.unit.policy.small import A6, ANYWHERE, B6, A, B, C, acl, allow, group, rule, tcp, udp, vpc
from tests.unit.trace.test_walk import OPEN, asked

GOLDEN: Final = Path(__file__).with_name("later.txt")
# A is on hv1 in one subnet, B on hv2 in the same, C on hv1 in another.
SENDS, TAKES = group(1, []), group(2, [rule(1, "10.0.0.0/16"), rule(2, "2001:db8::/32")], [])
ACL: Final = acl(9, [allow(100, ANYWHERE, TCP, 443, 443)], [allow(100, ANYWHERE, TCP, 1024, 65535)])
TRACKED: Final = vpc(SENDS, TAKES, a=[1], b=[2], c=[2])
CASES: Final[dict[str, tuple[Policy, Packet]]] = {
    "tracked, between hosts": (TRACKED, tcp(A, B)),
    "IPv6": (TRACKED, udp(A6, B6)),
    "on one host": (TRACKED, tcp(A, C)),
    "untracked": (vpc(OPEN, a=[1], b=[1]), tcp(A, B)),
    "behind an ACL that allows both directions": (vpc(SENDS, TAKES, a=[1], c=[2], acls=[ACL], back_acl=ACL.id), tcp(A, C)),
}


def text_of(trip: RoundTrip) -> str:
    """Return the way of later packets, a line for each hop."""
    if trip.later is None:
        return "none"
    return "\n".join(f"{hop.host} {hop.place.value:9} {hop.said}" for hop in trip.later.hops)


def numbered(text: str) -> str:
    """Return the text with numbers in the names of flowtables, one for each: their hashes change with any of their reasons."""
    names: dict[str, str] = {}
    return re.sub(
        r"\b(flows-[0-9a-f]{6})-[0-9a-f]{16}\b", lambda found: names.setdefault(found[0], f"{found[1]}-#{len(names) + 1}"), text
    )


def test_the_ways_of_later_packets_are_as_written() -> None:
    text = numbered("".join(f"=== {name} ===\n{text_of(asked(*case))}\n" for name, case in CASES.items()))
    if os.environ.get("NETORCH_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
