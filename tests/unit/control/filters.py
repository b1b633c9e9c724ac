"""Groups, ACLs and prefix lists that a file may declare, and the invariants of stored ones."""

from __future__ import annotations

import itertools

from netorch.control.actions.acls import entries_of
from netorch.control.actions.permissions import Peers, rules_of, words_of
from netorch.control.base.quotas import Quotas
from netorch.model.addr import version_of
from netorch.model.cloud import (
    AclAction,
    AclEntryDecl,
    EgressDecl,
    IngressDecl,
    NetworkAclDecl,
    PrefixListDecl,
    RouteTableDecl,
    SecurityGroupDecl,
)
from netorch.model.security import Direction, NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import Subnet
from netorch.records.vpc import VpcRecords

# Further declarations of a file, with groups that refer to each other.
FILTERS: list[dict[str, object]] = [
    {
        "security_groups": [
            SecurityGroupDecl(name="a", ingress=[IngressDecl(protocol="all", source="sg-b")]),
            SecurityGroupDecl(name="b", egress=[EgressDecl(protocol="tcp", ports=443, destination="sg-a")]),
        ],
        "network_acls": [NetworkAclDecl(name="a")],
        "route_tables": [RouteTableDecl(name="main", routes=["192.0.2.0/24 via blackhole"]), RouteTableDecl(name="r")],
    },
    {
        "prefix_lists": [PrefixListDecl(name="a", cidrs=["10.0.0.0/8"], max_entries=58)],
        "security_groups": [
            SecurityGroupDecl(name="default", ingress=[IngressDecl(protocol="all", source="sg-c")]),
            SecurityGroupDecl(name="c", ingress=[IngressDecl(protocol="all", source="sg-b")]),
            SecurityGroupDecl(name="b", ingress=[IngressDecl(protocol="tcp", source=peer) for peer in ("sg-c", "pl-a")]),
        ],
        "network_acls": [
            NetworkAclDecl(name="a", ingress=[AclEntryDecl(rule=100, action=AclAction.ALLOW, protocol="all", cidr="0.0.0.0/0")])
        ],
    },
]


def check_filters(records: VpcRecords) -> None:
    """Check the references from and to groups, ACLs and prefix lists, and their counts."""
    assert all(subnet.record.acl in {"", *records.of(NetworkAcl)} for subnet in records.of(Subnet).values())
    assert [acl.record.is_default for acl in records.of(NetworkAcl).values()].count(True) == 1
    assert [group.record.is_default for group in records.of(SecurityGroup).values()].count(True) == 1
    peers = Peers(records.of(SecurityGroup), records.of(PrefixList))
    assert len(peers.names) == len(set(peers.names.values())) == len(records.of(SecurityGroup)) + len(records.of(PrefixList))
    for stored in records.of(SecurityGroup).values():
        group = stored.record
        for found in (group.ingress, group.egress):
            assert all(rule.peer in peers.names or rule.cidr for rule in found)
            assert len({words_of(rule) for rule in found}) == len(found)
        assert len({rule.id for rule in group.ingress + group.egress}) == len(group.ingress + group.egress)
        for direction, version in itertools.product(Direction, (4, 6)):
            assert peers.count(rules_of(group, direction), version) <= Quotas().rules_per_group
    for acl, direction in itertools.product(records.of(NetworkAcl).values(), Direction):
        numbers = [entry.number for entry in entries_of(acl.record, direction)]
        assert numbers == sorted(set(numbers))
    for prefix_list in records.of(PrefixList).values():
        assert len(prefix_list.record.entries) <= prefix_list.record.max_entries
        assert {version_of(entry.cidr) for entry in prefix_list.record.entries} == {prefix_list.record.version}
