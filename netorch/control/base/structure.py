"""What a VPC is made of: subnets, route tables, security groups, network ACLs and prefix lists.

Whatever makes one of them rewrites the VPC's own record. So does the deletion and the association of those that subnets refer to.
Of two such changes at the same time one fails, and decides again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from netorch.control.base.named import add_name, drop_name
from netorch.control.base.quotas import check_room, quotas_of
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name
from netorch.records.kinds import kind_of
from netorch.records.read import Stored, read_all, read_vpc
from netorch.store.base import Store


class Part(Protocol):
    """Something that a VPC has under a name of its own."""

    @property
    def id(self) -> str:
        """The id, which says of which VPC it is."""
        ...

    @property
    def name(self) -> str:
        """The name, which no other one of its kind has in the VPC."""
        ...


P = TypeVar("P", bound=Part)


def create_part(store: Store, caller: Caller, vpc_id: str, of: type[P], name: str, make: Callable[[Vpc, list[P]], P]) -> P:
    """Return a new part of a VPC, as `make` gives it beside the others of its kind.

    Raises:
      ApiError: InvalidVpcID.NotFound, the kind's LimitExceeded, its code for a name that is taken; what `make` raises.
    """
    kind = kind_of(of)

    def decide() -> tuple[Writes, P]:
        stored = read_vpc(store, caller, vpc_id)
        vpc = stored.record
        others = [other.record for other in read_all(store, of, vpc.vni).values()]
        check_room(quotas_of(store, vpc.owner), kind.limit, f"VPC {vpc_id}", len(others) + 1)
        if any(other.name == name for other in others):
            raise duplicate_name(kind.prefix, name, "the VPC")
        made = make(vpc, others)
        writes = Writes()
        guard_structure(writes, stored)
        writes.create(keys.resource(made.id), made)
        add_name(writes, vpc, made)
        return writes, made

    return attempt(store, decide)


def delete_part(writes: Writes, vpc: Stored[Vpc], part: Stored[P]) -> None:
    """Add the deletion of a part to which nothing refers."""
    guard_structure(writes, vpc)
    writes.delete(keys.resource(part.record.id), part.mod_revision)
    drop_name(writes, vpc.record, part.record)
