"""Network ACLs: stateless filters at the borders of subnets.

An ACL is part of its VPC's structure, as a route table is: its creation, deletion and association rewrite the VPC's own record.
A change of its entries does not.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netorch.control.base import checks
from netorch.control.base.quotas import Quotas, check_growth, quotas_of
from netorch.control.base.structure import create_part, delete_part
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model import permission
from netorch.model.addr import AddressError, parse_prefix, version_of
from netorch.model.rules import Violation
from netorch.model.security import ACL_NUMBER_LAST, AclEntry, Direction, NetworkAcl, default_acl, default_acl_id
from netorch.model.vpc import Subnet, Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import in_use, invalid
from netorch.records.read import Stored, read, read_all, read_vpc
from netorch.store.base import Store


class NetworkAclInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A network ACL and the subnets that use it."""

    acl: NetworkAcl
    vpc: Vpc
    subnets: tuple[str, ...]  # ids


class EntryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of an ACL as the caller writes it."""

    number: int
    allow: bool
    protocol: str | int
    cidr: str
    ports: str | int = ""


def create_network_acl(store: Store, caller: Caller, vpc_id: str, *, name: str, tags: Tags | None = None) -> NetworkAcl:
    """Create an ACL and return it; it denies everything until it has entries.

    Raises:
      ApiError: InvalidVpcID.NotFound, NetworkAclLimitExceeded, InvalidParameterValue for a bad or taken name.
    """

    def make(vpc: Vpc, _others: list[NetworkAcl]) -> NetworkAcl:
        where = f"network ACL {name!r}"
        checked = checks.name(where, name)
        return NetworkAcl(id=caller.new_id("acl", vpc.vni), vni=vpc.vni, name=checked, tags=checks.tags(where, tags))

    return create_part(store, caller, vpc_id, NetworkAcl, name, make)


def create_default(writes: Writes, vpc: Vpc) -> NetworkAcl:
    """Add the default ACL of a new VPC, and return it."""
    acl = default_acl(default_acl_id(vpc.id), vpc.vni)
    writes.put(keys.resource(acl.id), acl)
    return acl


def delete_network_acl(store: Store, caller: Caller, acl_id: str) -> None:
    """Delete an ACL that no subnet uses.

    Raises:
      ApiError: InvalidNetworkAclID.NotFound, CannotDelete for a VPC's default ACL, DependencyViolation while subnets use it.
    """

    def decide() -> tuple[Writes, None]:
        vpc, stored = read(store, caller, NetworkAcl, acl_id)
        vni = vpc.record.vni
        if stored.record.is_default:
            raise ApiError("CannotDelete", f"network ACL {acl_id}: is its VPC's default ACL; it is deleted with the VPC")
        users = [subnet_id for subnet_id, subnet in read_all(store, Subnet, vni).items() if subnet.record.acl == acl_id]
        if users:
            raise in_use("acl", acl_id, f"subnet(s) {', '.join(users)}", "associate them with another ACL first")
        writes = Writes()
        delete_part(writes, vpc, stored)
        return writes, None

    attempt(store, decide)


def entries_of(acl: NetworkAcl, direction: Direction) -> tuple[AclEntry, ...]:
    """Return an ACL's entries of one direction, by number."""
    return acl.ingress if direction is Direction.INGRESS else acl.egress


def make_entry(where: str, request: EntryRequest) -> AclEntry:
    """Return an entry in its stored form. Raises ApiError: InvalidParameterValue."""
    if not 1 <= request.number <= ACL_NUMBER_LAST:
        raise invalid(where, f"{request.number} is not a rule number", f"choose 1 to {ACL_NUMBER_LAST}")
    protocol = permission.protocol(request.protocol)
    ports = protocol if isinstance(protocol, Violation) else permission.ports(request.ports, protocol)
    try:
        prefix = parse_prefix(request.cidr, strict=False)  # EC2 clears host bits
    except AddressError as error:
        raise invalid(where, str(error), "write e.g. 10.0.0.0/8") from None
    if isinstance(protocol, Violation) or isinstance(ports, Violation):
        violation = ports if isinstance(ports, Violation) else protocol
        assert isinstance(violation, Violation)
        raise invalid(where, violation.what, violation.fix)
    if violation_ := permission.other_family(protocol, prefix.version, request.cidr):
        raise invalid(where, violation_.what, violation_.fix)
    return AclEntry(
        number=request.number, allow=request.allow, protocol=protocol, cidr=str(prefix), from_port=ports[0], to_port=ports[1]
    )


def with_entries(acl: NetworkAcl, direction: Direction, entries: Iterable[AclEntry]) -> NetworkAcl:
    """Return an ACL with other entries in one direction."""
    ordered = tuple(sorted(entries, key=lambda entry: entry.number))
    return msgspec.structs.replace(acl, **{direction.value: ordered})


def room_for_entries(acl: NetworkAcl, quotas: Quotas, before: NetworkAcl | None) -> None:
    """Refuse an ACL with too many entries of a direction and IP version, if they are more than before.

    Raises:
      ApiError: NetworkAclEntryLimitExceeded.
    """
    where = f"network ACL {acl.name} ({acl.id})"
    for direction in Direction:
        for version in (4, 6):
            had = _count(before, direction, version) if before is not None else 0
            count, what = _count(acl, direction, version), f"{direction.value} entries of IPv{version}"
            check_growth(quotas, "NetworkAclEntryLimitExceeded", where, had, count, what)


def _count(acl: NetworkAcl, direction: Direction, version: int) -> int:
    return sum(version_of(entry.cidr) == version for entry in entries_of(acl, direction))


def create_network_acl_entry(
    store: Store, caller: Caller, acl_id: str, direction: Direction, request: EntryRequest
) -> NetworkAcl:
    """Add an entry to an ACL and return the ACL.

    Raises:
      ApiError: InvalidNetworkAclID.NotFound, NetworkAclEntryAlreadyExists, NetworkAclEntryLimitExceeded, InvalidParameterValue.
    """

    def decide() -> tuple[Writes, NetworkAcl]:
        vpc, stored = read(store, caller, NetworkAcl, acl_id)
        entries = entries_of(stored.record, direction)
        entry = make_entry(_entry_where(acl_id, direction, request.number), request)
        if any(other.number == request.number for other in entries):
            text = f"{_entry_where(acl_id, direction, request.number)}: exists already; choose another number, or replace it"
            raise ApiError("NetworkAclEntryAlreadyExists", text)
        changed = with_entries(stored.record, direction, [*entries, entry])
        room_for_entries(changed, quotas_of(store, vpc.record.owner), stored.record)
        return _rewrite(stored, changed)

    return attempt(store, decide)


def replace_network_acl_entry(
    store: Store, caller: Caller, acl_id: str, direction: Direction, request: EntryRequest
) -> NetworkAcl:
    """Replace the entry with a number in an ACL and return the ACL.

    Raises:
      ApiError: InvalidNetworkAclID.NotFound, InvalidNetworkAclEntry.NotFound, NetworkAclEntryLimitExceeded,
        InvalidParameterValue.
    """

    def decide() -> tuple[Writes, NetworkAcl]:
        vpc, stored = read(store, caller, NetworkAcl, acl_id)
        entry = make_entry(_entry_where(acl_id, direction, request.number), request)
        changed = with_entries(stored.record, direction, [*_without(stored.record, direction, request.number), entry])
        room_for_entries(changed, quotas_of(store, vpc.record.owner), stored.record)
        return _rewrite(stored, changed)

    return attempt(store, decide)


def delete_network_acl_entry(store: Store, caller: Caller, acl_id: str, direction: Direction, number: int) -> NetworkAcl:
    """Delete an entry of an ACL and return the ACL.

    Raises:
      ApiError: InvalidNetworkAclID.NotFound, InvalidNetworkAclEntry.NotFound.
    """

    def decide() -> tuple[Writes, NetworkAcl]:
        _, stored = read(store, caller, NetworkAcl, acl_id)
        return _rewrite(stored, with_entries(stored.record, direction, _without(stored.record, direction, number)))

    return attempt(store, decide)


def _without(acl: NetworkAcl, direction: Direction, number: int) -> list[AclEntry]:
    entries = entries_of(acl, direction)
    if all(entry.number != number for entry in entries):
        text = f"{_entry_where(acl.id, direction, number)}: does not exist; `netorch nacl show {acl.id}` lists the entries"
        raise ApiError("InvalidNetworkAclEntry.NotFound", text)
    return [entry for entry in entries if entry.number != number]


def _entry_where(acl_id: str, direction: Direction, number: int) -> str:
    return f"network ACL {acl_id}: {direction.value} entry {number}"


def _rewrite(stored: Stored[NetworkAcl], changed: NetworkAcl) -> tuple[Writes, NetworkAcl]:
    writes = Writes()
    writes.change(keys.resource(changed.id), stored.mod_revision, changed)
    return writes, changed


def describe_network_acls(store: Store, caller: Caller, vpc_id: str) -> list[NetworkAclInfo]:
    """Return a VPC's ACLs, the default one first, then by name. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    acls = [stored.record for stored in read_all(store, NetworkAcl, vpc.vni).values()]
    subnets = [stored.record for stored in read_all(store, Subnet, vpc.vni).values()]
    infos = []
    for acl in sorted(acls, key=lambda acl: (not acl.is_default, acl.name)):
        own = "" if acl.is_default else acl.id
        users = tuple(subnet.id for subnet in subnets if subnet.acl == own)
        infos.append(NetworkAclInfo(acl=acl, vpc=vpc, subnets=users))
    return infos


def describe_network_acl(store: Store, caller: Caller, acl_id: str) -> NetworkAclInfo:
    """Return one ACL. Raises ApiError: InvalidNetworkAclID.NotFound."""
    vpc, _ = read(store, caller, NetworkAcl, acl_id)
    return next(info for info in describe_network_acls(store, caller, vpc.record.id) if info.acl.id == acl_id)
