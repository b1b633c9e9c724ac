"""What serves gateway endpoints on edges, the proxy: where, to which server, and by which policies.

Policies are there before anybody can ask: they are Order.SERVICE_DATA, and the sockets come after them (Order.SERVICE_LISTENER).
"""

from __future__ import annotations

from typing import ClassVar, Final

from netorch.state.base import OUTSIDE, Key
from netorch.state.daemons.services.base import ServiceListener, ServiceObject, ServiceSocket, SocketType
from netorch.state.order import Order

HTTP_PORT: Final = 80
TLS_PORT: Final = 443


class ProxyListener(ServiceListener, frozen=True, kw_only=True):
    """A VRF of an edge whose packets for the service's prefixes come to the proxy, and whose they are."""

    kind: ClassVar[str] = "proxy-listener"
    order: ClassVar[int] = Order.SERVICE_LISTENER

    netns: str = OUTSIDE
    endpoint: str  # the id of a ProxyEndpoint

    @property
    def sockets(self) -> tuple[ServiceSocket, ...]:
        """Return the socket for HTTP, then that for TLS."""
        return tuple(ServiceSocket(SocketType.TCP, self.ifname, "0.0.0.0", port) for port in (HTTP_PORT, TLS_PORT))

    def text(self) -> str:
        return f"proxy dev {self.ifname} for {self.endpoint}"


class ProxyEndpoint(ServiceObject, frozen=True, kw_only=True):
    """A gateway endpoint: whose it is, what its policy permits, and the server that its requests go on to."""

    kind: ClassVar[str] = "proxy-endpoint"
    order: ClassVar[int] = Order.SERVICE_DATA

    netns: str = OUTSIDE
    id: str  # vpce-...
    vpc: str  # vpc-...
    service: str  # the name of a GatewayService
    hosts: tuple[str, ...]  # names of the service in small letters; a bucket's is BUCKET.HOST
    prefixes: tuple[str, ...]  # of the service, sorted: clients may also call it by one of these addresses
    upstream: str  # http://ADDRESS:PORT
    tls: str = ""  # ADDRESS:PORT; nothing: TLS is not passed on
    policy: str = ""  # IAM JSON; nothing: everything is permitted

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.id)

    def text(self) -> str:
        called = ",".join((*self.hosts, *self.prefixes))
        tls = f" tls {self.tls}" if self.tls else ""
        policy = f" policy {self.policy}" if self.policy else ""
        return f"endpoint {self.id} of {self.vpc} {self.service} {called} to {self.upstream}{tls}{policy}"


class ProxyBucket(ServiceObject, frozen=True, kw_only=True):
    """A bucket's policy. A bucket without one takes nothing away from what endpoints' policies permit."""

    kind: ClassVar[str] = "proxy-bucket"
    order: ClassVar[int] = Order.SERVICE_DATA

    netns: str = OUTSIDE
    service: str
    bucket: str
    policy: str  # IAM JSON

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.service, self.bucket)

    def text(self) -> str:
        return f"bucket {self.bucket} of {self.service} policy {self.policy}"
