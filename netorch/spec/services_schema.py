"""What an editor can know of what instances are told."""

from __future__ import annotations

from typing import Final

from netorch.model.services.dhcp_options import MAX_SERVERS, NODE_TYPES, PROVIDED_DNS
from netorch.spec.schema_words import IPV4, NAME, TAGS, Schema


def _servers(what: str, words: str = "") -> Schema:
    items = {"type": "string", "pattern": f"^({IPV4}{words})$"}
    return {"description": what, "items": items, "maxItems": MAX_SERVERS, "uniqueItems": True}


DHCP_OPTIONS: Final[dict[str, Schema]] = {
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
