"""Shared parts of the JSON Schema of vpc.yaml: names, addresses, prefixes, tags, rules."""

from __future__ import annotations

from typing import Any, Final

from netorch.model import flow_log, permission, rules
from netorch.model.outside.direct_connect import VLAN_LAST
from netorch.model.routing.target import TargetKind
from netorch.model.security import PORT_LAST

OCTET: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4: Final = rf"{OCTET}(\.{OCTET}){{3}}"
IPV6: Final = r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*"
Schema = dict[str, Any]

PART: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}"  # one part of a path of names
NAME: Final[Schema] = {"pattern": rules.NAME_PATTERN}
ADDRESS: Final[Schema] = {"pattern": f"^{IPV4}$"}
ADDRESS6: Final[Schema] = {"pattern": f"^{IPV6}$"}
CIDR: Final[Schema] = {"pattern": f"^{IPV4}/(1[6-9]|2[0-8])$", "examples": ["10.0.0.0/16"]}
MAPPED_RANGE: Final = f"^{IPV4}/[0-9]{{1,2}}={IPV4}/[0-9]{{1,2}}$"
CAPACITY: Final[Schema] = {"minimum": 0, "maximum": rules.MAX_CAPACITY}
VLAN: Final[Schema] = {"minimum": 1, "maximum": VLAN_LAST}
PROTOCOL: Final[Schema] = {"description": "tcp, udp, icmp, icmpv6, all, or a number from 0 to 255."}
PORTS: Final[Schema] = {
    "description": "443 or 8000-8080; for icmp and icmpv6 a type, 8, or type and code, 3/4; everything when left out."
}
RULE_PROTOCOL: Final[Schema] = {
    "anyOf": [
        {"type": "string", "pattern": f"^({'|'.join(permission.PROTOCOLS)}|[0-9]{{1,3}})$"},
        {"type": "integer", "minimum": 0, "maximum": permission.PROTOCOL_LAST},
    ]
}
RULE_PORTS: Final[Schema] = {
    "anyOf": [
        {"type": "string", "pattern": f"^$|{permission.PORTS_PATTERN}"},
        {"type": "integer", "minimum": 0, "maximum": PORT_LAST},
    ]
}
PEER: Final[Schema] = {
    "pattern": f"^({IPV4}/[0-9]{{1,2}}|{IPV6}/[0-9]{{1,3}}|(sg|pl)-.+)$",
    "examples": ["0.0.0.0/0", "sg-web", "pl-offices"],
}
TARGET: Final = "|".join(sorted(kind.value for kind in TargetKind))
ROUTE: Final = rf"^ *({IPV4}/[0-9]{{1,2}}|{IPV6}/[0-9]{{1,3}}|pl-\S+) +via +({TARGET})([ -].*)?$"
DESCRIPTION: Final[Schema] = {"description": "Its purpose.", "maxLength": rules.MAX_DESCRIPTION}
FIELD: Final = "|".join(rf"\$\{{{field}\}}|{field}" for field in flow_log.FIELDS)
TAGS: Final[Schema] = {
    "description": "Free labels. The prefixes aws: and netorch: are reserved.",
    "maxProperties": rules.MAX_TAGS,
    "propertyNames": {
        "minLength": 1,
        "maxLength": rules.MAX_TAG_KEY,
        "not": {"pattern": r"^([aA][wW][sS]|[nN][eE][tT][oO][rR][cC][hH]):"},
    },
    "additionalProperties": {"type": "string", "maxLength": rules.MAX_TAG_VALUE},
}


def cidr6(length: int, words: str) -> Schema:
    """Return the pattern of an IPv6 prefix with a fixed length, or of the words that replace a prefix."""
    return {"pattern": f"^({IPV6}/{length}|{words})$"}
