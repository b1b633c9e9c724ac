"""DNS names for instances on hypervisors, besides those derived from addresses (netorch.services.names.book)."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final

import msgspec

from netorch.compiler.base import HostView, LocalTable, MappingPart, Part, VpcPart, VpcView
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.eni import NetworkInterface, Role
from netorch.model.mapping import Mapping, PublicMapping
from netorch.model.services.private_names import DOMAIN, TTL_S, endpoint_name, public_name, resource_name
from netorch.model.services.zones import VpcZone, full_name, master_text
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.daemons.services.names import NameRecord, NameZone


class EndpointNames(msgspec.Struct, frozen=True, kw_only=True):
    """An interface endpoint that is available, and the addresses that its names lead to."""

    endpoint: VpcEndpoint
    addresses: tuple[str, ...]


def _is_asked(view: VpcView) -> bool:
    """Return whether instances of a VPC may query such names on this host: one of its route tables is in use here."""
    return view.vpc.has_hostnames and any(table.id for table in view.of(LocalTable))


def _instances(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield the name of an instance by its id, on whichever host it is."""
    instance, address = view.named.get(mapping.address), mapping.address
    if instance is not None and _is_asked(view):
        yield from addresses(view.vni, resource_name(instance), *(((), (address,)) if ":" in address else ((address,),)))


def _public(view: VpcView) -> Iterator[KernelObject]:
    """Yield the names of a VPC's public addresses. They resolve to private addresses, so packets stay inside."""
    for mapping in view.of(PublicMapping) if _is_asked(view) else ():
        yield from addresses(view.vni, public_name(mapping.address), (mapping.private_address,))


def _zones(view: VpcView) -> Iterator[KernelObject]:
    """Yield the private zones associated with a VPC. The longest domain above a name counts, as in Route 53."""
    zones = view.of(VpcZone) if _is_asked(view) else ()
    private = (endpoint.private_dns_name for endpoint in view.of(VpcEndpoint) if endpoint.is_named)
    domains = {DOMAIN, *private, *(zone.domain for zone in zones)}
    for zone in zones:
        yield NameZone(vni=view.vni, origin=zone.domain)
        for record in zone.records:
            name = full_name(record, zone.domain)
            if _domain_above(name, domains) == zone.domain:
                values = tuple(master_text(record))
                yield NameRecord(vni=view.vni, name=name, type=record.type.value, ttl=record.ttl, values=values)


def _endpoints(view: VpcView) -> Iterator[KernelObject]:
    """Yield the names of a VPC's available interface endpoints. They resolve to the endpoints' addresses in the VPC."""
    for named in view.of(EndpointNames) if _is_asked(view) else ():
        endpoint, values = named.endpoint, named.addresses
        yield from addresses(view.vni, endpoint_name(endpoint.id, endpoint.service), values)
        if endpoint.is_named:
            yield NameZone(vni=view.vni, origin=endpoint.private_dns_name)
            yield from addresses(view.vni, endpoint.private_dns_name, values)


def _domain_above(name: str, domains: Set[str]) -> str:
    """Return the longest of some domains that contains a name."""
    labels = name.split(".")
    return next(above for first in range(len(labels)) if (above := ".".join(labels[first:])) in domains)


def addresses(vni: int, name: str, ipv4: tuple[str, ...], ipv6: tuple[str, ...] = ()) -> Iterator[NameRecord]:
    """Yield the A and AAAA records of a name, as far as there are addresses."""
    for rdtype, found in (("A", ipv4), ("AAAA", ipv6)):
        if values := tuple(sorted(filter(None, found))):
            yield NameRecord(vni=vni, name=name, type=rdtype, ttl=TTL_S, values=values)


_ASKED: Final = frozenset({HostView, Vpc, LocalTable})  # not LocalEni: an instance more or less here changes no name


class NamesCompiler:
    """Yields names of VPCs on hypervisors."""

    name: Final = "names"
    reads: Final[frozenset[type]] = frozenset({Vpc, NetworkInterface, PublicMapping, VpcEndpoint, VpcZone})
    parts: Final[tuple[Part, ...]] = (
        MappingPart(id="names.instances", compile=_instances, inputs=_ASKED, role=Role.HYPERVISOR),
        VpcPart(id="names.public", compile=_public, inputs=_ASKED | {PublicMapping}, role=Role.HYPERVISOR),
        VpcPart(id="names.endpoints", compile=_endpoints, inputs=_ASKED | {EndpointNames}, role=Role.HYPERVISOR),
        VpcPart(id="names.zones", compile=_zones, inputs=_ASKED | {VpcEndpoint, VpcZone}, role=Role.HYPERVISOR),
    )
