"""Interface endpoints, as the hosts of both VPCs see them.

A connection of an endpoint with a service has two ends on its edges: the endpoint's addresses in the consumer's VPC, and in the
provider's VPC the source address of the consumer's packets. Both ends are at one seat, and every host has routes to them, as to
the private addresses of a NAT gateway. Between the ends is the connection's own namespace, which belongs to the consumer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from netorch.compiler.base import Gateway, HostView, LocalTable, VpcPart, VpcView
from netorch.compiler.nat import ways_to
from netorch.model.endpoints.endpoint_service import ServicePort
from netorch.model.ids import port_name
from netorch.model.security import TCP, NetworkAcl
from netorch.model.vpc import Subnet, Vpc
from netorch.state.base import KernelObject
from netorch.state.daemons.services.relay import Target

AILING: Final = "ailing"  # set of targets that do not answer a connection; a starting agent reads it
FRONT: Final = "eth0"  # end of the consumer's cable in the namespace
BACK: Final = "eth1"  # end of the provider's cable


class EndpointEnd(msgspec.Struct, frozen=True, kw_only=True):
    """One VPC's end of a connection that edges carry."""

    connection: str  # vpce-con-..., the label of the namespace
    inside: str  # FRONT or BACK
    gateway: Gateway  # the connection's or the service's gateway, whose seats are the same
    eni: str  # gives the port its name
    mac: str  # of the end in the namespace
    addresses: tuple[str, ...]
    subnets: tuple[Subnet, ...]  # of the addresses, in the same order
    groups: tuple[str, ...] = ()  # of an endpoint

    @property
    def subnet(self) -> Subnet:
        """Return the first subnet, whose route table the end's packets use."""
        return self.subnets[0]

    @property
    def port(self) -> str:
        """Return the name of the cable's end in the overlay."""
        return port_name(self.eni)


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """The backend of an endpoint: the part of the provider's VPC that the endpoint's edges need."""

    connection: str
    endpoint: str  # vpce-...
    port: str  # the name of the provider's cable's end in the overlay
    mac: str  # of the end in the namespace
    address: str  # source address of forwarded packets
    subnet: Subnet
    acl: NetworkAcl
    ports: tuple[ServicePort, ...]
    targets: tuple[str, ...]  # addresses
    ailing: frozenset[Target] = frozenset()  # targets that do not answer this connection
    proxy_protocol: bool = False

    def relays(self, port: ServicePort) -> bool:
        """Return whether connections to a port are relayed, and so not translated."""
        return self.proxy_protocol and port.protocol == TCP

    def healthy(self, port: ServicePort) -> tuple[Target, ...]:
        """Return the targets for new connections to a port: those that answer, or all if none does, as in EC2."""
        every = tuple((address, port.target_port) for address in self.targets)
        well = tuple(target for target in every if port.protocol != TCP or target not in self.ailing)
        return well or every


def _ways(view: VpcView) -> Iterator[KernelObject]:
    """Yield the routes to the addresses of ends on other hosts."""
    for end in view.of(EndpointEnd):
        yield from ways_to(view, end.gateway, end.addresses)


ENDPOINT_WAYS: Final = VpcPart(id="overlay.endpoints", compile=_ways, inputs=frozenset({HostView, Vpc, LocalTable, EndpointEnd}))
