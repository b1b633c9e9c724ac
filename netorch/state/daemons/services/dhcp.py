"""DHCP for instances (RFC 2131): where requests are received, and what each port gets.

No port is opened for instances. The port's chain drops the packet, and logs it to DHCP_GROUP. A renewal goes to the
router's own address, and `input` logs it likewise.
"""

from __future__ import annotations

from typing import ClassVar

from netorch.model.services.dhcp_options import DhcpOptions
from netorch.state.base import Key
from netorch.state.daemons.services.base import ServiceObject, ServiceSocket, SocketType
from netorch.state.nft import DHCP_GROUP
from netorch.state.order import Order


class DhcpEar(ServiceObject, frozen=True, kw_only=True):
    """The sockets that receive all requests of a host's ports, and send the replies by the port of each request."""

    kind: ClassVar[str] = "dhcp-ear"
    order: ClassVar[int] = Order.SERVICE_LISTENER

    @property
    def key(self) -> Key:
        return (self.kind, self.netns)

    @property
    def is_waited_for(self) -> bool:
        return False

    @property
    def sockets(self) -> tuple[ServiceSocket, ...]:
        """Return one that receives logged packets, and one that only sends frames."""
        return (ServiceSocket(SocketType.LOGGED, "", "", DHCP_GROUP), ServiceSocket(SocketType.FRAMES, "", "", 0))

    def text(self) -> str:
        return f"dhcp group {DHCP_GROUP:#x}"


class DhcpLease(ServiceObject, frozen=True, kw_only=True):
    """The DHCP options for the interface at a port. Its address does not depend on the lease.

    It names its port and has no socket of it, so the daemon keeps it when another host takes the port over.
    """

    kind: ClassVar[str] = "dhcp-lease"
    order: ClassVar[int] = Order.SERVICE_DATA

    ifname: str  # the port
    vrf: str  # the port's VRF
    mac: str
    address: str
    length: int  # of the subnet's prefix
    router: str  # and DHCP server
    mtu: int
    hostname: str
    near: tuple[str, ...]  # addresses of the host's services: their routes do not depend on the default route
    options: DhcpOptions  # with addresses instead of PROVIDED_DNS

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.ifname)

    def text(self) -> str:
        told = self.options
        names = f" domain {told.domain_name}" if told.domain_name else ""
        lists = (("dns", told.domain_name_servers), ("ntp", told.ntp_servers), ("netbios", told.netbios_name_servers))
        names += "".join(f" {word} {','.join(found)}" for word, found in lists if found)
        names += f" node-type {told.netbios_node_type}" if told.netbios_node_type else ""
        where = f"dev {self.ifname} vrf {self.vrf} lladdr {self.mac}"
        what = f"{self.address}/{self.length} via {self.router} mtu {self.mtu} near {','.join(self.near)}"
        return f"dhcp {where} {what} hostname {self.hostname}{names}"
