"""A cloud as a customer declares it: names instead of ids, what may be left out left out.

The decoded form of vpc.yaml. `netorch.model.check` finds everything that is wrong with one; `netorch.control.cloud` turns it
into records.
"""

from __future__ import annotations

import msgspec

from netorch.model.eni import Attachment, Role
from netorch.model.vpc import Tags

DEFAULT_OWNER = "default"
DEFAULT_VPC_NAME = "default"
DEFAULT_VPC_CIDR = "172.31.0.0/16"  # EC2's
DEFAULT_SUBNET_NAME = "default"
DEFAULT_SUBNET_CIDR = "172.31.0.0/20"


class HostDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A machine that carries instances or an edge."""

    name: str
    underlay: str
    role: Role = Role.HYPERVISOR
    tags: Tags = {}


class RouteTableDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A route table besides the main one. Its local routes are implicit."""

    name: str
    tags: Tags = {}


class SubnetDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A subnet. `route_table` is a name; the main table when left out."""

    name: str
    cidr: str
    ipv6_cidr: str = ""
    route_table: str = ""
    tags: Tags = {}


class InstanceDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An instance with one interface.

    Left out: the subnet (the VPC's only one), the host (the least loaded hypervisor), the addresses (the next free ones),
    the attachment (a namespace that netorch makes).
    """

    name: str
    subnet: str = ""
    host: str = ""
    address: str = ""
    ipv6_address: str = ""
    mac: str = ""
    attachment: Attachment = Attachment.NETNS
    netns: str = ""
    tags: Tags = {}


class VpcDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A VPC with everything in it. `owner` and `name` together say which VPC it is."""

    name: str
    cidrs: list[str]
    owner: str = DEFAULT_OWNER
    ipv6_cidrs: list[str] = []
    vni: int | None = None  # a wish, e.g. for a lab that is to look the same each time
    tags: Tags = {}
    route_tables: list[RouteTableDecl] = []
    subnets: list[SubnetDecl] = []
    instances: list[InstanceDecl] = []


class Cloud(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A whole vpc.yaml. Instances at the top level land in the default VPC, which is made when the first one comes."""

    hosts: list[HostDecl] = []
    vpcs: list[VpcDecl] = []
    instances: list[InstanceDecl] = []
