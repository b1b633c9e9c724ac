"""DNS names for instances on hypervisors, besides those derived from addresses (netorch.services.names.book)."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final

from netorch.compiler.base import HostView, LocalEni, Part, VpcPart, VpcView
from netorch.model.endpoints.endpoint import EndpointState, EndpointType, VpcEndpoint
from netorch.model.eni import NetworkInterface, Role, primary_eni_id
from netorch.model.mapping import PublicMapping
from netorch.model.services.private_names import DOMAIN, TTL_S, endpoint_name, public_name, resource_name
from netorch.model.services.zones import VpcZone, full_name, master_text
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.daemons.services.names import NameRecord, NameZone


def _is_asked(view: VpcView) -> bool:
    """Return whether instances of a VPC may query such names on this host."""
    return bool(view.local) and view.vpc.has_hostnames


def _instances(view: VpcView) -> Iterator[KernelObject]:
    """Yield the names of all instances of a VPC by their ids, on whichever host they are."""
    for eni in view.of(NetworkInterface) if _is_asked(view) else ():
        if eni.instance and eni.id == primary_eni_id(eni.instance):
            yield from addresses(view.vni, resource_name(eni.instance), (eni.address,), (eni.ipv6_address,))


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
    found = {eni.id: eni.address for eni in view.of(NetworkInterface)} if _is_asked(view) else {}
    for endpoint in view.of(VpcEndpoint) if found else ():
        if endpoint.type is not EndpointType.INTERFACE or endpoint.state is not EndpointState.AVAILABLE:
            continue
        values = tuple(found[eni_id] for eni_id in endpoint.interfaces if eni_id in found)
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


_ASKED: Final = frozenset({HostView, Vpc, LocalEni})


class NamesCompiler:
    """Yields names of VPCs on hypervisors."""

    name: Final = "names"
    reads: Final[frozenset[type]] = frozenset({Vpc, NetworkInterface, PublicMapping, VpcEndpoint, VpcZone})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(id="names.instances", compile=_instances, inputs=_ASKED | {NetworkInterface}, role=Role.HYPERVISOR),
        VpcPart(id="names.public", compile=_public, inputs=_ASKED | {PublicMapping}, role=Role.HYPERVISOR),
        VpcPart(id="names.endpoints", compile=_endpoints, inputs=_ASKED | {NetworkInterface, VpcEndpoint}, role=Role.HYPERVISOR),
        VpcPart(id="names.zones", compile=_zones, inputs=_ASKED | {VpcEndpoint, VpcZone}, role=Role.HYPERVISOR),
    )
