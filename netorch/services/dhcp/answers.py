"""The replies to DHCP clients. Pure.

A client has one address, which its interface got when it was created. So the reply is the same in each client state
(RFC 2131 section 4.3.2), and the server keeps no state. A client that requests another address gets a NAK. A client
that requests from another server, or declines or releases its address, gets no reply.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.model.addr import format_ip, mac_bytes, packed, parse_prefix
from netorch.services.dhcp.message import Code, Kind, Reply, Request, routes
from netorch.state.daemons.services.dhcp import DhcpLease

LEASE_S: Final = 3600  # as in EC2
RENEWAL_S: Final = LEASE_S // 2  # RFC 2131 section 4.4.5, also for the next line
REBINDING_S: Final = LEASE_S * 7 // 8


def answer(lease: DhcpLease, request: Request) -> Reply | None:
    """Return the reply to a request that came by the lease's port, or None for no reply."""
    if request.mac != mac_bytes(lease.mac):
        return None
    address, server = packed(lease.address), packed(lease.router)
    if request.kind is Kind.DISCOVER:
        return _granted(lease, request, Kind.OFFER)
    if request.kind is Kind.INFORM:
        return _informed(lease, request) if request.client == address else None
    if request.kind is not Kind.REQUEST or request.options.get(Code.SERVER, server) != server:
        return None
    asked = request.options.get(Code.ADDRESS, request.client)
    if asked != address or (request.has_address and request.client != address):
        return _refused(lease, request)
    return _granted(lease, request, Kind.ACK)


def _granted(lease: DhcpLease, request: Request, kind: Kind) -> Reply:
    times = ((Code.LEASE_TIME, LEASE_S), (Code.RENEWAL_TIME, RENEWAL_S), (Code.REBINDING_TIME, REBINDING_S))
    own = [(int(Code.SERVER), packed(lease.router)), *((int(code), seconds.to_bytes(4, "big")) for code, seconds in times)]
    return Reply(
        kind=kind,
        xid=request.xid,
        broadcast=request.broadcast,
        client=request.client if kind is Kind.ACK else bytes(4),
        yours=packed(lease.address),
        mac=request.mac,
        options=(*own, *_told(lease, request)),
    )


def _informed(lease: DhcpLease, request: Request) -> Reply:
    """Return the reply to a client that got its address by other means: no address and no times (RFC 2131 section 4.3.5)."""
    own = ((int(Code.SERVER), packed(lease.router)), *_told(lease, request))
    return Reply(kind=Kind.ACK, xid=request.xid, broadcast=request.broadcast, client=request.client, mac=request.mac, options=own)


def _refused(lease: DhcpLease, request: Request) -> Reply:
    own = ((int(Code.SERVER), packed(lease.router)),)
    return Reply(kind=Kind.NAK, xid=request.xid, broadcast=True, mac=request.mac, options=own)


def _told(lease: DhcpLease, request: Request) -> Iterator[tuple[int, bytes]]:
    """Yield the options that the client requests, in its order, or all if it requests none. The mask always comes first."""
    found = dict(_everything(lease))
    wanted = request.options.get(Code.WANTED, bytes(found))
    for code in dict.fromkeys((int(Code.MASK), *wanted)):
        if code in found:
            yield code, found[code]


def _everything(lease: DhcpLease) -> Iterator[tuple[int, bytes]]:
    """Yield all options of a lease except its times, the most important ones first."""
    subnet = parse_prefix(f"{lease.address}/{lease.length}", strict=False)
    mask = (1 << 32) - (1 << 32 - lease.length)
    near = [(address, 32, lease.router) for address in lease.near]
    told = lease.options
    yield Code.MASK, mask.to_bytes(4, "big")
    yield Code.ROUTES, routes([*near, ("0.0.0.0", 0, lease.router)])  # a client that reads this option ignores the next one
    yield Code.ROUTER, packed(lease.router)
    yield Code.MTU, lease.mtu.to_bytes(2, "big")
    yield Code.NAME_SERVERS, b"".join(map(packed, told.domain_name_servers))
    yield Code.DOMAIN, told.domain_name.encode()
    yield Code.HOSTNAME, lease.hostname.encode()
    yield Code.BROADCAST, packed(format_ip(4, subnet.last))
    yield Code.NTP_SERVERS, b"".join(map(packed, told.ntp_servers))
    yield Code.NETBIOS_SERVERS, b"".join(map(packed, told.netbios_name_servers))
    if told.netbios_node_type:
        yield Code.NETBIOS_NODE_TYPE, bytes([told.netbios_node_type])
