"""The JSON Schema of endpoints, services, private zones, DHCP options and metadata options."""

from __future__ import annotations

from typing import Final

from netorch.model.endpoints.declared import (
    BucketDecl,
    EndpointServiceDecl,
    GatewayEndpointDecl,
    GatewayServiceDecl,
    InterfaceEndpointDecl,
)
from netorch.model.endpoints.endpoint_rules import MAX_PREFIXES, SERVICE_PATTERN
from netorch.model.endpoints.endpoint_service import MOST_PORTS, MOST_SUBNETS, MOST_TARGETS
from netorch.model.services.declared import DhcpOptionsDecl, MetadataOptionsDecl
from netorch.model.services.declared_zones import PrivateZoneDecl, RecordSetDecl
from netorch.model.services.dhcp_options import MAX_SERVERS, NODE_TYPES, PROVIDED_DNS
from netorch.model.services.metadata import HOPS_MOST
from netorch.model.services.zones import MAX_TTL
from netorch.spec.schema_words import IPV4, NAME, PART, TAGS, Schema

UPSTREAM: Final = rf"^http://{IPV4}:[0-9]{{1,5}}$"


def _servers(what: str, words: str = "") -> Schema:
    items = {"type": "string", "pattern": f"^({IPV4}{words})$"}
    return {"description": what, "items": items, "maxItems": MAX_SERVERS, "uniqueItems": True}


_DHCP_OPTIONS: Final[dict[str, Schema]] = {
    "name": {"description": "Its name, unique for its owner; VPCs name it.", **NAME},
    "owner": {"description": "Its owner.", **NAME},
    "domain_name": {"description": "The domain that completes names without dots.", "examples": ["corp.example.com"]},
    "domain_name_servers": _servers(
        f"Addresses, or {PROVIDED_DNS}: the VPC's own resolver.", f"|{PROVIDED_DNS}|AmazonProvidedDNS"
    ),
    "ntp_servers": _servers("Time servers."),
    "netbios_name_servers": _servers("NetBIOS name servers."),
    "netbios_node_type": {"description": "The NetBIOS node type; 0: not sent.", "enum": [0, *NODE_TYPES]},
    "tags": TAGS,
}

# field -> constraints and description, as in `schema`
_RECORD_SET: Final[dict[str, Schema]] = {
    "name": {"description": "The name before the zone's domain; @ is the domain itself, * every name without a record set."},
    "type": {"description": "The record type."},
    "ttl": {"description": "Its TTL: for how many seconds an answer may be cached.", "minimum": 0, "maximum": MAX_TTL},
    "values": {
        "description": "Addresses, or values as in master files; TXT values without quotes.",
        "items": {"type": "string"},
        "minItems": 1,
        "examples": [["10.44.12.4"], ["10 mail.corp.example"], ["0 5 5432 db.corp.example"]],
    },
}
_PRIVATE_ZONE: Final[dict[str, Schema]] = {
    "name": {"description": "Its name, unique for its owner.", **NAME},
    "owner": {"description": "Its owner.", **NAME},
    "domain": {"description": "Its domain; its name when left out.", "examples": ["corp.example"]},
    "vpcs": {"description": "The owner's VPCs in which it is visible.", "items": {"type": "string", **NAME}, "minItems": 1},
    "records": {"description": "Its record sets, one for each name and type."},
    "tags": TAGS,
}
SERVICES: Final[dict[type, dict[str, Schema]]] = {
    GatewayServiceDecl: {
        "name": {"description": "Its name; endpoints refer to it as com.netorch.NAME.", "pattern": SERVICE_PATTERN},
        "prefixes": {
            "description": "Its prefixes; VPCs reach it at every address in them.",
            "items": {"type": "string", "pattern": f"^{IPV4}/[0-9]{{1,2}}$", "examples": ["198.19.0.0/24"]},
            "minItems": 1,
            "maxItems": MAX_PREFIXES,
        },
        "upstream": {
            "description": "Its URL, as the edges reach it.",
            "pattern": UPSTREAM,
            "examples": ["http://192.0.2.80:9000"],
        },
        "tls": {
            "description": "The address and port to which TLS is passed through unchanged; no TLS when left out.",
            "pattern": f"^({IPV4}:[0-9]{{1,5}})?$",
        },
        "hosts": {"description": "Its DNS names in VPCs; NAME.netorch.internal when left out."},
        "tags": TAGS,
    },
    BucketDecl: {
        "name": {"description": "The bucket's name."},
        "service": {"description": "The operator's service that has it, e.g. s3.", **NAME},
        "owner": {"description": "Its owner, as the operator decides.", **NAME},
        "policy": {
            "description": "The bucket policy, IAM in JSON. An empty one permits everything; left out, the policy stays as it is."
        },
        "tags": TAGS,
    },
    GatewayEndpointDecl: {
        "name": {"description": "Its name, unique in the VPC.", **NAME},
        "service": {"description": "The operator's service, e.g. com.netorch.s3.", **NAME},
        "route_tables": {
            "description": "The names of the route tables that get its routes.",
            "items": {"type": "string", **NAME},
        },
        "policy": {"description": "The endpoint policy, IAM in JSON; it permits everything when left out."},
        "tags": TAGS,
    },
    InterfaceEndpointDecl: {
        "name": {"description": "Its name, unique in the VPC among all endpoints.", **NAME},
        "service": {
            "description": "The service: VPC/SERVICE, OWNER/VPC/SERVICE, or its id.",
            "pattern": rf"{PART}(/{PART[1:]}){{0,2}}$",
            "examples": ["data/db", "globex/data/db", "vpce-svc-00138800000000001"],
        },
        "subnets": {
            "description": "The names of the subnets in which it has an address.",
            "items": {"type": "string", **NAME},
            "minItems": 1,
            "maxItems": MOST_SUBNETS,
            "uniqueItems": True,
        },
        "security_groups": {
            "description": "The names of its security groups; the default one when left out.",
            "items": {"type": "string", **NAME},
        },
        "private_dns": {"description": "Whether the service's private DNS name resolves to it."},
        "tags": TAGS,
    },
    EndpointServiceDecl: {
        "name": {"description": "Its name, unique in the VPC.", **NAME},
        "subnets": {
            "description": "The names of the subnets in which connections get their addresses.",
            "items": {"type": "string", **NAME},
            "minItems": 1,
            "uniqueItems": True,
        },
        "ports": {
            "description": "Ports of the endpoints; a target port that differs follows a colon.",
            "items": {"type": "string", "pattern": "^(tcp|udp)/[0-9]{1,5}(:[0-9]{1,5})?$"},
            "minItems": 1,
            "maxItems": MOST_PORTS,
            "examples": [["tcp/443:8443"]],
        },
        "targets": {
            "description": "The names of instances of the VPC, or the ids of interfaces.",
            "items": {"type": "string", **NAME},
            "maxItems": MOST_TARGETS,
        },
        "acceptance_required": {"description": "Whether each connection must be accepted."},
        "principals": {"description": "Owners who may ask for connections beside the VPC's own, or * for everybody."},
        "accept": {"description": "The accepted connections: OWNER/VPC/ENDPOINT, or ids; when left out, commands accept them."},
        "private_dns_name": {"description": "A DNS name that consumers may resolve to their endpoints."},
        "proxy_protocol": {"description": "Whether targets learn the client of each TCP connection: PROXY protocol, version 2."},
        "tags": TAGS,
    },
    DhcpOptionsDecl: _DHCP_OPTIONS,
    MetadataOptionsDecl: {
        "http_endpoint": {"description": "Whether the metadata service answers."},
        "http_tokens": {"description": "Whether requests need a token: IMDSv2."},
        "http_put_response_hop_limit": {
            "description": "The IP TTL of the answer with the token.",
            "minimum": 1,
            "maximum": HOPS_MOST,
        },
        "instance_metadata_tags": {"description": "Whether the metadata include its tags."},
    },
    RecordSetDecl: _RECORD_SET,
    PrivateZoneDecl: _PRIVATE_ZONE,
}
