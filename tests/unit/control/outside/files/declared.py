"""A declared cloud with internet access: two pairs of edges with pools, a VPC with a gateway, elastic IPs."""

from __future__ import annotations

import msgspec

from netorch.model.cloud import (
    AddressPoolDecl,
    Cloud,
    ElasticIpDecl,
    HostDecl,
    InstanceDecl,
    InternetGatewayDecl,
    RouteTableDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import Role, Uplink
from tests.unit.control.apply.clouds import HOSTS


def edge(name: str, number: int, pair: str) -> HostDecl:
    uplink = Uplink(device="eth2", address=f"198.18.0.{number}/24", gateway="198.18.0.254", asn=64600 + number, gateway_asn=64512)
    return HostDecl(name=name, underlay=f"192.0.2.{number}", role=Role.EDGE, pair=pair, uplink=uplink)


EDGES = [edge("e1", 21, "west"), edge("e2", 22, "west"), edge("e3", 23, "east")]
POOLS = [
    AddressPoolDecl(name="west", pair="west", cidrs=["203.0.113.0/28"]),
    AddressPoolDecl(name="east", pair="east", cidrs=["203.0.113.128/28"]),
]
WEB = ElasticIpDecl(name="web", owner="acme", pool="west")
SHOP = VpcDecl(
    name="shop",
    owner="acme",
    cidrs=["10.0.0.0/16"],
    internet_gateway=InternetGatewayDecl(name="gw", tags={"a": "b"}),
    route_tables=[RouteTableDecl(name="public", routes=["0.0.0.0/0 via igw"])],
    subnets=[
        SubnetDecl(name="front", cidr="10.0.1.0/24", route_table="public", public_on_launch=True),
        SubnetDecl(name="back", cidr="10.0.2.0/24"),
    ],
    instances=[
        InstanceDecl(name="web-1", subnet="front", elastic_ip="web"),
        InstanceDecl(name="web-2", subnet="front"),
        InstanceDecl(name="db", subnet="back"),
        InstanceDecl(name="job", subnet="back", public_address=True),
        InstanceDecl(name="quiet", subnet="front", public_address=False),
    ],
)
OUTSIDE = Cloud(name="outside", hosts=[*HOSTS, *EDGES], address_pools=POOLS, elastic_ips=[WEB], vpcs=[SHOP])


def cloud(elastic: list[ElasticIpDecl] | None = None, **changes: object) -> Cloud:
    """Return the cloud with changes in the VPC, or with other elastic IPs."""
    vpcs = [msgspec.structs.replace(SHOP, **changes)]
    return msgspec.structs.replace(OUTSIDE, vpcs=vpcs, elastic_ips=[WEB] if elastic is None else elastic)


def instances(**public: dict[str, object]) -> list[InstanceDecl]:
    """Return the VPC's instances, some of them changed; in keywords, underscores stand for the dashes of names."""
    return [msgspec.structs.replace(decl, **public.get(decl.name.replace("-", "_"), {})) for decl in SHOP.instances]
