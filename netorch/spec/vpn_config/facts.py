"""The input of configurations for the customer's side, and the names of devices in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from netorch.errors import ApiError
from netorch.model.outside.vpn import Authentication, Tunnel, VirtualPrivateGateway, VpnConnection, if_id, inside_addresses

HOLD_TIME_S: Final = 30  # BGP hold time, as in EC2
KEEPALIVE_S: Final = 10
DPD_RETRIES: Final = 3  # unanswered DPD requests until the peer counts as dead, as in EC2
EXAMPLE: Final = "192.168.0.0/16"  # a customer network

Keys = Mapping[int, str]  # tunnel (1 or 2) -> pre-shared key, if the caller knows it


class Ends(msgspec.Struct, frozen=True):
    """The two ends of one tunnel."""

    connection: VpnConnection
    number: int  # 1 or 2
    tunnel: Tunnel

    @property
    def name(self) -> str:
        return f"{self.connection.id}-{self.number}"

    @property
    def identity(self) -> str:
        """The IKE identity of the customer's device."""
        return self.connection.identity or self.connection.address

    @property
    def edge_inside(self) -> str:
        return inside_addresses(self.tunnel.inside_cidr)[0]

    @property
    def customer_inside(self) -> str:
        return inside_addresses(self.tunnel.inside_cidr)[1]

    @property
    def if_id(self) -> int:
        return if_id(self.connection.vni, self.connection.number, self.number - 1)

    @property
    def device(self) -> str:
        """The xfrm interface's name, unique over all connections, within IFNAMSIZ."""
        return f"vpn{self.if_id:x}"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A VPN connection, its gateway and the VPC's CIDRs."""

    connection: VpnConnection
    gateway: VirtualPrivateGateway
    cidrs: tuple[str, ...]  # IPv4, of the VPC

    @property
    def ends(self) -> tuple[Ends, ...]:
        """The tunnels with an edge."""
        pairs = enumerate(self.connection.tunnels, 1)
        return tuple(Ends(self.connection, number, tunnel) for number, tunnel in pairs if tunnel.edge)

    @property
    def has_certificates(self) -> bool:
        return self.connection.authentication is Authentication.CERTIFICATE

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the tunnels without an edge."""
        return tuple(number for number, tunnel in enumerate(self.connection.tunnels, 1) if not tunnel.edge)


def facts_of(connection: VpnConnection, gateway: VirtualPrivateGateway, cidrs: tuple[str, ...]) -> Facts:
    """Return the input of a configuration. Raises ApiError: no tunnel has an edge."""
    facts = Facts(connection=connection, gateway=gateway, cidrs=cidrs)
    if not facts.ends:
        what = "none of its tunnels ends at an edge, so there is nothing to connect to"
        raise ApiError("IncorrectState", f"{connection.id}: {what}; ask the operator to add edges to the gateway's pair")
    return facts


def need_bgp(facts: Facts, what: str) -> None:
    """Raise ApiError if the connection has static routes, because a routing daemon needs BGP."""
    if facts.connection.static:
        why = f"{facts.connection.id} has static routes, so {what} has no BGP to speak"
        raise ApiError("InvalidParameterCombination", f"{why}; the format swanctl has the routes")


def placeholder(number: int) -> str:
    """Return the placeholder of an unknown pre-shared key. It is not a valid key: keys have no such characters."""
    return f"<pre-shared key of tunnel {number}>"


def head(facts: Facts, what: str, comment: str) -> list[str]:
    """Return the comment lines at the top of a configuration."""
    connection = facts.connection
    lines = [
        f"VPN connection {connection.id} ({connection.name}): {what}, the customer's side.",
        f"Virtual private gateway {connection.gateway} (AS {facts.gateway.asn}), customer gateway {connection.customer_gateway}.",
    ]
    lines += [
        f"Tunnel {number} has no edge at present. Export the configuration again once it has one." for number in facts.missing
    ]
    return [f"{comment} {line}" for line in lines]
