"""Site-to-Site VPN: a VPC's virtual private gateway, the customer's device, and the tunnels between the two.

A connection has two tunnels, one to each edge of the pair that carries the gateway. IPv4 only, as in EC2 with such a gateway.

A connection may also lead to a VPC at AWS. Then an edge has the role of the customer's device. Both tunnels end at that edge,
because AWS accepts one customer address. Each tunnel has its own remote address at AWS.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Final

from netorch.model.addr import format_ip, parse_prefix
from netorch.model.outside.ike_identity import compared
from netorch.model.record import Part, Record
from netorch.model.vpc import Tags

AMAZON_ASN: Final = 64512  # default of a gateway, as in EC2
ANY_CIDR: Final = "0.0.0.0/0"
CUSTOMER_ASN: Final = 65000  # default of a customer gateway, as in EC2
TUNNELS: Final = 2
MAX_CONNECTIONS: Final = 10  # per virtual private gateway; EC2's quota
NUMBER_LAST: Final = 127  # per VPC: of the 32 bits of an if_id, the VNI takes 24 and the tunnel one
MAX_LEARNED: Final = 100  # routes that one gateway propagates; EC2's quota


class VirtualPrivateGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A gateway to remote private networks. A VPC has at most one. Stored at `vpc/<vni>/vgw/<id>`.

    VPN connections and Direct Connect virtual interfaces end at it.
    """

    id: str
    vni: int
    name: str = ""
    asn: int = AMAZON_ASN  # for its BGP sessions
    tags: Tags = {}


class CustomerGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A customer's own VPN device, as its owner describes it. Stored at `cgw/<owner>/<id>`. Immutable."""

    id: str
    owner: str
    name: str = ""
    asn: int = CUSTOMER_ASN
    address: str = ""  # public IPv4, or that of the NAT in front of it; empty: any address, `identity` is required
    identity: str = ""  # its IKE identity (RFC 7296 section 3.5); empty: its address
    tags: Tags = {}


class Authentication(Enum):
    """How both ends of a tunnel authenticate."""

    PSK = "psk"
    CERTIFICATE = "certificate"


class StartupAction(Enum):
    """Which side initiates a tunnel: EC2's `StartupAction`."""

    ADD = "add"  # the customer's side initiates
    START = "start"  # both sides initiate


class DpdAction(Enum):
    """The action on a tunnel whose peer does not answer: EC2's `DPDTimeoutAction`."""

    CLEAR = "clear"
    NONE = "none"
    RESTART = "restart"


class TunnelOptions(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The options of a tunnel. Names, values and defaults are EC2's; times are in seconds."""

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
    dpd_timeout: int = 30  # EC2's minimum; netorch permits 3 and more
    dpd_action: DpdAction = DpdAction.CLEAR
    startup_action: StartupAction = StartupAction.ADD


class Tunnel(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One of the tunnels of a connection."""

    inside_cidr: str  # a /30 of 169.254.0.0/16; EC2's end (the edge, or AWS) has the first address, the customer's the second
    edge: str = ""  # the host of the local end; empty: the pair has no second edge, and the tunnel is down
    address: str = ""  # external IPv4 address of that edge; empty without an edge
    remote: str = ""  # IPv4 address of AWS's end; empty: the other end is the customer's device
    options: TunnelOptions = TunnelOptions()


class VpnConnection(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Two tunnels between a virtual private gateway and a customer gateway. Stored at `vpc/<vni>/vpn/<id>`.

    The record contains a copy of the customer gateway's fields from its creation, because edges read only the VPC's records.
    Pre-shared keys and private keys are at `secret/<edge>/<id>`, sealed for the edge.

    If the connection leads to AWS, the customer gateway describes AWS: its AS number, and the remote address of the first tunnel.

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
    address: str = ""  # of the customer gateway; empty: any
    identity: str = ""  # of the customer gateway, unchanged
    authentication: Authentication = Authentication.PSK
    certificates: dict[str, str] = {}  # with CERTIFICATE: edge -> its certificate, PEM
    authority: str = ""  # with CERTIFICATE: the CA certificate that must have signed the customer's, PEM
    static: bool = False  # true: static `routes`; false: BGP
    routes: tuple[str, ...] = ()  # canonical IPv4 CIDRs
    local_cidr: str = ANY_CIDR  # traffic selector of the customer's side; EC2's LocalIpv4NetworkCidr
    remote_cidr: str = ANY_CIDR  # traffic selector of the VPC's side; EC2's RemoteIpv4NetworkCidr
    tunnels: tuple[Tunnel, ...]  # TUNNELS
    tags: Tags = {}


def peer_identity(device: CustomerGateway | VpnConnection) -> str:
    """Return the IKE identity of the customer's device (RFC 7296 section 3.5), in the form that comparisons use."""
    return compared(device.identity or device.address)


def ikev1_is_safe(connection: VpnConnection) -> bool:
    """Return whether a device that uses IKEv1 can be distinguished from all others.

    With pre-shared keys, only the address distinguishes devices: the responder chooses the key before the device sends its
    identity (RFC 2409 section 5.4). A device with one of several candidate keys could send the identity of another device.
    """
    by_psk = connection.authentication is Authentication.PSK
    return not by_psk or (bool(connection.address) and peer_identity(connection) == connection.address)


def leads_to_aws(connection: VpnConnection) -> bool:
    """Return whether the other end is a VPC at AWS, and an edge has the role of the customer's device."""
    return any(tunnel.remote for tunnel in connection.tunnels)


def peer_identities(connection: VpnConnection) -> tuple[str, ...]:
    """Return the IKE identities of the other ends of a connection: one for a device, one per tunnel for AWS."""
    return tuple(tunnel.remote for tunnel in connection.tunnels if tunnel.remote) or (peer_identity(connection),)


def if_id(vni: int, number: int, tunnel: int) -> int:
    """Return the if_id that binds the SAs of a tunnel (0 or 1) to its xfrm interface. It is unique on every edge."""
    return vni << 8 | number << 1 | tunnel


def inside_addresses(inside_cidr: str) -> tuple[str, str]:
    """Return the addresses of a tunnel's /30, without lengths: EC2's end, then the customer's."""
    network = parse_prefix(inside_cidr).network
    return format_ip(4, network + 1), format_ip(4, network + 2)


def inside_ends(tunnel: Tunnel) -> tuple[str, str]:
    """Return the addresses inside a tunnel, without lengths: the edge's, then the other end's."""
    first, second = inside_addresses(tunnel.inside_cidr)
    return (second, first) if tunnel.remote else (first, second)
