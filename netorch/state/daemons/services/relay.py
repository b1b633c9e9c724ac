"""The relay of interface endpoints on edges: TCP connections to services whose targets want to know the consumer.

Each connection of an endpoint to a service has its own namespace. Consumers' TCP connections end there, at
`RELAY_ADDRESS`. Others lead from there to the targets, each with a header of the PROXY protocol
(edges.interface_endpoint). The relaying process is in the outside namespace and needs sockets in that namespace, but
may not open any there. So a listener includes two sockets of the namespace, from which the process makes further ones
(netorch.services.relay.mill).
"""

from __future__ import annotations

from typing import ClassVar, Final

from netorch.state.base import OUTSIDE, Key, link_key
from netorch.state.daemons.services.base import ServiceListener, ServiceObject, ServiceSocket, SocketType
from netorch.state.order import Order

RELAY_ADDRESS: Final = "192.0.0.2"  # local to the namespace, never on a wire. Source: RFC 7335 section 6
MILL: Final = ("127.0.0.1", 1)  # where the process gets sockets of the namespace; unreachable from outside of it
Target = tuple[str, int]  # address and port


class RelayListener(ServiceListener, frozen=True, kw_only=True):
    """The ports of a service at which consumers connect."""

    kind: ClassVar[str] = "relay-listener"
    order: ClassVar[int] = Order.SERVICE_LISTENER

    netns: str = OUTSIDE
    connection: str  # vpce-con-..., the label of the namespace; `ifname` is the consumer's end there
    ports: tuple[int, ...]  # of TCP, sorted

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.connection)

    @property
    def needs(self) -> Key | None:
        return link_key(self.ifname, self.connection)

    @property
    def sockets(self) -> tuple[ServiceSocket, ...]:
        """Return the two sockets of the mill, then one for each port."""
        where = self.connection
        mill = (
            ServiceSocket(SocketType.TCP, "", *MILL, netns=where),
            ServiceSocket(SocketType.STREAM, "", "", 0, netns=where),
        )
        return (*mill, *(ServiceSocket(SocketType.TCP, self.ifname, RELAY_ADDRESS, port, netns=where) for port in self.ports))

    def text(self) -> str:
        return f"relay {self.connection} dev {self.ifname} ports {','.join(map(str, self.ports))}"


class RelayTargets(ServiceObject, frozen=True, kw_only=True):
    """The targets for a connection's consumers, and the endpoint id for the PROXY header."""

    kind: ClassVar[str] = "relay-targets"
    order: ClassVar[int] = Order.SERVICE_DATA

    netns: str = OUTSIDE
    connection: str
    endpoint: str  # vpce-..., sent to targets
    ifname: str  # the provider's end in the namespace
    targets: tuple[tuple[int, tuple[Target, ...]], ...]  # by port of the service, sorted

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.connection)

    def text(self) -> str:
        to = " ".join(
            f"{port}:{','.join(f'{address}:{number}' for address, number in found) or 'nowhere'}" for port, found in self.targets
        )
        return f"relay {self.connection} of {self.endpoint} dev {self.ifname} to {to}"
