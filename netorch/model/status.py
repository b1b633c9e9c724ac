"""The status that an agent publishes for `netorch status` and for the agents of other hosts."""

from __future__ import annotations

from typing import Final

import msgspec

ESTABLISHED: Final = "Established"
INSTALLED: Final = "INSTALLED"  # strongSwan's state of a CHILD_SA that carries packets


class AgentRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The agent process that keeps a host alive. Stored at `host/<host>/live` with a lease.

    An agent on another machine that claims to be the same host is stored at `hoststat/<host>/rival`, likewise.
    """

    kernel: str = ""  # identifies the host's running kernel
    run: str = ""  # random, identifies the agent's run
    machine: str = ""  # its name, for people


class BorderSession(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An edge's session with the border router. `state` is BGP's (RFC 4271 section 8.2.2), or Down without a daemon."""

    router: str  # the router's address
    asn: int  # of the router
    state: str
    reason: str = ""  # why it is not established, if known


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The status of an agent and its host. Stored at `hoststat/<host>/agent`."""

    version: str
    pid: int
    started_at: float  # seconds since 1970
    objects: int = 0  # kernel objects that netorch owns
    writes: int = 0  # kernel operations since the agent started; 0 after a restart without changes
    repaired: int = 0  # those of them that repaired an object that another program had changed
    counters: dict[str, int] = {}  # dropped packets by reason
    table_percent: int = 0  # use of the connection table, if it is more than half full
    refused: tuple[int, ...] = ()  # VNIs of the VPCs that hold too much of the table to open connections
    not_ready: str = ""  # why an edge cannot carry packets
    silent: tuple[str, ...] = ()  # VTEPs of edges of the host's VPCs that do not report to the host that they are ready
    dead: tuple[str, ...] = ()  # those of them that do not answer at all
    standby: tuple[str, ...] = ()  # VTEPs of edges, possibly its own, whose stateful gateways the host uses at other edges
    foreign: tuple[str, ...] = ()  # objects in netorch's namespace that netorch does not own
    violated_at: float = 0.0  # last count of a packet that no host may send, seconds since 1970
    border: tuple[BorderSession, ...] = ()  # of an edge that announces its addresses by BGP
    trouble: str = ""  # a problem of the whole host
    served: dict[str, int] = {}  # counters of the gateway endpoints' proxy, summed over all endpoints
    unavailable_at: float = 0.0  # last time that a server behind a service did not answer, seconds since 1970


class NatUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An edge's counters of a NAT gateway. Stored at `hoststat/<host>/<nat id>`."""

    metrics: dict[str, int] = {}  # by EC2's metric names (netorch.model.outside.nat_metrics), without zeros
    dropped: dict[str, int] = {}  # packets by reason


class ConnectionUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An edge's status of an endpoint connection. Stored at `hoststat/<host>/<vpce-con id>` while the edge uses it."""

    active: int = 0  # conntrack entries; a relayed connection counts twice
    ailing: tuple[str, ...] = ()  # ADDRESS:PORT of targets that do not answer the edge, sorted
    dropped: dict[str, int] = {}  # packets by reason


class PublicUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An edge's traffic counters of an elastic IP. Stored at `hoststat/<host>/eip-<address>`. Bytes are of IP packets."""

    packets_in: int = 0  # from the internet
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0

    def __add__(self, other: PublicUse) -> PublicUse:
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return PublicUse(**dict(zip(self.__struct_fields__, map(sum, zip(mine, theirs, strict=True)), strict=True)))


class HostMtu(msgspec.Struct, frozen=True, kw_only=True):
    """A host's underlay MTU, which the other hosts need. Stored at `underlay/mtu/<host>`."""

    mtu: int  # bytes; of the device that carries the VTEP's packets


class TunnelStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An edge's status of a VPN tunnel that ends there. `ike` and `child` are strongSwan's SA states; empty: no SA."""

    ike: str = ""  # ESTABLISHED, CONNECTING, ...
    child: str = ""  # INSTALLED, ...
    since: float = 0.0  # when the IKE_SA was established, seconds since 1970
    remote: str = ""  # the source address of the peer's packets, with the port behind a NAT: 198.18.0.80:54979
    proposal: str = ""  # of the CHILD_SA
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0
    bgp: str = ""  # the session's state; empty: no BGP
    bgp_reason: str = ""
    accepted: int = 0  # BGP routes
    problem: str = ""  # key of the last problem (netorch.model.outside.tunnel_problems); empty: none
    facts: dict[str, str] = {}  # values for the problem's text, e.g. both proposals

    @property
    def is_up(self) -> bool:
        """Return whether the tunnel carries packets, i.e. both ends have agreed on keys."""
        return self.child == INSTALLED


class VpnStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The tunnels of a VPN connection that end at an edge, by number (1 or 2). Stored at `hoststat/<edge>/<vpn id>`."""

    tunnels: dict[int, TunnelStatus] = {}


class VifStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An edge's status of a virtual interface. Stored at `hoststat/<edge>/<dxvif id>`."""

    carrier: bool = False  # whether the port has link
    bgp: str = ""
    bgp_reason: str = ""
    accepted: int = 0


class SealingKey(msgspec.Struct, frozen=True, kw_only=True):
    """An edge's public key for secrets that only this edge can open. Stored at `hoststat/<edge>/sealing`."""

    public: str  # X25519, base64


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """Secrets sealed for one edge. Stored at `secret/<edge>/<id>`, by tunnel (1, 2), or 0 for a virtual interface."""

    boxes: dict[int, str]  # libsodium sealed boxes, base64
