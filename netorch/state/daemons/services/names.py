"""DNS for instances (RFC 1035): where queries arrive, and the names of each VPC.

The first of these that knows a name answers a query from the VPC:

    NameRecord    the record sets of the VPC; a name with a record set has no other data
    NameZone      a name in a zone of the VPC that has no record set does not exist
    NameView      ip-10-0-0-5.compute.internal, and its reverse, for each address in the VPC's ranges

For all other names the host asks the servers in its own files (netorch.services.names.others).
A compiler that names something in a VPC yields a `NameRecord`.
"""

from __future__ import annotations

from typing import ClassVar, Final

from netorch.state.base import Key
from netorch.state.daemons.services.base import ServiceListener, ServiceObject, ServiceSocket, SocketType
from netorch.state.order import Order

DNS_PORT: Final = 53


class NameListener(ServiceListener, frozen=True, kw_only=True):
    """The addresses in a VRF that answer DNS queries, over UDP and TCP."""

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


class NameView(ServiceObject, frozen=True, kw_only=True):
    """A VPC whose addresses have names. Without a NameView, the VPC's queries are refused."""

    kind: ClassVar[str] = "name-view"
    order: ClassVar[int] = Order.SERVICE_DATA

    ranges: tuple[str, ...]  # CIDRs

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.vni)

    def text(self) -> str:
        return f"names of vpc {self.vni} for {','.join(self.ranges)}"


class NameZone(ServiceObject, frozen=True, kw_only=True):
    """A private zone of a VPC, e.g. corp.example."""

    kind: ClassVar[str] = "name-zone"
    order: ClassVar[int] = Order.SERVICE_DATA

    origin: str  # lower case, without a dot at the end

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.vni, self.origin)

    def text(self) -> str:
        return f"names of vpc {self.vni} zone {self.origin}"


class NameRecord(ServiceObject, frozen=True, kw_only=True):
    """A record set in a VPC."""

    kind: ClassVar[str] = "name-record"
    order: ClassVar[int] = Order.SERVICE_DATA

    name: str  # lower case, without a dot at the end; a leading `*.` stands for all names below without a record set
    type: str  # e.g. A
    ttl: int  # seconds
    values: tuple[str, ...]  # in master file syntax (RFC 1035 section 5)

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.vni, self.name, self.type)

    def text(self) -> str:
        return f"names of vpc {self.vni} {self.name} {self.ttl} {self.type} {' '.join(self.values)}"
