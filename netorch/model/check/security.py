"""Checks of the prefix lists, security groups and network ACLs of one VPC."""

from __future__ import annotations

from collections.abc import Sequence

from netorch.model import permission, rules
from netorch.model.addr import Prefix
from netorch.model.check.notes import Notes, Where, path_of
from netorch.model.cloud import AclEntryDecl, EgressDecl, IngressDecl, NetworkAclDecl, PrefixListDecl, SecurityGroupDecl, VpcDecl
from netorch.model.endpoints.endpoint import SERVICE_PREFIX
from netorch.model.ids import is_id
from netorch.model.permission import GROUP_PREFIX, LIST_PREFIX, Words
from netorch.model.rules import Violation, shown
from netorch.model.security import ACL_NUMBER_LAST, DEFAULT_NAME, Direction

Names = dict[str, int]


class Policies:
    """The names that subnets, instances and rules of one VPC may use. None: unknown, because one name is invalid."""

    def __init__(self) -> None:
        self.groups: Names | None = {DEFAULT_NAME: -1}
        self.acls: Names | None = {DEFAULT_NAME: -1}
        self.lists: Names | None = {}
        self.versions: dict[str, int] = {}  # names of prefix lists


def service_lists(vpc: VpcDecl) -> set[str]:
    """Return the names of the prefix lists that a VPC's declared endpoints create."""
    return {f"{SERVICE_PREFIX}{decl.service.removeprefix(SERVICE_PREFIX)}" for decl in vpc.gateway_endpoints}


def check_policies(notes: Notes, vpc: VpcDecl, where: Where) -> Policies:
    """Report errors in a VPC's prefix lists, groups and ACLs. Return their names."""
    return _Checker(notes, vpc).check(where)


def no_such(noun: str, name: str, names: Names, field: str) -> Violation:
    """Return the violation of an unknown name. `field` is the VPC's field with the known names."""
    known = ", ".join(names) if len(names) <= 10 else ""
    return Violation(f"there is no {noun} {shown(name)}", f"choose one of {known}" if known else f"add it to the VPC's {field}")


class _Checker:
    def __init__(self, notes: Notes, vpc: VpcDecl) -> None:
        self._notes = notes
        self._vpc = vpc
        self._policies = Policies()

    def check(self, where: Where) -> Policies:
        """Check names first, then rules, so that rules may refer to later declarations."""
        vpc, found = self._vpc, self._policies
        if vpc.prefix_lists:
            found.lists = self._names(vpc.prefix_lists, "prefix_lists", where, LIST_PREFIX, {})
        if vpc.security_groups:
            found.groups = self._names(vpc.security_groups, "security_groups", where, GROUP_PREFIX, {DEFAULT_NAME: -1})
        if vpc.network_acls:
            found.acls = self._names(vpc.network_acls, "network_acls", where, "", {DEFAULT_NAME: -1})
        for j, prefix_list in enumerate(vpc.prefix_lists):
            self._prefix_list(prefix_list, (*where, "prefix_lists", j))
        for j, group in enumerate(vpc.security_groups):
            self._group(group, (*where, "security_groups", j))
        for j, acl in enumerate(vpc.network_acls):
            for direction, entries in ((Direction.INGRESS, acl.ingress), (Direction.EGRESS, acl.egress)):
                self._entries(entries, (*where, "network_acls", j, direction.value))
        return found

    def _names(
        self,
        decls: Sequence[PrefixListDecl | SecurityGroupDecl | NetworkAclDecl],
        field: str,
        where: Where,
        prefix: str,
        names: Names,
    ) -> Names | None:
        """Check names and tags. Return all names, or None if one is invalid."""
        all_named = True
        for j, decl in enumerate(decls):
            here: Where = (*where, field, j)
            if violation := rules.referable_name(decl.name, prefix) if prefix else self._notes.names[decl.name]:
                self._notes.add(violation, here, ("name",))
                all_named = False
            elif names.get(decl.name, -1) != -1:
                what = f"{shown(decl.name)} is also the name of {field}[{names[decl.name]}]"
                self._notes.add(Violation(what, "rename one"), here, ("name",))
            else:
                names[decl.name] = j
            if decl.tags:
                self._notes.tags(decl.tags, here)
        return names if all_named else None

    def _prefix_list(self, decl: PrefixListDecl, where: Where) -> None:
        if not decl.cidrs:
            self._notes.add(Violation("the prefix list has no CIDR", "write one, e.g. [192.0.2.0/24]"), where, ("cidrs",))
        limit = rules.MAX_ENTRIES if decl.max_entries is None else decl.max_entries
        if not 1 <= limit <= rules.MAX_ENTRIES:
            fix = f"choose 1 to {rules.MAX_ENTRIES}, or leave it out"
            self._notes.add(Violation(f"{rules.number_text(limit)} is not a number of entries", fix), where, ("max_entries",))
        elif len(decl.cidrs) > limit:
            violation = Violation(
                f"the prefix list has {len(decl.cidrs)} CIDRs, more than {limit}", "remove some, or raise max_entries"
            )
            self._notes.add(violation, where, ("cidrs",))
        first: Prefix | None = None
        seen: dict[Prefix, int] = {}
        for k, text in enumerate(decl.cidrs):
            prefix = permission.cidr(text, references=False)
            if isinstance(prefix, Violation):
                self._notes.add(prefix, where, ("cidrs", k))
                continue
            first = first or prefix
            if prefix.version != first.version:
                violation = Violation(
                    f"{text} is IPv{prefix.version}, {first} is IPv{first.version}", "use one prefix list for each"
                )
                self._notes.add(violation, where, ("cidrs", k))
            elif (other := seen.setdefault(prefix, k)) != k:
                self._notes.add(Violation(f"{text} is also cidrs[{other}]", "remove one"), where, ("cidrs", k))
        if first is not None:
            self._policies.versions[decl.name] = first.version

    def _group(self, decl: SecurityGroupDecl, where: Where) -> None:
        if violation := rules.description(decl.description):
            self._notes.add(violation, where, ("description",))
        self._rules(decl.ingress, (*where, Direction.INGRESS.value))
        if isinstance(decl.egress, list):
            self._rules(decl.egress, (*where, Direction.EGRESS.value))

    def _rules(self, decls: Sequence[IngressDecl | EgressDecl], where: Where) -> None:
        seen: dict[Words, Where] = {}
        for k, decl in enumerate(decls):
            here: Where = (*where, k)
            if violation := rules.description(decl.description):
                self._notes.add(violation, here, ("description",))
            traffic = self._traffic(decl.protocol, decl.ports, here)
            peer = self._peer(decl, traffic[0] if traffic else None, here)
            if traffic and peer and (other := seen.setdefault((*traffic, peer), here)) is not here:
                self._notes.add(Violation(f"the rule is the same as {path_of(other)}", "remove one"), here)

    def _traffic(self, protocol: str | int, ports: str | int, where: Where) -> tuple[int, int, int] | None:
        number = permission.protocol(protocol)
        if isinstance(number, Violation):
            self._notes.add(number, where, ("protocol",))
            return None
        found = permission.ports(ports, number)
        if isinstance(found, Violation):
            self._notes.add(found, where, ("ports",))
            return None
        return (number, *found)

    def _peer(self, decl: IngressDecl | EgressDecl, number: int | None, where: Where) -> str:
        """Check the peer of a rule. Return it in normal form, or empty if it is invalid."""
        field, text = ("source", decl.source) if isinstance(decl, IngressDecl) else ("destination", decl.destination)
        if permission.is_reference(text):
            version = self._referred(text, (*where, field))
        else:
            prefix = permission.cidr(text, references=True)
            if isinstance(prefix, Violation):
                self._notes.add(prefix, where, (field,))
                return ""
            text, version = str(prefix), prefix.version
        if number is not None and version and (violation := permission.other_family(number, version, text)):
            self._notes.add(violation, where, (field,))
            return ""
        return text

    def _referred(self, text: str, where: Where) -> int:
        """Check the name of a group or prefix list. Return the list's IP version if known. Ids are looked up later."""
        if is_id(text):
            return 0
        name = text[len(GROUP_PREFIX) :]
        group = text.startswith(GROUP_PREFIX)
        names = self._policies.groups if group else self._policies.lists
        if not group and name in service_lists(self._vpc):
            return 4
        if names is not None and name not in names:
            noun, field = ("security group", "security_groups") if group else ("prefix list", "prefix_lists")
            self._notes.add(no_such(noun, name, names, field), where)
        return 0 if group else self._policies.versions.get(name, 0)

    def _entries(self, decls: Sequence[AclEntryDecl], where: Where) -> None:
        numbers: dict[int, int] = {}
        for k, decl in enumerate(decls):
            here: Where = (*where, k)
            if not 1 <= decl.rule <= ACL_NUMBER_LAST:
                what = f"{rules.number_text(decl.rule)} is not a rule number"
                self._notes.add(Violation(what, f"choose 1 to {ACL_NUMBER_LAST}"), here, ("rule",))
            elif (other := numbers.setdefault(decl.rule, k)) != k:
                violation = Violation(f"{decl.rule} is also the number of {path_of((*where, other))}", "choose another one")
                self._notes.add(violation, here, ("rule",))
            traffic = self._traffic(decl.protocol, decl.ports, here)
            prefix = permission.cidr(decl.cidr, references=False)
            if isinstance(prefix, Violation):
                self._notes.add(prefix, here, ("cidr",))
            elif traffic and (violation_ := permission.other_family(traffic[0], prefix.version, str(prefix))):
                self._notes.add(violation_, here, ("cidr",))
