"""Checks of a cloud's Direct Connect connections and of its VPCs' virtual interfaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from netorch.model.addr import Prefix
from netorch.model.check.notes import Notes, Where, path_of
from netorch.model.cloud import Cloud, ConnectionDecl, VirtualInterfaceDecl, VpcDecl
from netorch.model.eni import Role
from netorch.model.outside import vif_rules
from netorch.model.outside.direct_connect import Connection, HostedConnection
from netorch.model.outside.uplink import violation_of_device
from netorch.model.rules import Violation, shown


def check_connections(notes: Notes, cloud: Cloud, roles: Mapping[str, Role] | None) -> None:
    """Report errors in connections. `roles` are the roles of all hosts, or None if they are unknown."""
    names: dict[str, int] = {}
    ports: dict[tuple[str, str], int] = {}
    uplinks = {(host.name, host.uplink.device) for host in cloud.hosts if host.uplink is not None}
    for i, decl in enumerate(cloud.connections):
        where: Where = ("connections", i)
        if violation := notes.names[decl.name]:
            notes.add(violation, where, ("name",))
        elif (other := names.setdefault(decl.name, i)) != i:
            notes.add(Violation(f"{shown(decl.name)} is also the name of connections[{other}]", "rename one"), where, ("name",))
        if violation := violation_of_device(decl.device):
            notes.add(violation, where, ("device",))
        elif (decl.host, decl.device) in uplinks:
            notes.add(Violation(f"{decl.device} is the uplink of {decl.host}", "name another device"), where, ("device",))
        elif (other := ports.setdefault((decl.host, decl.device), i)) != i:
            what = f"{decl.device} of {decl.host} is also the device of connections[{other}]"
            notes.add(Violation(what, "name another device"), where, ("device",))
        if roles is not None and (violation := _host_violation(decl.host, roles)):
            notes.add(violation, where, ("host",))
        if violation := vif_rules.connection_violation(connection_of(decl)):
            notes.add(violation, where)
        if decl.tags:
            notes.tags(decl.tags, where)


def _host_violation(name: str, roles: Mapping[str, Role]) -> Violation | None:
    if name not in roles:
        return Violation(f"there is no host {shown(name)}", "add it to hosts, or name an existing host")
    if roles[name] is not Role.EDGE:
        return Violation(f"host {name} is a {roles[name].value}", "name an edge; connections are ports of edges")
    return None


def connection_of(decl: ConnectionDecl) -> Connection:
    """Return the record of a declared connection, without tags."""
    hosted = (HostedConnection(owner=one.owner, vlan=one.vlan, outer_vlan=one.outer_vlan) for one in decl.hosted)
    return Connection(name=decl.name, host=decl.host, device=decl.device, owner=decl.owner, hosted=tuple(hosted))


def check_virtual_interfaces(notes: Notes, vpc: VpcDecl, where: Where, ranges: Sequence[Prefix] | None) -> None:
    """Report errors within a VPC's virtual interfaces. `ranges` are the VPC's, or None if one is invalid."""
    names: dict[str, int] = {}
    links: list[Prefix] = []
    for j, decl in enumerate(vpc.virtual_interfaces):
        here: Where = (*where, "virtual_interfaces", j)
        for field in ("name", "connection"):
            if violation := notes.names[getattr(decl, field)]:
                notes.add(violation, here, (field,))
        if (other := names.setdefault(decl.name, j)) != j:
            what = f"{shown(decl.name)} is also the name of virtual_interfaces[{other}]"
            notes.add(Violation(what, "rename one"), here, ("name",))
        for place, found in _violations(decl, ranges or ()):
            notes.add(found, here, place)
        if decl.address or decl.peer:
            link = _link(decl, [*(ranges or ()), *links])
            if isinstance(link, Violation):
                notes.add(link, here, ("address",))
            else:
                links.append(link)
        if isinstance(vpc.vpn_gateway, msgspec.UnsetType):
            fix = "add `vpn_gateway: {}` to the VPC, or leave the virtual interface out"
            notes.add(Violation("the VPC has no virtual private gateway", fix), here)
        elif decl.asn and decl.asn == vpc.vpn_gateway.asn:
            what = f"{decl.asn} is also the AS number of the VPC's gateway"
            notes.add(Violation(what, "choose another AS number for the customer's router or for the gateway"), here, ("asn",))
        if decl.tags:
            notes.tags(decl.tags, here)


def _violations(decl: VirtualInterfaceDecl, ranges: Sequence[Prefix]) -> Iterator[tuple[Where, Violation]]:
    """Yield (field, error) for the values of a virtual interface."""
    found = (
        (("vlan",), vif_rules.vlan_violation(decl.vlan, decl.outer_vlan)),
        (("mtu",), vif_rules.mtu_violation(decl.mtu)),
        (("asn",), vif_rules.asn_violation(decl.asn)),
        ((), vif_rules.routing_violation(decl.asn, decl.routes, bfd=decl.bfd, has_key=bool(decl.key_file))),
    )
    yield from ((field, violation) for field, violation in found if violation is not None)
    seen: dict[str, int] = {}
    for k, text in enumerate(decl.routes):
        prefix = vif_rules.route(text, ranges)
        if isinstance(prefix, Violation):
            yield ("routes", k), prefix
        elif (other := seen.setdefault(str(prefix), k)) != k:
            yield ("routes", k), Violation(f"{text} is also routes[{other}]", "remove one")


def _link(decl: VirtualInterfaceDecl, taken: Sequence[Prefix]) -> Prefix | Violation:
    if not decl.address:
        return Violation("only the address of the customer's router is given", "give the edge's address as well")
    return vif_rules.link_of(decl.address, decl.peer or vif_rules.other_end(decl.address), taken)


def check_vlans(notes: Notes, cloud: Cloud) -> None:
    """Report VLANs that two virtual interfaces of a cloud share, or that the VPC's owner may not use."""
    connections: dict[str, Connection] = {}
    for port in cloud.connections:
        connections.setdefault(port.name, connection_of(port))
    taken: dict[tuple[str, int, int], Where] = {}
    for i, vpc in enumerate(cloud.vpcs):
        for j, decl in enumerate(vpc.virtual_interfaces):
            where: Where = ("vpcs", i, "virtual_interfaces", j)
            if vif_rules.vlan_violation(decl.vlan, decl.outer_vlan) or notes.names[decl.connection]:
                continue
            known = connections.get(decl.connection)
            other = taken.setdefault((decl.connection, decl.outer_vlan, decl.vlan), where)
            vlan = f"VLAN {vif_rules.vlan_text(decl.vlan, decl.outer_vlan)} of connection {decl.connection}"
            if other != where:
                notes.add(Violation(f"{vlan} is already used by {path_of(other)}", "choose another VLAN"), where, ("vlan",))
            elif known is not None and not vif_rules.may_use(known, vpc.owner, decl.vlan, decl.outer_vlan):
                outer = f", outer_vlan: {decl.outer_vlan}" if decl.outer_vlan else ""
                fix = f"add {{owner: {vpc.owner}, vlan: {decl.vlan}{outer}}} to its `hosted`, or choose another VLAN"
                notes.add(Violation(f"{vlan} does not belong to {vpc.owner}", fix), where, ("vlan",))
