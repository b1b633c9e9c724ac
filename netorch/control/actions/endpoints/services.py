"""The operator's services for gateway endpoints. Customers see which services exist, but not their servers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import msgspec

from netorch.control.base import checks
from netorch.control.base.endpoints.gateway import (
    need,
    read_service,
    refuse_own_ranges,
    service_mark,
    service_prefixes,
    with_prefixes,
)
from netorch.control.base.ranges import change_pools, read_taken, refuse_services, refuse_taken, revision_of
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model.addr import parse_prefix
from netorch.model.endpoints import endpoint_rules
from netorch.model.endpoints.endpoint import BucketPolicy, GatewayService
from netorch.model.ids import vni_of
from netorch.model.security import PrefixList
from netorch.model.vpc import Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import in_use, invalid
from netorch.records.read import Stored, get, listed, read_all
from netorch.store.base import Store


class ServiceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A service, and the number of endpoints that lead to it."""

    service: GatewayService
    endpoints: int


def operator_only(caller: Caller, where: str) -> None:
    """Refuse a change by anyone but the operator. Raises ApiError: UnauthorizedOperation."""
    if not caller.operator:
        raise ApiError("UnauthorizedOperation", f"{where}: only the operator may change services; ask the operator")


def create_service(
    store: Store,
    caller: Caller,
    *,
    name: str,
    prefixes: Sequence[str],
    upstream: str,
    tls: str = "",
    hosts: Sequence[str] = (),
    tags: Tags | None = None,
) -> GatewayService:
    """Create a service and return it; VPCs reach it at any address of its prefixes, and edges at `upstream`.

    Raises:
      ApiError: UnauthorizedOperation; InvalidParameterValue for a bad or taken name, a bad value, or a prefix that overlaps
        another service's, an address pool, or the address or uplink of a host; MissingParameter without a prefix.
    """
    where = f"service {name!r}"
    operator_only(caller, where)
    need(where, endpoint_rules.service_name(name))

    def decide() -> tuple[Writes, GatewayService]:
        if store.get(keys.service(name)) is not None:
            raise invalid(where, "the name is in use", "choose another name, or modify that one")
        names = endpoint_rules.own_names(name, hosts)
        made = GatewayService(name=name, prefixes=(), upstream=upstream, tls=tls, hosts=names, tags=checks.tags(where, tags))
        _check(where, made)
        writes = Writes()
        made = msgspec.structs.replace(made, prefixes=_new_prefixes(writes, store, where, name, prefixes))
        writes.create(keys.service(name), made)
        return writes, made

    return attempt(store, decide)


def _check(where: str, service: GatewayService) -> None:
    """Refuse a service with bad values. Raises ApiError: InvalidParameterValue."""
    need(where, endpoint_rules.upstream(service.upstream))
    if service.tls:
        need(where, endpoint_rules.socket_address(service.tls))
    for host in service.hosts:
        need(where, endpoint_rules.known_name(host))


def _new_prefixes(writes: Writes, store: Store, where: str, name: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Return a service's prefixes, and add the guard of all ranges that they must not overlap. Raises ApiError."""
    found = service_prefixes(where, texts)
    pools, hosts, others = read_taken(writes, store)
    for text in found:
        prefix = parse_prefix(text)
        refuse_taken(where, prefix, pools, hosts)
        refuse_services(where, prefix, (other for other in others if other.name != name))
    return found


def modify_service(
    store: Store,
    caller: Caller,
    name: str,
    *,
    prefixes: Sequence[str] = (),
    upstream: str = "",
    tls: str | None = None,
    hosts: Sequence[str] = (),
) -> GatewayService:
    """Change a service and return it; omitted values stay. New prefixes are copied to each VPC that uses the service.

    The next call with the same prefixes completes an interrupted one.

    Raises:
      ApiError: UnauthorizedOperation, InvalidServiceName, InvalidParameterValue as in `create_service`, or for a prefix that
        overlaps a range of a VPC that uses the service.
    """
    where = f"service {name!r}"
    operator_only(caller, where)

    def decide() -> tuple[Writes, GatewayService]:
        mark = revision_of(store, service_mark(name))
        stored = read_service(store, name)
        changed = msgspec.structs.replace(
            stored.record,
            upstream=upstream or stored.record.upstream,
            tls=stored.record.tls if tls is None else tls,
            hosts=tuple(hosts) or stored.record.hosts,
        )
        _check(where, changed)
        writes = Writes()
        if prefixes:
            changed = msgspec.structs.replace(changed, prefixes=_new_prefixes(writes, store, where, name, prefixes))
            for vni in _users(store, name):
                if (vpc := get(store, keys.vpc(vni), Vpc)) is not None:
                    refuse_own_ranges(where, vpc.record, changed.prefixes)
        writes.expect(service_mark(name), mark)
        writes.change(keys.service(name), stored.mod_revision, changed)
        return writes, changed

    changed = attempt(store, decide)
    for vni in _users(store, name) if prefixes else ():
        attempt(store, partial(_renew, store, where, vni, changed))
    return changed


def _renew(store: Store, where: str, vni: int, service: GatewayService) -> tuple[Writes, None]:
    """Return the writes that update a VPC's prefix list to the service's current prefixes. Raises ApiError."""
    writes, vpc = Writes(), get(store, keys.vpc(vni), Vpc)
    if vpc is not None:
        renew_writes(writes, where, vpc, read_all(store, PrefixList, vni).values(), service)
    return writes, None


def renew_writes(
    writes: Writes, where: str, vpc: Stored[Vpc], lists: Iterable[Stored[PrefixList]], service: GatewayService
) -> PrefixList | None:
    """Add the update of a VPC's prefix list to the service's current prefixes, and return the list; None if it is current.

    Raises:
      ApiError: InvalidParameterValue for a prefix that overlaps a range of the VPC.
    """
    for stored in lists:
        renewed = with_prefixes(stored.record, service)
        if stored.record.service == service.name and renewed != stored.record:
            refuse_own_ranges(where, vpc.record, service.prefixes)
            writes.expect(keys.vpc(vpc.record.vni), vpc.mod_revision)
            writes.change(keys.resource(renewed.id), stored.mod_revision, renewed)
            return renewed
    return None


def _users(store: Store, name: str) -> list[int]:
    """Return the VNIs of the VPCs that have an endpoint of a service."""
    return sorted({vni_of(kv.key.rpartition("/")[2]) for kv in store.list(keys.service_uses(name)).kvs})


def delete_service(store: Store, caller: Caller, name: str) -> None:
    """Delete a service without endpoints and buckets.

    Raises:
      ApiError: UnauthorizedOperation, InvalidServiceName, DependencyViolation.
    """
    operator_only(caller, f"service {name!r}")

    def decide() -> tuple[Writes, None]:
        mark = revision_of(store, service_mark(name))
        stored = read_service(store, name)
        if users := store.list(keys.service_uses(stored.record.name)).kvs:
            raise in_use(
                "gwsvc", name, f"{len(users)} endpoint(s)", "their owners must delete these first: netorch endpoint list"
            )
        buckets = (found.record for found in listed(store, keys.bucket_prefix(), BucketPolicy).values())
        if held := [bucket.name for bucket in buckets if bucket.service == stored.record.name]:
            raise in_use("gwsvc", name, f"bucket(s) {', '.join(held)}", "delete their policies first")
        writes = Writes()
        change_pools(writes, partial(revision_of, store))
        writes.delete(service_mark(stored.record.name), mark)
        writes.delete(keys.service(stored.record.name), stored.mod_revision)
        return writes, None

    attempt(store, decide)


def describe_services(store: Store, caller: Caller) -> list[ServiceInfo]:
    """Return all services by name: EC2's DescribeVpcEndpointServices. Raises UnreadableRecord."""
    del caller  # every caller may list the services
    found = (stored.record for stored in listed(store, keys.service_prefix(), GatewayService).values())
    return [_info(store, service) for service in sorted(found, key=lambda one: one.name)]


def describe_service(store: Store, caller: Caller, name: str) -> ServiceInfo:
    """Return one service. Raises ApiError: InvalidServiceName."""
    del caller
    return _info(store, read_service(store, name).record)


def _info(store: Store, service: GatewayService) -> ServiceInfo:
    return ServiceInfo(service=service, endpoints=len(store.list(keys.service_uses(service.name)).kvs))
