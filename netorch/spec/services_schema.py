"""What an editor can know of endpoints, services, and of what instances are told."""

from __future__ import annotations

from typing import Final

from netorch.model.endpoints.declared import GatewayEndpointDecl
from netorch.model.services.declared import DhcpOptionsDecl, MetadataOptionsDecl
from netorch.model.services.dhcp_options import MAX_SERVERS, NODE_TYPES, PROVIDED_DNS
from netorch.model.services.metadata import HOPS_MOST
from netorch.spec.schema_words import IPV4, NAME, TAGS, Schema


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

# By type and field, as in `schema`.
SERVICES: Final[dict[type, dict[str, Schema]]] = {
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
}
