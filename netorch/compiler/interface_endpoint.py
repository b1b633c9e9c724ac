"""Interface endpoints, as the hosts of both VPCs see them.

A connection of an endpoint with a service has two ends on its edges: in the consumer's VPC the addresses of the endpoint, in the
provider's that in whose name the consumer's packets come. Both are at one seat, and every host has ways there, as it has to the
private addresses of a NAT gateway. Between them is the connection's own namespace, which is the consumer's.
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

AILING: Final = "ailing"  # the set of targets that do not answer a connection; by it an agent that starts knows them
FRONT: Final = "eth0"  # the end of the consumer's cable in the namespace
BACK: Final = "eth1"  # that of the provider's


class EndpointEnd(msgspec.Struct, frozen=True, kw_only=True):
    """One VPC's end of a connection that edges carry."""

    connection: str  # vpce-con-..., the label of the namespace
    inside: str  # FRONT or BACK
    gateway: Gateway  # where it is: the connection's seats, or the service's, which are the same
    eni: str  # that the port has its name from
    mac: str  # of the end in the namespace
    addresses: tuple[str, ...]
    subnets: tuple[Subnet, ...]  # of the addresses, in the same order
    groups: tuple[str, ...] = ()  # of an endpoint

    @property
    def subnet(self) -> Subnet:
        """Return the first one, by whose route table its packets go."""
        return self.subnets[0]

    @property
    def port(self) -> str:
        """Return the name of the end of its cable in the overlay."""
        return port_name(self.eni)


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """What is behind an endpoint: what its edges need to know of the provider's VPC."""

    connection: str
    endpoint: str  # vpce-...
    port: str  # the name of the end of the provider's cable in the overlay
    mac: str  # of the end in the namespace
    address: str  # in whose name packets come
    subnet: Subnet
    acl: NetworkAcl
    ports: tuple[ServicePort, ...]
    targets: tuple[str, ...]  # addresses
    ailing: frozenset[Target] = frozenset()  # those that do not answer this connection
    proxy_protocol: bool = False

    def relays(self, port: ServicePort) -> bool:
        """Return whether connections with a port are relayed, and so not translated."""
        return self.proxy_protocol and port.protocol == TCP

    def healthy(self, port: ServicePort) -> tuple[Target, ...]:
        """Return the targets that new connections with a port go to: those that answer, or all if none does, as in EC2."""
        every = tuple((address, port.target_port) for address in self.targets)
        well = tuple(target for target in every if port.protocol != TCP or target not in self.ailing)
        return well or every


def _ways(view: VpcView) -> Iterator[KernelObject]:
    """Yield the ways to the addresses of ends that are on another host."""
    for end in view.of(EndpointEnd):
        yield from ways_to(view, end.gateway, end.addresses)


ENDPOINT_WAYS: Final = VpcPart(id="overlay.endpoints", compile=_ways, inputs=frozenset({HostView, Vpc, LocalTable, EndpointEnd}))
