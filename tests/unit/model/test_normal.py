"""The normal form of a VPC."""

from __future__ import annotations

import typing

import msgspec

from netorch.model.cloud import PeeringDecl, RouteTableDecl, SubnetDecl, VpcDecl
from netorch.model.normal import NORMAL, normal_vpc


def test_whatever_a_vpc_declares_has_one_way_to_write_it() -> None:
    """Otherwise `diff` would compare new kinds in the order in which a file lists them."""
    types = typing.get_type_hints(VpcDecl)
    parts = {field for field in VpcDecl.__struct_fields__ if _part(types[field]) is not None}
    assert parts == NORMAL.keys()


def _part(found: object) -> type[msgspec.Struct] | None:
    args = typing.get_args(found) if typing.get_origin(found) is list else ()
    return args[0] if args and isinstance(args[0], type) and issubclass(args[0], msgspec.Struct) else None


def test_what_means_the_same_is_written_the_same() -> None:
    one = VpcDecl(
        name="v",
        cidrs=["10.0.0.0/16"],
        route_tables=[RouteTableDecl(name="b", main=True), RouteTableDecl(name="a", routes=["0.0.0.0/0 via blackhole"])],
        peerings=[PeeringDecl(name="q", peer="w"), PeeringDecl(name="p", peer="o/x")],
        subnets=[SubnetDecl(name="t", cidr="10.0.1.0/24", route_table="b"), SubnetDecl(name="s", cidr="10.0.0.0/24")],
    )
    other = VpcDecl(
        name="v",
        cidrs=["10.0.0.0/16"],
        owner="default",
        route_tables=[RouteTableDecl(name="a", routes=["0.0.0.0/0 via blackhole"]), RouteTableDecl(name="b", main=True)],
        peerings=[PeeringDecl(name="p", peer="o/x"), PeeringDecl(name="q", peer="default/w")],
        subnets=[SubnetDecl(name="s", cidr="10.0.0.0/24", network_acl="default"), SubnetDecl(name="t", cidr="10.0.1.0/24")],
    )
    assert normal_vpc(one) == normal_vpc(other)
