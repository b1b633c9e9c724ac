"""Checks of stored VPN records and of the prefixes that edges reach. See netorch.records.valid.members."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from netorch.model import rules
from netorch.model.addr import parse_prefix
from netorch.model.mapping import Reach
from netorch.model.outside import vpn_rules
from netorch.model.outside.vpn import Authentication, CustomerGateway, Tunnel, VirtualPrivateGateway, VpnConnection
from netorch.model.routing.effective import PROPAGATED
from netorch.model.rules import Violation, shown
from netorch.model.status import Sealed, SealingKey
from netorch.records import keys
from netorch.records.valid.needs import (
    Invalid,
    name_violation,
    need,
    need_address,
    need_cidr,
    need_id,
    need_key,
    need_labels,
    need_member,
    need_single,
)

KEY_BYTES: Final = 32  # length of an X25519 public key (RFC 7748)


def check_virtual_private_gateway(key: str, gateway: VirtualPrivateGateway) -> None:
    """Check a virtual private gateway. Raises Invalid."""
    need_member(key, gateway, "vgw")
    if gateway.name:
        need("name", name_violation(gateway.name))
    need("asn", vpn_rules.gateway_asn(gateway.asn))


def check_customer_gateway(key: str, gateway: CustomerGateway) -> None:
    """Check a customer gateway. Raises Invalid."""
    need_id("id", gateway.id, "cgw", 0)
    need_key(key, keys.owned("cgw", gateway.owner, gateway.id))
    need("owner", name_violation(gateway.owner))
    if gateway.name:
        need("name", name_violation(gateway.name))
    _customer(gateway)
    need_labels(gateway)


def _customer(record: CustomerGateway | VpnConnection) -> None:
    """Check the fields that describe the customer's device."""
    need("asn", vpn_rules.customer_asn(record.asn))
    if record.address:
        need("address", vpn_rules.customer_address(record.address))
        need_address("address", record.address, 4)
    elif not record.identity:
        raise Invalid("identity: it has neither an identity nor an address")
    if record.identity:
        need("identity", vpn_rules.identity(record.identity))


def check_vpn_connection(key: str, connection: VpnConnection) -> None:
    """Check a VPN connection. Raises Invalid."""
    need_member(key, connection, "vpn")
    need("name", name_violation(connection.name))
    need_id("gateway", connection.gateway, "vgw", connection.vni)
    need_id("customer_gateway", connection.customer_gateway, "cgw", 0)
    need("number", vpn_rules.number(connection.number))
    _customer(connection)
    _certificates(connection)
    if connection.routes and not connection.static:
        raise Invalid("routes: a connection with BGP has no static routes")
    for field, cidrs in (
        ("routes", connection.routes),
        ("local_cidr", (connection.local_cidr,)),
        ("remote_cidr", (connection.remote_cidr,)),
    ):
        for text in cidrs:
            need_cidr(field, text, vpn_rules.traffic_cidr)
    need_single("routes", connection.routes)
    need("tunnels", vpn_rules.count_of_tunnels(len(connection.tunnels)))
    for tunnel in connection.tunnels:
        _tunnel(tunnel)
    need_single("tunnels", (tunnel.inside_cidr for tunnel in connection.tunnels))
    _ends(connection)


def _ends(connection: VpnConnection) -> None:
    """Check the ends of the tunnels: at two edges, or both at one edge if the other end is AWS."""
    remotes = [tunnel.remote for tunnel in connection.tunnels if tunnel.remote]
    if not remotes:
        need_single("tunnels", (tunnel.edge for tunnel in connection.tunnels if tunnel.edge))
        return
    if len(remotes) < len(connection.tunnels):
        raise Invalid("tunnels: some lead to AWS, and others do not")
    for address in remotes:
        need_address("remote", address, 4)
    need_single("remote", remotes)
    if len({(tunnel.edge, tunnel.address) for tunnel in connection.tunnels}) > 1:
        raise Invalid("tunnels: they lead to AWS and end at several addresses, but AWS knows only one")
    if connection.authentication is not Authentication.PSK:
        raise Invalid("authentication: they lead to AWS, for which only pre-shared keys are supported")


def _certificates(connection: VpnConnection) -> None:
    if connection.authentication is Authentication.PSK and (connection.certificates or connection.authority):
        raise Invalid("certificates: the connection uses pre-shared keys")
    for edge, text in connection.certificates.items():
        need("certificates", rules.host_name(edge))
        need("certificates", vpn_rules.certificates(text))
    if connection.authority:
        need("authority", vpn_rules.certificates(connection.authority))
    elif connection.authentication is Authentication.CERTIFICATE:
        raise Invalid("authority: there is none")


def _tunnel(tunnel: Tunnel) -> None:
    need_cidr("inside_cidr", tunnel.inside_cidr, vpn_rules.inside_cidr)
    if bool(tunnel.edge) != bool(tunnel.address):
        raise Invalid("address: a tunnel has an address exactly if it has an edge")
    if tunnel.edge:
        need("edge", rules.host_name(tunnel.edge))
        need_address("address", tunnel.address, 4)
    for field, violation in vpn_rules.options(tunnel.options):
        need(field, violation)


def check_reach(key: str, reach: Reach) -> None:
    """Check the prefixes that an edge reaches through a gateway. Raises Invalid."""
    need_key(key, keys.reach(reach.vni, reach.gateway, reach.edge))
    need_id("gateway", reach.gateway, "vgw", reach.vni)
    need("edge", rules.host_name(reach.edge))
    for found in reach.prefixes:
        if need_cidr("prefixes", found.prefix).version != 4:
            raise Invalid(f"prefixes: {found.prefix} is not IPv4")
        if found.origin not in PROPAGATED or found.as_path_length < 0:
            raise Invalid(f"prefixes: {found.prefix} cannot be learned in that way")
    need_single("prefixes", (found.prefix for found in reach.prefixes))
    if list(reach.prefixes) != sorted(reach.prefixes, key=lambda found: parse_prefix(found.prefix)):
        raise Invalid("prefixes: they are not sorted")


def check_sealing_key(_key: str, said: SealingKey) -> None:
    """Check an edge's public key. Raises Invalid."""
    _base64("public", said.public, KEY_BYTES)


def check_sealed(_key: str, sealed: Sealed) -> None:
    """Check the form of the secrets sealed for an edge. Raises Invalid."""
    for place, text in sealed.boxes.items():
        if not 0 <= place <= 2:
            raise Invalid(f"boxes: {place} is not a tunnel")
        _base64("boxes", text)


def _base64(field: str, text: str, length: int | None = None) -> None:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        need(field, Violation(f"{shown(text)} is not base64: {error}", ""))
        return
    if length is not None and len(raw) != length:
        raise Invalid(f"{field}: it has {len(raw)} bytes, not {length}")
