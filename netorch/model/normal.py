"""The one way to write the route tables, filters and flow logs of a VPC: ordered, with what may be left out left out.

Two declarations that mean the same are equal in it; `export` writes it and `diff` compares it. The declarations are valid ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from netorch.model import flow_log, permission
from netorch.model.addr import parse_prefix
from netorch.model.cloud import (
    ALL_OUTBOUND,
    DEFAULT_ACL,
    DEFAULT_GROUP,
    MAIN_ROUTE_TABLE,
    AclEntryDecl,
    EgressDecl,
    FlowLogDecl,
    IngressDecl,
    NetworkAclDecl,
    PrefixListDecl,
    RouteTableDecl,
    SecurityGroupDecl,
    main_name,
)
from netorch.model.routing.target import LOCAL
from netorch.model.routing.text import RouteWords, destination_order, parse_route
from netorch.model.rule_text import ports_text, protocol_text
from netorch.model.security import DEFAULT_DESCRIPTION, DEFAULT_NAME

Rule = TypeVar("Rule", IngressDecl, EgressDecl)


def normal_lists(decls: Iterable[PrefixListDecl]) -> list[PrefixListDecl]:
    """Return prefix lists in the one way to write them."""
    return sorted(map(_list, decls), key=lambda decl: decl.name)


def normal_groups(decls: Iterable[SecurityGroupDecl]) -> list[SecurityGroupDecl]:
    """Return security groups in the one way to write them, without a default one that is as EC2's."""
    found = sorted(map(_group, decls), key=lambda decl: decl.name)
    return [decl for decl in found if decl != DEFAULT_GROUP]


def normal_acls(decls: Iterable[NetworkAclDecl]) -> list[NetworkAclDecl]:
    """Return network ACLs in the one way to write them, without a default one that is as EC2's."""
    found = sorted((_acl(decl) for decl in decls), key=lambda decl: decl.name)
    return [decl for decl in found if decl != DEFAULT_ACL]


def normal_tables(decls: Iterable[RouteTableDecl]) -> list[RouteTableDecl]:
    """Return route tables in the one way to write them, without a main one of that name that has local routes only."""
    found = sorted((normal_table(decl) for decl in decls), key=lambda decl: decl.name)
    left_out = RouteTableDecl(name=MAIN_ROUTE_TABLE)
    return [decl for decl in found if decl != left_out or main_name(found) != MAIN_ROUTE_TABLE]


def normal_flow_logs(decls: Iterable[FlowLogDecl]) -> list[FlowLogDecl]:
    """Return flow logs in the one way to write them."""
    return sorted((_flow_log(decl) for decl in decls), key=lambda decl: decl.name)


def normal_memberships(names: Sequence[str]) -> list[str]:
    """Return the groups of an instance in the one way to write them."""
    return sorted(names) if list(names) != [DEFAULT_NAME] else []


def normal_table(decl: RouteTableDecl) -> RouteTableDecl:
    """Return a route table in the one way to write it."""
    routes = sorted(map(_route, decl.routes), key=lambda words: destination_order(words.destination))
    written = [str(words) for words in routes if words.kind is not LOCAL.kind]
    return msgspec.structs.replace(decl, main=decl.main and decl.name != MAIN_ROUTE_TABLE, routes=written)


def _route(text: str) -> RouteWords:
    words = parse_route(text)
    assert isinstance(words, RouteWords)
    return words


def _flow_log(decl: FlowLogDecl) -> FlowLogDecl:
    fields = flow_log.parse_format(decl.format) if decl.format else flow_log.DEFAULT_FORMAT
    assert isinstance(fields, tuple)
    return msgspec.structs.replace(decl, format=flow_log.format_text(fields) if fields != flow_log.DEFAULT_FORMAT else "")


def _list(decl: PrefixListDecl) -> PrefixListDecl:
    cidrs = [str(prefix) for prefix in sorted(map(parse_prefix, decl.cidrs))]
    return msgspec.structs.replace(decl, cidrs=cidrs, max_entries=decl.max_entries if decl.max_entries != len(cidrs) else None)


def _group(decl: SecurityGroupDecl) -> SecurityGroupDecl:
    own = decl.name == DEFAULT_NAME and decl.description == DEFAULT_DESCRIPTION
    egress = decl.egress if isinstance(decl.egress, msgspec.UnsetType) else _rules(decl.egress)
    return msgspec.structs.replace(
        decl,
        description="" if own else decl.description,
        ingress=_rules(decl.ingress),
        egress=egress if egress != ALL_OUTBOUND else msgspec.UNSET,
    )


def _rules(decls: Sequence[Rule]) -> list[Rule]:
    return sorted(map(_rule, decls), key=_order)


def _rule(decl: Rule) -> Rule:
    field = "source" if isinstance(decl, IngressDecl) else "destination"
    text: str = getattr(decl, field)
    peer = text if permission.is_reference(text) else str(parse_prefix(text))
    return msgspec.structs.replace(decl, **{field: peer}, **_traffic(decl.protocol, decl.ports))


def _order(decl: IngressDecl | EgressDecl) -> tuple[str, str, str]:
    return str(decl.protocol), str(decl.ports), decl.source if isinstance(decl, IngressDecl) else decl.destination


def _acl(decl: NetworkAclDecl) -> NetworkAclDecl:
    return msgspec.structs.replace(decl, ingress=_entries(decl.ingress), egress=_entries(decl.egress))


def _entries(decls: Sequence[AclEntryDecl]) -> list[AclEntryDecl]:
    found = sorted(decls, key=lambda decl: decl.rule)
    return [
        msgspec.structs.replace(decl, cidr=str(parse_prefix(decl.cidr)), **_traffic(decl.protocol, decl.ports)) for decl in found
    ]


def _traffic(protocol: str | int, ports: str | int) -> dict[str, Any]:
    number = permission.protocol(protocol)
    assert isinstance(number, int)
    span = permission.ports(ports, number)
    assert isinstance(span, tuple)
    return {"protocol": _plain(protocol_text(number)), "ports": _plain(ports_text(number, *span))}


def _plain(text: str) -> str | int:
    """Return a number where a text is one: it needs no quotes."""
    return int(text) if text.isdigit() else text
