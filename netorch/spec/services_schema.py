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
    "owner": {"description": "Whose it is.", **NAME},
    "domain_name": {"description": "What completes names without dots.", "examples": ["corp.example.com"]},
    "domain_name_servers": _servers(
        f"Addresses, or {PROVIDED_DNS}: the VPC's own resolver.", f"|{PROVIDED_DNS}|AmazonProvidedDNS"
    ),
    "ntp_servers": _servers("Time servers."),
    "netbios_name_servers": _servers("NetBIOS name servers."),
    "netbios_node_type": {"description": "How NetBIOS names are resolved; 0: not told.", "enum": [0, *NODE_TYPES]},
    "tags": TAGS,
}

# field -> constraints and description, as in `schema`
_RECORD_SET: Final[dict[str, Schema]] = {
    "name": {"description": "In front of the zone's domain; @ is the domain itself, * all names that have no record set."},
    "type": {"description": "The type of its values."},
    "ttl": {"description": "For how many seconds an answer may be remembered.", "minimum": 0, "maximum": MAX_TTL},
    "values": {
        "description": "Addresses, or as in master files; texts have no quotes.",
        "items": {"type": "string"},
        "minItems": 1,
        "examples": [["10.44.12.4"], ["10 mail.corp.example"], ["0 5 5432 db.corp.example"]],
    },
}
_PRIVATE_ZONE: Final[dict[str, Schema]] = {
    "name": {"description": "Its name, unique for its owner.", **NAME},
    "owner": {"description": "Whose it is.", **NAME},
    "domain": {"description": "What its names end with; its name when left out.", "examples": ["corp.example"]},
    "vpcs": {"description": "The owner's VPCs that answer for it.", "items": {"type": "string", **NAME}, "minItems": 1},
    "records": {"description": "Its record sets, one for each name and type."},
    "tags": TAGS,
}
SERVICES: Final[dict[type, dict[str, Schema]]] = {
    GatewayServiceDecl: {
        "name": {"description": "Its name; endpoints write com.netorch. and this.", "pattern": SERVICE_PATTERN},
        "prefixes": {
            "description": "At any address of which VPCs reach it.",
            "items": {"type": "string", "pattern": f"^{IPV4}/[0-9]{{1,2}}$", "examples": ["198.19.0.0/24"]},
            "minItems": 1,
            "maxItems": MAX_PREFIXES,
        },
        "upstream": {"description": "Where the edges reach it.", "pattern": UPSTREAM, "examples": ["http://192.0.2.80:9000"]},
        "tls": {
            "description": "To which address and port TLS is passed on as it is; no TLS when left out.",
            "pattern": f"^({IPV4}:[0-9]{{1,5}})?$",
        },
        "hosts": {"description": "The names by which VPCs know it; NAME.netorch.internal when left out."},
        "tags": TAGS,
    },
    BucketDecl: {
        "name": {"description": "The bucket's name."},
        "service": {"description": "The operator's service that has it, e.g. s3.", **NAME},
        "owner": {"description": "Whose it is; the operator says so.", **NAME},
        "policy": {
            "description": "Who may use it, as an IAM policy in JSON; nothing permits all, and left out it stays as it is."
        },
        "tags": TAGS,
    },
    GatewayEndpointDecl: {
        "name": {"description": "Its name, unique in the VPC.", **NAME},
        "service": {"description": "The operator's service that it leads to, e.g. com.netorch.s3.", **NAME},
        "route_tables": {
            "description": "The names of the route tables that lead to it.",
            "items": {"type": "string", **NAME},
        },
        "policy": {"description": "What may be done by it, as an IAM policy in JSON; everything when left out."},
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
        "private_dns": {"description": "Whether the service's private name leads to it."},
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
            "description": "Ports that endpoints have, and after a colon those of the targets where they are others.",
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
        "acceptance_required": {"description": "Whether somebody accepts each connection."},
        "principals": {"description": "Owners who may ask for connections beside the VPC's own, or * for everybody."},
        "accept": {"description": "The connections that are accepted: OWNER/VPC/ENDPOINT, or ids; left out, commands decide."},
        "private_dns_name": {"description": "A name that consumers may let lead to their endpoints."},
        "proxy_protocol": {"description": "Whether targets are told whose each TCP connection is: PROXY protocol, version 2."},
        "tags": TAGS,
    },
    DhcpOptionsDecl: _DHCP_OPTIONS,
    MetadataOptionsDecl: {
        "http_endpoint": {"description": "Whether its metadata are served."},
        "http_tokens": {"description": "Whether it needs a token for them: IMDSv2."},
        "http_put_response_hop_limit": {
            "description": "The TTL of the answer with the token.",
            "minimum": 1,
            "maximum": HOPS_MOST,
        },
        "instance_metadata_tags": {"description": "Whether its tags are among them."},
    },
    RecordSetDecl: _RECORD_SET,
    PrivateZoneDecl: _PRIVATE_ZONE,
}
