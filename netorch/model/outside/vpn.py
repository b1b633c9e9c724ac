"""Site-to-Site VPN: a VPC's gateway for private networks elsewhere, the customer's device, and the tunnels between the two.

A connection has two tunnels, one to each edge of the pair that carries the gateway. IPv4 only, as EC2's with such a gateway.

A connection may also lead to a VPC at AWS. Then AWS is EC2 and an edge is the customer's device: both tunnels end at that edge,
because AWS knows one address of its customer, and each leads to an address of AWS's.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Final

from netorch.model.addr import format_ip, parse_prefix
from netorch.model.outside.ike_identity import compared
from netorch.model.record import Part, Record
from netorch.model.vpc import Tags

AMAZON_ASN: Final = 64512  # of a gateway that is given none, EC2's
ANY_CIDR: Final = "0.0.0.0/0"
CUSTOMER_ASN: Final = 65000  # of a customer gateway that is given none, EC2's
TUNNELS: Final = 2
MAX_CONNECTIONS: Final = 10  # of a virtual private gateway, EC2's quota
NUMBER_LAST: Final = 127  # of a connection in its VPC: an if_id has 32 bits, the VNI takes 24, and the tunnel one
MAX_LEARNED: Final = 100  # routes that one gateway propagates, EC2's quota


class VirtualPrivateGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A VPC's way to private networks elsewhere, and back. A VPC has one at most. Stored at `vpc/<vni>/vgw/<id>`.

    VPN connections and virtual interfaces of Direct Connect end at it.
    """

    id: str
    vni: int
    name: str = ""
    asn: int = AMAZON_ASN  # with which it speaks BGP
    tags: Tags = {}


class CustomerGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A customer's own VPN device, as its owner describes it. Stored at `cgw/<owner>/<id>`. It never changes."""

    id: str
    owner: str
    name: str = ""
    asn: int = CUSTOMER_ASN
    address: str = ""  # IPv4, public; of its NAT if it stands behind one. Nothing: any, then it needs an identity
    identity: str = ""  # by which it names itself in IKE (RFC 7296 section 3.5); nothing: its address
    tags: Tags = {}


class Authentication(Enum):
    """By what both ends of a tunnel prove who they are."""

    PSK = "psk"
    CERTIFICATE = "certificate"


class StartupAction(Enum):
    """Who begins a tunnel: EC2's `StartupAction`."""

    ADD = "add"  # the customer's side
    START = "start"  # both


class DpdAction(Enum):
    """What becomes of a tunnel whose other end does not answer: EC2's `DPDTimeoutAction`."""

    CLEAR = "clear"
    NONE = "none"
    RESTART = "restart"


class TunnelOptions(Part, frozen=True, kw_only=True, omit_defaults=True):
    """What is agreed on for a tunnel. Names, values and defaults are EC2's; times are in seconds."""

    ike_versions: tuple[str, ...] = ("ikev1", "ikev2")
    phase1_encryption: tuple[str, ...] = ("AES128", "AES256", "AES128-GCM-16", "AES256-GCM-16")
    phase1_integrity: tuple[str, ...] = ("SHA1", "SHA2-256", "SHA2-384", "SHA2-512")
    phase1_dh_groups: tuple[int, ...] = (2, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24)
    phase1_lifetime: int = 28800  # 900 to 28800
    phase2_encryption: tuple[str, ...] = ("AES128", "AES256", "AES128-GCM-16", "AES256-GCM-16")
    phase2_integrity: tuple[str, ...] = ("SHA1", "SHA2-256", "SHA2-384", "SHA2-512")
    phase2_dh_groups: tuple[int, ...] = (2, 5, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24)
    phase2_lifetime: int = 3600  # 900 to 3600
    rekey_margin: int = 270  # 60 to half of phase2_lifetime
    rekey_fuzz: int = 100  # percent, 0 to 100
    replay_window: int = 1024  # packets, 64 to 2048
    dpd_timeout: int = 30  # EC2's least; here 3 and more
    dpd_action: DpdAction = DpdAction.CLEAR
    startup_action: StartupAction = StartupAction.ADD


class Tunnel(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One of the tunnels of a connection."""

    inside_cidr: str  # a /30 of 169.254.0.0/16: EC2's end has its first address, the customer's the second
    edge: str = ""  # the host that it ends at; nothing: the pair has no second edge, and the tunnel is down
    address: str = ""  # IPv4, of that edge in the outside; nothing if there is no edge
    remote: str = ""  # IPv4, of AWS's end; nothing: the other end is the customer's device
    options: TunnelOptions = TunnelOptions()


class VpnConnection(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Two tunnels between a virtual private gateway and a customer gateway. Stored at `vpc/<vni>/vpn/<id>`.

    What the customer gateway says is copied when the connection is made, because edges follow the VPC only. Pre-shared keys and
    private keys are not here but sealed for the edge, at `secret/<edge>/<id>`.

    If it leads to AWS, the customer gateway stands for AWS: its AS number, and the address of the first tunnel's other end.

    Schema 2 added `Tunnel.remote`.
    """

    SCHEMA: ClassVar[int] = 2

    id: str
    vni: int
    name: str
    gateway: str  # vgw-...
    customer_gateway: str  # cgw-...
    number: int  # 1 to NUMBER_LAST, unique in the VPC
    asn: int  # of the customer gateway
    address: str = ""  # of the customer gateway; nothing: any
    identity: str = ""  # of the customer gateway, as it has it
    authentication: Authentication = Authentication.PSK
    certificates: dict[str, str] = {}  # with CERTIFICATE: edge -> its certificate, PEM
    authority: str = ""  # with CERTIFICATE: the certificate of the authority that the customer's must be signed by, PEM
    static: bool = False  # whether `routes` say what is at the customer's; otherwise BGP does
    routes: tuple[str, ...] = ()  # canonical IPv4 CIDRs
    local_cidr: str = ANY_CIDR  # what may be in the tunnel on the customer's side; EC2's LocalIpv4NetworkCidr
    remote_cidr: str = ANY_CIDR  # on the VPC's side; EC2's RemoteIpv4NetworkCidr
    tunnels: tuple[Tunnel, ...]  # TUNNELS
    tags: Tags = {}


def peer_identity(device: CustomerGateway | VpnConnection) -> str:
    """Return what the customer's device calls itself in IKE (RFC 7296 section 3.5), as it is compared with others."""
    return compared(device.identity or device.address)


def ikev1_is_safe(connection: VpnConnection) -> bool:
    """Return whether a device that speaks IKEv1 can be told from all others.

    With pre-shared keys only by its address: the key is chosen before the device has named itself (RFC 2409 section 5.4), so who
    has one of those that come into question could then name himself as another device.
    """
    by_psk = connection.authentication is Authentication.PSK
    return not by_psk or (bool(connection.address) and peer_identity(connection) == connection.address)


def leads_to_aws(connection: VpnConnection) -> bool:
    """Return whether a VPC at AWS is at the other end, and an edge is its customer's device."""
    return any(tunnel.remote for tunnel in connection.tunnels)


def peer_identities(connection: VpnConnection) -> tuple[str, ...]:
    """Return what the other ends of a connection call themselves in IKE: the device one name, AWS one for each tunnel."""
    return tuple(tunnel.remote for tunnel in connection.tunnels if tunnel.remote) or (peer_identity(connection),)


def if_id(vni: int, number: int, tunnel: int) -> int:
    """Return the number that ties the SAs of a tunnel (0 or 1) to its xfrm interface, unique on every edge."""
    return vni << 8 | number << 1 | tunnel


def inside_addresses(inside_cidr: str) -> tuple[str, str]:
    """Return the addresses of a tunnel's /30, without lengths: that of EC2's end, the customer's."""
    network = parse_prefix(inside_cidr).network
    return format_ip(4, network + 1), format_ip(4, network + 2)


def inside_ends(tunnel: Tunnel) -> tuple[str, str]:
    """Return the addresses inside a tunnel, without lengths: the edge's, that of the other end."""
    first, second = inside_addresses(tunnel.inside_cidr)
    return (second, first) if tunnel.remote else (first, second)
