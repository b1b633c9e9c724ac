"""The proxy that serves gateway endpoints on edges: where it listens, its servers, and the policies.

Policies are applied before any request can arrive: they are Order.SERVICE_DATA, and the sockets follow
(Order.SERVICE_LISTENER).
"""

from __future__ import annotations

from typing import ClassVar, Final

from netorch.state.base import OUTSIDE, Key
from netorch.state.daemons.services.base import ServiceListener, ServiceObject, ServiceSocket, SocketType
from netorch.state.order import Order

HTTP_PORT: Final = 80
TLS_PORT: Final = 443


class ProxyListener(ServiceListener, frozen=True, kw_only=True):
    """A VRF of an edge that delivers packets for the service's prefixes to the proxy, and the endpoint of these packets."""

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
    """A gateway endpoint: its VPC, its policy, and the server to which its requests are forwarded."""

    kind: ClassVar[str] = "proxy-endpoint"
    order: ClassVar[int] = Order.SERVICE_DATA

    netns: str = OUTSIDE
    id: str  # vpce-...
    vpc: str  # vpc-...
    service: str  # the name of a GatewayService
    hosts: tuple[str, ...]  # names of the service in lower case; a bucket's is BUCKET.HOST
    prefixes: tuple[str, ...]  # of the service, sorted: clients may also use one of these addresses
    upstream: str  # http://ADDRESS:PORT
    tls: str = ""  # ADDRESS:PORT; empty: TLS is not forwarded
    policy: str = ""  # IAM JSON; empty: everything is permitted

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.id)

    def text(self) -> str:
        called = ",".join((*self.hosts, *self.prefixes))
        tls = f" tls {self.tls}" if self.tls else ""
        policy = f" policy {self.policy}" if self.policy else ""
        return f"endpoint {self.id} of {self.vpc} {self.service} {called} to {self.upstream}{tls}{policy}"


class ProxyBucket(ServiceObject, frozen=True, kw_only=True):
    """A bucket's policy. Without one, the endpoints' policies alone decide."""

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
