"""Direct Connect: ports of edges to which a customer's own router is wired, and the VLANs on them that lead into VPCs."""

from __future__ import annotations

from enum import Enum
from typing import Final

from netorch.model.record import Part, Record
from netorch.model.status import ESTABLISHED, VifStatus
from netorch.model.vpc import Tags

VLAN_LAST: Final = 4094  # IEEE 802.1Q: 4095 is reserved, and 0 means a priority without a VLAN
MTUS: Final = (1500, 8500)  # of a virtual interface, EC2's, in bytes
MAX_INTERFACES: Final = 50  # of a connection, EC2's quota


class HostedConnection(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A VLAN of a port that an owner may have a virtual interface on. EC2's hosted connection has one VLAN, too."""

    owner: str
    vlan: int
    outer_vlan: int = 0  # of the service tag (802.1ad) around it; 0: none


class Connection(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A physical port of an edge. The operator's; it goes by its name. Stored at `dxcon/<name>`."""

    name: str
    host: str  # the edge
    device: str  # the network device of that host; the edge takes it for itself
    owner: str = ""  # who may have virtual interfaces on any VLAN; nothing: only those that a VLAN is hosted for
    hosted: tuple[HostedConnection, ...] = ()
    tags: Tags = {}


class BgpAuthentication(Enum):
    """Whether BGP segments are signed (TCP MD5, RFC 2385)."""

    NONE = "none"
    MD5 = "md5"  # the key is at secret/<edge>/<id>


class VirtualInterface(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A private virtual interface: a VLAN of a connection that leads into a VPC. Stored at `vpc/<vni>/dxvif/<id>`.

    What the connection says is copied, because edges follow the VPC only. While it is not confirmed, no packet passes.
    """

    id: str
    vni: int
    name: str
    gateway: str  # vgw-...
    connection: str
    edge: str  # the connection's host
    device: str  # the connection's
    vlan: int  # 1 to VLAN_LAST
    outer_vlan: int = 0  # the service tag (802.1ad) around it; 0: none
    mtu: int = 1500  # one of MTUS
    asn: int = 0  # of the customer's router; 0: no BGP, `routes` say what is there
    address: str  # IPv4 of the edge, with prefix length
    peer: str  # IPv4 of the customer's router
    authentication: BgpAuthentication = BgpAuthentication.NONE
    bfd: bool = False
    routes: tuple[str, ...] = ()  # canonical IPv4 CIDRs, without BGP
    confirmed: bool = True  # by the VPC's owner, if the operator made it
    rejected: bool = False  # by the VPC's owner, instead: its VLAN is free, and it is only there to be seen
    tags: Tags = {}


class VifState(Enum):
    """The states of a virtual interface, Direct Connect's. One that is deleted is not there any more."""

    CONFIRMING = "confirming"  # the VPC's owner has not said yet whether he wants it
    PENDING = "pending"  # its edge has said nothing of it yet
    AVAILABLE = "available"  # the BGP session is up; with static routes: the port has a carrier
    DOWN = "down"
    REJECTED = "rejected"


class ConnectionState(Enum):
    """The states of a connection, as far as Direct Connect's are known here."""

    PENDING = "pending"  # no edge has said anything: it looks at a port while virtual interfaces are there
    AVAILABLE = "available"  # the port has a carrier
    DOWN = "down"


def state_of(vif: VirtualInterface, said: VifStatus | None) -> VifState:
    """Return the state of a virtual interface, of which `said` is its edge's last word."""
    if vif.rejected:
        return VifState.REJECTED
    if not vif.confirmed:
        return VifState.CONFIRMING
    if said is None:
        return VifState.PENDING
    is_up = said.carrier and (not vif.asn or said.bgp == ESTABLISHED)
    return VifState.AVAILABLE if is_up else VifState.DOWN
