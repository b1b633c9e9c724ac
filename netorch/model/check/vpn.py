"""Checks of the customer gateways and VPN connections of a cloud."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from netorch.model.check.notes import Notes, Where
from netorch.model.cloud import Cloud, TunnelDecl, VpcDecl, VpnConnectionDecl
from netorch.model.ids import is_id
from netorch.model.outside import vpn_rules
from netorch.model.outside.vpn import MAX_LEARNED, TUNNELS
from netorch.model.rules import Violation, shown


def check_vpns(notes: Notes, cloud: Cloud) -> None:
    """Report errors in customer gateways, VPN connections and propagating route tables."""
    devices = _check_devices(notes, cloud)
    for i, vpc in enumerate(cloud.vpcs):
        _check_vpc(notes, vpc, ("vpcs", i), devices)


def _check_devices(notes: Notes, cloud: Cloud) -> set[tuple[str, str]]:
    """Report errors in customer gateways. Return their (owner, name) pairs."""
    names: dict[tuple[str, str], int] = {}
    described: dict[tuple[str, int, str, str], int] = {}
    for i, decl in enumerate(cloud.customer_gateways):
        where: Where = ("customer_gateways", i)
        for field, text in (("name", decl.name), ("owner", decl.owner)):
            if violation := notes.names[text]:
                notes.add(violation, where, (field,))
        if (other := names.setdefault((decl.owner, decl.name), i)) != i and not notes.names[decl.name]:
            what = f"{shown(decl.name)} is also the name of customer_gateways[{other}] of owner {shown(decl.owner)}"
            notes.add(Violation(what, "rename one"), where, ("name",))
        elif (other := described.setdefault((decl.owner, decl.asn, decl.address, decl.identity), i)) != i:
            what = f"the device is the same as customer_gateways[{other}]"
            notes.add(Violation(what, "use that customer gateway, or give this one an identity of its own"), where)
        if not decl.address and not decl.identity:
            notes.add(Violation("the device has neither an address nor an identity", "give it one of the two"), where)
        for name, found in (
            ("asn", vpn_rules.customer_asn(decl.asn)),
            ("address", vpn_rules.customer_address(decl.address) if decl.address else None),
            ("identity", vpn_rules.identity(decl.identity) if decl.identity else None),
        ):
            if found is not None:
                notes.add(found, where, (name,))
        if decl.tags:
            notes.tags(decl.tags, where)
    return set(names)


def _check_vpc(notes: Notes, vpc: VpcDecl, where: Where, devices: Collection[tuple[str, str]]) -> None:
    has_gateway = not isinstance(vpc.vpn_gateway, msgspec.UnsetType)
    missing = Violation("the VPC has no virtual private gateway", "add `vpn_gateway: {}` to the VPC")
    for j, table in enumerate(vpc.route_tables):
        if table.propagate and not has_gateway:
            notes.add(missing, (*where, "route_tables", j), ("propagate",))
    names: dict[str, int] = {}
    inside: dict[str, tuple[int, int]] = {}
    for j, decl in enumerate(vpc.vpn_connections):
        here: Where = (*where, "vpn_connections", j)
        if violation := notes.names[decl.name]:
            notes.add(violation, here, ("name",))
        elif (other := names.setdefault(decl.name, j)) != j:
            what = f"{shown(decl.name)} is also the name of vpn_connections[{other}]"
            notes.add(Violation(what, "rename one"), here, ("name",))
        if not has_gateway:
            notes.add(missing, here)
        device = decl.customer_gateway
        if not is_id(device, "cgw") and (vpc.owner, device) not in devices:
            what = f"owner {shown(vpc.owner)} has no customer gateway {shown(device)} here"
            fix = f"add it to customer_gateways: {{name: {device}, owner: {vpc.owner}, address: ADDRESS}}"
            notes.add(Violation(what, fix), here, ("customer_gateway",))
        for field, violation in _violations_of(decl):
            notes.add(violation, here, field)
        for k, tunnel in enumerate(decl.tunnels):
            if tunnel.inside_cidr and (place := inside.setdefault(tunnel.inside_cidr, (j, k))) != (j, k):
                what = f"{tunnel.inside_cidr} is also the inside_cidr of vpn_connections[{place[0]}].tunnels[{place[1]}]"
                notes.add(Violation(what, "choose another one, or leave it out"), here, ("tunnels", k, "inside_cidr"))
        if decl.tags:
            notes.tags(decl.tags, here)


def _violations_of(decl: VpnConnectionDecl) -> Iterator[tuple[Where, Violation]]:
    """Yield (field, error) for a single VPN connection."""
    routes = [] if isinstance(decl.static_routes, msgspec.UnsetType) else decl.static_routes
    if len(routes) > MAX_LEARNED:
        yield ("static_routes",), Violation(f"there are {len(routes)} static routes", f"keep at most {MAX_LEARNED}")
    cidrs: list[tuple[Where, str]] = [(("static_routes", k), text) for k, text in enumerate(routes)]
    for field, text in cidrs:
        if isinstance(found := vpn_rules.traffic_cidr(text), Violation):
            yield field, found
    static = not isinstance(decl.static_routes, msgspec.UnsetType)
    for name, text in (("local_cidr", decl.local_cidr), ("remote_cidr", decl.remote_cidr)):
        if isinstance(found := vpn_rules.selector(text, static=static), Violation):
            yield (name,), found
    for k, text in enumerate(routes):
        if text in routes[:k]:
            yield ("static_routes", k), Violation(f"{text} is listed twice", "write it once")
    if len(decl.tunnels) > TUNNELS:
        yield ("tunnels",), Violation(f"there are {len(decl.tunnels)} tunnels", f"a connection has {TUNNELS}")
    for k, tunnel in enumerate(decl.tunnels):
        for field, violation in _violations_of_tunnel(tunnel):
            yield ("tunnels", k, *field), violation


def _violations_of_tunnel(tunnel: TunnelDecl) -> Iterator[tuple[Where, Violation]]:
    if tunnel.inside_cidr and isinstance(found := vpn_rules.inside_cidr(tunnel.inside_cidr), Violation):
        yield ("inside_cidr",), found
    for name, violation in vpn_rules.options(tunnel.options):
        yield ("options", name), violation
