"""VPN connections of an edge, as the records that control writes: VPCs with ten connections each, all to different devices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from edge_parts.records import EDGES, UPLINKS, VTEPS

from netorch.model.eni import Placement
from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.outside.secrets import Secret, seal
from netorch.model.outside.vpn import MAX_CONNECTIONS, Tunnel, TunnelOptions, VirtualPrivateGateway, VpnConnection
from netorch.model.status import Sealed
from netorch.records import keys

PSK: Final = "the.key_of.the.benchmark"
SITE: Final = "10.44.0.0/16"
OPTIONS: Final = TunnelOptions(
    ike_versions=("ikev2",),
    phase1_encryption=("AES128-GCM-16",),
    phase1_integrity=("SHA2-256",),
    phase1_dh_groups=(19,),
    phase2_encryption=("AES128-GCM-16",),
    phase2_integrity=("SHA2-256",),
    phase2_dh_groups=(19,),
)


def vpcs_of(connections: int) -> int:
    """Return how many VPCs are needed for so many connections."""
    return -(-connections // MAX_CONNECTIONS)


def place(connection: int) -> tuple[int, int]:
    """Return the number of a connection's VPC, and the connection's number in that VPC, from 1."""
    vpc, number = divmod(connection, MAX_CONNECTIONS)
    return vpc, number + 1


def device_address(connection: int) -> str:
    """Return the address of a customer's device."""
    high, low = divmod(connection, 250)
    return f"198.19.{high}.{low + 1}"


def private_gateway_of(vni: int) -> str:
    """Return the id of a VPC's virtual private gateway."""
    return make_id("vgw", vni, 0xABCDEF01234)


def private_gateway(vni: int) -> Iterator[tuple[str, msgspec.Struct]]:
    """Yield the records of a VPC's virtual private gateway on both edges."""
    found = private_gateway_of(vni)
    yield keys.resource(found), VirtualPrivateGateway(id=found, vni=vni)
    seats = tuple(Seat(host=edge, vtep=VTEPS[edge]) for edge in EDGES)
    yield keys.gateway_mapping(vni, found), GatewayMapping(vni=vni, gateway=found, seats=seats)
    for edge in EDGES:
        yield keys.placement(edge, found), Placement(id=found)


def connection_key(vni: int, number: int) -> str:
    """Return the key of a connection's record."""
    return keys.resource(_id(vni, number))


def connection(
    vni: int, number: int, address: str, public: str, *, static: bool = False, options: TunnelOptions = OPTIONS
) -> Iterator[tuple[str, msgspec.Struct]]:
    """Yield the records of a connection to a device; the secret is sealed for the first edge with its public key."""
    found = _id(vni, number)
    tunnels = tuple(
        Tunnel(
            inside_cidr=f"169.254.{10 + number}.{4 * each}/30",
            edge=edge,
            address=UPLINKS[edge].address.partition("/")[0],
            options=options,
        )
        for each, edge in enumerate(EDGES)
    )
    yield keys.secret(EDGES[0], found), Sealed(boxes={1: seal(public, Secret(psk=PSK))})
    yield (
        keys.resource(found),
        VpnConnection(
            id=found,
            vni=vni,
            name=f"office-{number}",
            gateway=private_gateway_of(vni),
            customer_gateway=make_id("cgw", 0, number),
            number=number,
            asn=65000,
            address=address,
            static=static,
            routes=(SITE,) if static else (),
            tunnels=tunnels,
        ),
    )


def _id(vni: int, number: int) -> str:
    return make_id("vpn", vni, number << 36)  # the first digits become the name of the tunnel's device
