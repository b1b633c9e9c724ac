"""Which routes a customer may make: EC2's rules for a destination and its target, the same for a file and for a command."""

from __future__ import annotations

from collections.abc import Collection

from netorch.model.addr import Prefix
from netorch.model.routing.effective import RESERVED, is_reserved
from netorch.model.routing.target import REPLACES_LOCAL, TargetKind
from netorch.model.rules import Flaw

_INSTEAD = "an interface (eni) or a NAT gateway"


def flaw_of(destination: Prefix, kind: TargetKind, ranges: Collection[Prefix], subnets: Collection[Prefix] | None) -> Flaw | None:
    """Return why a route to a destination cannot be made, nothing when it can.

    `ranges` are the VPC's own, `subnets` those of its subnets; None when they are not known.
    """
    if is_reserved(destination):
        block = next(block for block in RESERVED if block.contains(destination))
        return Flaw(f"{destination} is inside {block}, which EC2 keeps for its services", "choose another destination")
    inside = next((own for own in ranges if own.contains(destination)), None)
    if kind is TargetKind.LOCAL:
        if destination == inside:
            return None
        return Flaw(f"{destination} is not a range of the VPC, and only those are local", "choose another target")
    if inside is None:
        return None
    if kind not in REPLACES_LOCAL:
        what = "is" if destination == inside else "is more specific than"
        return Flaw(f"{destination} {what} {inside}, a range of the VPC itself", f"let the route lead to {_INSTEAD}")
    if destination != inside and subnets is not None and destination not in subnets:
        what = f"{destination} is more specific than the VPC's {inside}, and is not the whole range of one of its subnets"
        return Flaw(what, "write the range of a subnet, all of it")
    return None
