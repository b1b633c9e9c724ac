"""What answers instances' questions for names (DNS, RFC 1035): where, and by which facts of each VPC."""

from __future__ import annotations

from typing import ClassVar, Final

from netorch.state.daemons.services.base import ServiceListener, ServiceSocket, SocketType
from netorch.state.order import Order

DNS_PORT: Final = 53


class NameListener(ServiceListener, frozen=True, kw_only=True):
    """The addresses in a VRF at which names are asked for, by UDP and TCP."""

    kind: ClassVar[str] = "name-listener"
    order: ClassVar[int] = Order.SERVICE_LISTENER

    addresses: tuple[str, ...]  # sorted

    @property
    def sockets(self) -> tuple[ServiceSocket, ...]:
        """Return a socket for UDP and one for TCP for each address."""
        types = (SocketType.UDP, SocketType.TCP)
        return tuple(ServiceSocket(type, self.ifname, address, DNS_PORT) for address in self.addresses for type in types)

    def text(self) -> str:
        return f"names dev {self.ifname} at {','.join(self.addresses)}"
