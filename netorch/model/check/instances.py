"""Checks of the instances of one VPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from netorch.model import rules
from netorch.model.check.addresses import AddressChecker
from netorch.model.check.notes import Notes, Where, path_of
from netorch.model.check.security import Names, no_such
from netorch.model.cloud import InstanceDecl
from netorch.model.eni import Attachment, Role
from netorch.model.rules import Violation, shown
from netorch.model.services import metadata
from netorch.model.services.declared import MetadataOptionsDecl, user_data

MAX_NAMED: Final = 10  # hosts that a fix lists


class InstanceChecker:
    """Checks the instances of one VPC one by one, and remembers the names and MACs already in use.

    `addresses` checks subnets and addresses. `groups` are the VPC's security groups, or None if not all are known. `roles` are
    the roles of the known hosts, or None if the hosts are unknown. `netns` maps (host, namespace) to an instance, over all VPCs:
    two instances must not share a namespace.
    """

    def __init__(
        self,
        notes: Notes,
        addresses: AddressChecker,
        groups: Names | None,
        roles: Mapping[str, Role] | None,
        netns: dict[tuple[str, str], Where],
    ) -> None:
        self._notes = notes
        self._addresses = addresses
        self._groups = groups
        self._roles = roles
        self._netns = netns
        self._names: dict[str, Where] = {}
        self._macs: dict[str, Where] = {}

    def check(self, instance: InstanceDecl, where: Where) -> None:
        """Report errors in one instance."""
        notes = self._notes
        if violation := notes.names[instance.name]:
            notes.add(violation, where, ("name",))
        elif (other := self._names.setdefault(instance.name, where)) is not where:
            violation = Violation(f"{shown(instance.name)} is also the name of {path_of(other)} in this VPC", "rename one")
            notes.add(violation, where, ("name",))
        index = self._addresses.subnet(instance.subnet, where)
        if instance.address:
            self._addresses.address(instance.address, 4, where, index)
        if instance.ipv6_address:
            self._addresses.address(instance.ipv6_address, 6, where, index)
        if instance.mac:
            mac = rules.mac(instance.mac)
            if isinstance(mac, Violation):
                notes.add(mac, where, ("mac",))
            elif (other := self._macs.setdefault(mac, where)) is not where:
                notes.add(Violation(f"{instance.mac} is also the MAC of {path_of(other)}", "choose another one"), where, ("mac",))
        if instance.security_groups:
            self._security_groups(instance.security_groups, where)
        if instance.host and self._roles is not None:
            self._host(instance.host, where, self._roles)
        if instance.netns or instance.attachment is Attachment.EXISTING:
            self._attachment(instance, where)
        self._told(instance, where)
        if instance.tags:
            notes.tags(instance.tags, where)

    def _told(self, instance: InstanceDecl, where: Where) -> None:
        """Check user data and metadata options."""
        if isinstance(instance.metadata_options, MetadataOptionsDecl):
            hops = instance.metadata_options.http_put_response_hop_limit
            if violation := metadata.hop_limit(hops):
                self._notes.add(violation, where, ("metadata_options", "http_put_response_hop_limit"))
        field = "user_data" if instance.user_data else "user_data_base64"
        if instance.user_data and instance.user_data_base64:
            violation = Violation("user_data is also set", "keep one of the two: user_data for text")
            self._notes.add(violation, where, ("user_data_base64",))
        elif (stored := user_data(instance.user_data, instance.user_data_base64)) and (violation := metadata.user_data(stored)):
            self._notes.add(violation, where, (field,))

    def _security_groups(self, names: list[str], where: Where) -> None:
        for k, name in enumerate(names):
            if name in names[:k]:
                self._notes.add(Violation(f"{shown(name)} is listed twice", "remove one"), where, ("security_groups", k))
            elif self._groups is not None and name not in self._groups:
                violation = no_such("security group", name, self._groups, "security_groups")
                self._notes.add(violation, where, ("security_groups", k))

    def _host(self, name: str, where: Where, roles: Mapping[str, Role]) -> None:
        role = roles.get(name)
        if role is None:
            made = "create it: netorch host create NAME --underlay IP"
            fit = [other for other, its in roles.items() if its is Role.HYPERVISOR]
            known = f"choose one of {', '.join(fit)}" if 0 < len(fit) <= MAX_NAMED else made
            violation = Violation(f"there is no host {shown(name)}", f"{known}, or leave it out")
            self._notes.add(violation, where, ("host",))
        elif role is not Role.HYPERVISOR:
            violation = Violation(f"host {shown(name)} has the role {role.value}", "choose a hypervisor, or leave it out")
            self._notes.add(violation, where, ("host",))

    def _attachment(self, instance: InstanceDecl, where: Where) -> None:
        violation = self._netns_violation(instance, where)
        if violation:
            self._notes.add(violation, where, ("netns",))

    def _netns_violation(self, instance: InstanceDecl, where: Where) -> Violation | None:
        if instance.attachment is not Attachment.EXISTING:
            what = f"{shown(instance.netns)} is set, but the attachment is {instance.attachment.value}"
            return Violation(what, "write attachment: existing, or remove netns")
        if not instance.netns:
            return Violation("the existing namespace is not named", "write a name in /run/netns or an absolute path")
        if violation := rules.netns(instance.netns):
            return violation
        name = rules.normal_netns(instance.netns)
        holder = self._netns.setdefault((instance.host, name), where) if instance.host else where
        if holder is not where:
            return Violation(f"{shown(instance.netns)} is also the namespace of {path_of(holder)}", "give each instance its own")
        return None
