"""Direct Connect: ports of edges that are cabled to a customer's router, and the VLANs on them that connect to VPCs."""

from __future__ import annotations

from enum import Enum
from typing import Final

from netorch.model.record import Part, Record
from netorch.model.status import ESTABLISHED, VifStatus
from netorch.model.vpc import Tags

VLAN_LAST: Final = 4094  # IEEE 802.1Q: 4095 is reserved, and 0 means a priority without a VLAN
MTUS: Final = (1500, 8500)  # of a virtual interface, in bytes; EC2's values
MAX_INTERFACES: Final = 50  # per connection; EC2's quota


class HostedConnection(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A VLAN of a port that is reserved for one owner's virtual interface. EC2's hosted connection also has one VLAN."""

    owner: str
    vlan: int
    outer_vlan: int = 0  # the outer service tag (802.1ad); 0: none


class Connection(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A physical port of an edge. It belongs to the operator; its name is its id. Stored at `dxcon/<name>`."""

    name: str
    host: str  # the edge
    device: str  # a network device of that host, which the edge uses exclusively
    owner: str = ""  # this owner may use every VLAN that is not hosted; empty: no owner may
    hosted: tuple[HostedConnection, ...] = ()
    tags: Tags = {}


class BgpAuthentication(Enum):
    """Whether BGP segments are signed (TCP MD5, RFC 2385)."""

    NONE = "none"
    MD5 = "md5"  # the key is at secret/<edge>/<id>


class VirtualInterface(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A private virtual interface: a VLAN of a connection that connects to a VPC. Stored at `vpc/<vni>/dxvif/<id>`.

    It contains a copy of the connection's fields, because edges read only the VPC's records. No packet passes until confirmation.
    """

    id: str
    vni: int
    name: str
    gateway: str  # vgw-...
    connection: str
    edge: str  # the host of the connection
    device: str  # the device of the connection
    vlan: int  # 1 to VLAN_LAST
    outer_vlan: int = 0  # the outer service tag (802.1ad); 0: none
    mtu: int = 1500  # one of MTUS
    asn: int = 0  # of the customer's router; 0: no BGP, static `routes`
    address: str  # IPv4 of the edge, with prefix length
    peer: str  # IPv4 of the customer's router
    authentication: BgpAuthentication = BgpAuthentication.NONE
    bfd: bool = False
    routes: tuple[str, ...] = ()  # static routes, canonical IPv4 CIDRs; only without BGP
    confirmed: bool = True  # false until the VPC's owner confirms an interface that the operator created
    rejected: bool = False  # the VPC's owner rejected it: its VLAN is free, and the record is for display only
    tags: Tags = {}


class VifState(Enum):
    """Direct Connect's states of a virtual interface. A deleted one has no record."""

    CONFIRMING = "confirming"  # the VPC's owner has neither confirmed nor rejected it
    PENDING = "pending"  # its edge has not reported a status yet
    AVAILABLE = "available"  # the BGP session is up; with static routes: the port has link
    DOWN = "down"
    REJECTED = "rejected"


class ConnectionState(Enum):
    """Direct Connect's states of a connection that netorch uses."""

    PENDING = "pending"  # no status: the edge watches a port only while it has virtual interfaces
    AVAILABLE = "available"  # the port has link
    DOWN = "down"


def state_of(vif: VirtualInterface, said: VifStatus | None) -> VifState:
    """Return the state of a virtual interface. `said` is the last status from its edge."""
    if vif.rejected:
        return VifState.REJECTED
    if not vif.confirmed:
        return VifState.CONFIRMING
    if said is None:
        return VifState.PENDING
    is_up = said.carrier and (not vif.asn or said.bgp == ESTABLISHED)
    return VifState.AVAILABLE if is_up else VifState.DOWN
