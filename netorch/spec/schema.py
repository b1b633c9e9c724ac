"""The JSON Schema of vpc.yaml, for editors: what they can know while one types. `load_cloud` knows more, e.g. overlaps."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from netorch.model import cloud, rules
from netorch.model.ids import VNI_FIRST, VNI_LAST

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_OCTET: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = rf"{_OCTET}(\.{_OCTET}){{3}}"
_IPV6: Final = r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*"
_Schema = dict[str, Any]

_NAME: Final[_Schema] = {"pattern": rules.NAME_PATTERN}
_ADDRESS: Final[_Schema] = {"pattern": f"^{_IPV4}$"}
_ADDRESS6: Final[_Schema] = {"pattern": f"^{_IPV6}$"}
_CIDR: Final[_Schema] = {"pattern": f"^{_IPV4}/(1[6-9]|2[0-8])$", "examples": ["10.0.0.0/16"]}
_TAGS: Final[_Schema] = {
    "description": "Free labels. The prefixes aws: and netorch: are reserved.",
    "maxProperties": rules.MAX_TAGS,
    "propertyNames": {
        "minLength": 1,
        "maxLength": rules.MAX_TAG_KEY,
        "not": {"pattern": r"^([aA][wW][sS]|[nN][eE][tT][oO][rR][cC][hH]):"},
    },
    "additionalProperties": {"type": "string", "maxLength": rules.MAX_TAG_VALUE},
}


def _cidr6(length: int) -> _Schema:
    return {"pattern": f"^{_IPV6}/{length}$"}


# By type and field: what the types do not say. A test holds it complete.
_FIELDS: Final[dict[type, dict[str, _Schema]]] = {
    cloud.HostDecl: {
        "name": {"description": "The host's name.", "pattern": rules.HOST_NAME_PATTERN},
        "underlay": {"description": "The IPv4 address that other hosts send VXLAN packets to: the VTEP.", **_ADDRESS},
        "role": {"description": "What the host is for: carrying instances, or leading out of the cloud."},
        "tags": _TAGS,
    },
    cloud.RouteTableDecl: {
        "name": {"description": "The table's name, unique in the VPC; not main.", **_NAME},
        "tags": _TAGS,
    },
    cloud.SubnetDecl: {
        "name": {"description": "The subnet's name, unique in the VPC.", **_NAME},
        "cidr": {"description": "A /16 to /28 inside one of the VPC's cidrs. Five addresses of it are reserved.", **_CIDR},
        "ipv6_cidr": {"description": "A /64 inside one of the VPC's ipv6_cidrs.", **_cidr6(rules.IPV6_SUBNET_LENGTH)},
        "route_table": {"description": "The name of one of the VPC's route_tables; the main table when left out.", **_NAME},
        "tags": _TAGS,
    },
    cloud.InstanceDecl: {
        "name": {"description": "The instance's name, unique in the VPC.", **_NAME},
        "subnet": {"description": "The name of its subnet; the VPC's only one when left out.", **_NAME},
        "host": {
            "description": "The name of the hypervisor; the least loaded one when left out.",
            "pattern": rules.HOST_NAME_PATTERN,
        },
        "address": {"description": "Its private IPv4 address; the next free one when left out.", **_ADDRESS},
        "ipv6_address": {"description": "Its IPv6 address; the next free one of a subnet with IPv6 when left out.", **_ADDRESS6},
        "mac": {"description": "Its MAC address, unicast; a new one when left out.", "pattern": rules.MAC_PATTERN},
        "attachment": {"description": "A namespace that netorch makes, an existing one, or a tap device for a virtual machine."},
        "netns": {"description": "With attachment existing: a name in /run/netns or an absolute path."},
        "tags": _TAGS,
    },
    cloud.VpcDecl: {
        "name": {"description": "The VPC's name, unique for its owner.", **_NAME},
        "owner": {"description": "Whose VPC it is.", **_NAME},
        "cidrs": {
            "description": "One to five IPv4 ranges, /16 to /28.",
            "items": {"type": "string", **_CIDR},
            "minItems": 1,
            "maxItems": 5,
        },
        "ipv6_cidrs": {"description": "Up to five IPv6 ranges, /56.", "items": {"type": "string", **_cidr6(56)}, "maxItems": 5},
        "vni": {"description": "The wished VXLAN network identifier; a free one when left out."},
        "tags": _TAGS,
        "route_tables": {"description": "Route tables besides the main one."},
        "subnets": {"description": "The VPC's subnets; they do not overlap."},
        "instances": {"description": "The instances in the VPC."},
    },
    cloud.Cloud: {
        "hosts": {"description": "The machines; may be left out when they are known already."},
        "vpcs": {"description": "The VPCs with all that is in them."},
        "instances": {"description": "Instances in the default VPC."},
    },
}


def json_schema() -> _Schema:
    """Return the JSON Schema (draft 2020-12) of vpc.yaml."""
    (reference,), definitions = msgspec.json.schema_components([cloud.Cloud], ref_template="#/$defs/{name}")
    for type_, fields in _FIELDS.items():
        properties = definitions[type_.__name__]["properties"]
        for name, extra in fields.items():
            properties[name].update(extra)
    vni = definitions["VpcDecl"]["properties"]["vni"]
    vni["anyOf"] = [{"type": "integer", "minimum": VNI_FIRST, "maximum": VNI_LAST}, {"type": "null"}]
    return {"$schema": DIALECT, "title": "netorch vpc.yaml", **reference, "$defs": definitions}
