"""The status that an agent publishes: for `netorch status`, and for the agents of other hosts."""

from __future__ import annotations

from typing import Final

import msgspec

ESTABLISHED: Final = "Established"
INSTALLED: Final = "INSTALLED"  # strongSwan's word for a CHILD_SA that carries packets


class AgentRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stored at `host/<host>/live`, with a lease: who says that the host lives."""

    kernel: str = ""  # which one the host is
    run: str = ""  # of the agent, by lot


class BorderSession(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an edge's session with the border router is. `state` is BGP's (RFC 4271 section 8.2.2), or Down without a daemon."""

    router: str  # its address
    asn: int  # of the router
    state: str
    reason: str = ""  # what is known of why it is not established


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stored at `hoststat/<host>/agent`."""

    version: str
    pid: int
    started_at: float  # seconds since 1970
    objects: int = 0  # kernel objects that are ours
    writes: int = 0  # kernel operations since the agent started; stays 0 over a restart when nothing changed
    repaired: int = 0  # of these, what somebody else had changed behind our back
    counters: dict[str, int] = {}  # dropped packets by reason
    table_percent: int = 0  # how full the connection table is, where it is more than half
    refused: tuple[int, ...] = ()  # VNIs of the VPCs that hold so much of it that they may begin no connection
    not_ready: str = ""  # why it, an edge, is not fit to carry packets
    silent: tuple[str, ...] = ()  # VTEPs of edges of its VPCs that do not say to it that they are ready
    dead: tuple[str, ...] = ()  # those of them that do not answer it at all
    standby: tuple[str, ...] = ()  # VTEPs of edges, of itself perhaps, whose stateful gateways are used at others
    foreign: tuple[str, ...] = ()  # what is not netorch's in its own namespace
    violated_at: float = 0.0  # when a packet was last counted that no host may have sent, seconds since 1970
    border: tuple[BorderSession, ...] = ()  # of an edge that announces its addresses by BGP
    trouble: str = ""  # why the host is not as it should be
    served: dict[str, int] = {}  # what the proxy of gateway endpoints has counted, of all endpoints together
    unavailable_at: float = 0.0  # when a server behind a service last did not answer, seconds since 1970


class NatUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an edge has counted of a NAT gateway. Stored at `hoststat/<host>/<nat id>`."""

    metrics: dict[str, int] = {}  # by EC2's names of them (netorch.model.outside.nat_metrics); those that are 0 are left out
    dropped: dict[str, int] = {}  # packets by reason


class ConnectionUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an edge says of a connection with a service. Stored at `hoststat/<host>/<vpce-con id>` while it is in use there."""

    active: int = 0  # connections that the kernel tracks for it; what is relayed counts twice
    ailing: tuple[str, ...] = ()  # ADDRESS:PORT of targets that do not answer it, sorted
    dropped: dict[str, int] = {}  # packets by reason


class PublicUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an edge has translated for an elastic IP. Stored at `hoststat/<host>/eip-<address>`. Bytes are those of IP."""

    packets_in: int = 0  # from the internet
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0

    def __add__(self, other: PublicUse) -> PublicUse:
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return PublicUse(**dict(zip(self.__struct_fields__, map(sum, zip(mine, theirs, strict=True)), strict=True)))


class HostMtu(msgspec.Struct, frozen=True, kw_only=True):
    """What the other hosts must know of a host's underlay. Stored at `underlay/mtu/<host>`."""

    mtu: int  # bytes, of the device that carries the packets of its VTEP


class TunnelStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an edge says of a tunnel that ends there. `ike` and `child` are strongSwan's words, nothing: there is no SA."""

    ike: str = ""  # ESTABLISHED, CONNECTING, ...
    child: str = ""  # INSTALLED, ...
    since: float = 0.0  # when the IKE_SA was established, seconds since 1970
    remote: str = ""  # the address that packets come from, with the port behind a NAT: 198.18.0.80:54979
    proposal: str = ""  # of the CHILD_SA
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0
    bgp: str = ""  # the session's state; nothing: none is asked for
    bgp_reason: str = ""
    accepted: int = 0  # routes by BGP
    problem: str = ""  # a word for what went wrong last (netorch.model.outside.tunnel_problems), nothing: all is well
    facts: dict[str, str] = {}  # that the problem's sentence needs, e.g. both proposals

    @property
    def is_up(self) -> bool:
        """Return whether it carries packets: both ends have agreed on keys."""
        return self.child == INSTALLED


class VpnStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stored at `hoststat/<edge>/<vpn id>`: the tunnels of a connection that end at the edge, by number (1 or 2)."""

    tunnels: dict[int, TunnelStatus] = {}


class VifStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stored at `hoststat/<edge>/<dxvif id>`."""

    carrier: bool = False  # whether the port is connected to something
    bgp: str = ""
    bgp_reason: str = ""
    accepted: int = 0


class SealingKey(msgspec.Struct, frozen=True, kw_only=True):
    """With which anybody may seal something that only this edge can open. Stored at `hoststat/<edge>/sealing`."""

    public: str  # X25519, base64


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A secret, sealed for one edge. Stored at `secret/<edge>/<id>`, for each tunnel (1, 2) or virtual interface (0)."""

    boxes: dict[int, str]  # libsodium's sealed boxes, base64
