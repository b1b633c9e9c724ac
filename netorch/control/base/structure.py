"""What a VPC consists of: subnets, route tables, security groups, network ACLs and prefix lists.

The creation of a part rewrites the VPC's own record. So do deletions and associations of the parts that subnets refer to. If
two such changes happen at the same time, one fails and is decided again.
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
    """A part of a VPC that has its own name."""

    @property
    def id(self) -> str:
        """The id, which contains the VPC's VNI."""
        ...

    @property
    def name(self) -> str:
        """The name, unique in the VPC among parts of its kind."""
        ...


P = TypeVar("P", bound=Part)


def create_part(store: Store, caller: Caller, vpc_id: str, of: type[P], name: str, make: Callable[[Vpc, list[P]], P]) -> P:
    """Create a part of a VPC and return it, as `make` returns it from the VPC and the other parts of its kind.

    Raises:
      ApiError: InvalidVpcID.NotFound, the kind's LimitExceeded, its code for a taken name; what `make` raises.
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
    """Add the deletion of a part that nothing refers to."""
    guard_structure(writes, vpc)
    writes.delete(keys.resource(part.record.id), part.mod_revision)
    drop_name(writes, vpc.record, part.record)
