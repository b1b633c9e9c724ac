"""Explains why an interface cannot reach the internet or be reached from it, with the commands as remedy."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from netorch.diagnose.desired import unheard_edges
from netorch.diagnose.ends import End, public_of
from netorch.diagnose.sites import edges_of, gateways_of
from netorch.model.addr import parse_ip, parse_prefix
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.ids import port_name
from netorch.model.outside.gateway import EgressOnlyInternetGateway, InternetGateway, NatGateway
from netorch.model.outside.public import ElasticIp
from netorch.model.routing.target import TargetKind
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Subnet
from netorch.records import keys
from netorch.records.read import listed
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store
from netorch.trace.codes import Code
from netorch.trace.explain import Explanation
from netorch.trace.way import Place, Walk

_DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}


# The advice for a customer if the operator has no edges and addresses.
_ASK: Final = "ask the operator for a pair of edges with an address pool: netorch address pool list"


def is_offered(store: Store) -> bool:
    """Return whether the operator has public addresses, which arrive at edges. Without them no VPC reaches the internet."""
    return bool(store.list(keys.pool_prefix()).kvs)


def nobodys(address: str) -> Explanation:
    """Return the explanation for a public address without an interface that the caller sees."""
    sentence = f"{address}: no interface that you can see has this public address"
    fix = "see which addresses are associated: netorch address list"
    return Explanation(code=Code.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS, sentence=sentence, fix=fix)


def no_public_address(store: Store, end: End, name: str) -> Explanation:
    """Return the explanation for a packet from the internet to an interface without a public address."""
    sentence = f"{name} has no public address, so the internet cannot reach it"
    fix = _associate(store, end) if is_offered(store) else _ASK
    return Explanation(code=Code.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS, sentence=sentence, fix=fix)


def no_gateway(store: Store, end: End) -> Explanation:
    """Return the explanation for a packet from the internet to a VPC without an internet gateway on an edge."""
    vpc = end.records.vpc.record
    sentence = f"VPC {vpc.name}: {Code.NO_INTERNET_GATEWAY.text}"
    return Explanation(code=Code.NO_INTERNET_GATEWAY, sentence=sentence, fix=_to_gateway(end, 4) if is_offered(store) else _ASK)


def no_edge_answers(store: Store, end: End) -> Explanation | None:
    """Return the explanation if an interface's host hears from no edge that has its VPC's gateways, else None."""
    mapping = end.records.mappings.get(end.eni.address)
    vteps = {seat.vtep for gateway in gateways_of(end.records) for seat in gateway.seats}
    if mapping is None or not vteps or not vteps <= unheard_edges(mapping.record.host, store)[0]:
        return None
    sentence = f"on host {mapping.record.host}: {Code.NO_EDGE_ANSWERS.text} ({', '.join(edges_of(end.records))})"
    fix = "check that the edges are ready, and the network between: netorch status"
    return Explanation(code=Code.NO_EDGE_ANSWERS, sentence=sentence, fix=fix)


def no_port(store: Store, records: VpcRecords, way: Walk, host: str) -> Explanation:
    """Return the explanation for a live packet for which the NAT gateway on its way had no free port."""
    sentence = f"on host {host}: {Code.NGW_NO_FREE_PORT.text}"
    fix = "end connections, or wait until idle ones time out"
    passed = next((hop.devices[0] for hop in way.hops if hop.place is Place.NAT), "")
    gateway = next((found for found in records.each(NatGateway) if port_name(found.eni) == passed), None)
    if gateway is not None:
        vpc = records.vpc.record
        allocate, idle = _idle(store, vpc.owner, f"{gateway.name}-more", gateway.id)
        fix = " && ".join([*allocate, f"netorch --owner {vpc.owner} nat associate-address {vpc.name}/{gateway.name} {idle}"])
    return Explanation(code=Code.NGW_NO_FREE_PORT, sentence=sentence, fix=fix)


def refined(store: Store, said: Explanation, died: Walk, end: End) -> Explanation:
    """Return an explanation with the command that adds what an interface's VPC lacks for the internet.

    `end` is the interface that would reach the internet, or that answers it.
    """
    packet, code = died.packet, said.code
    if code in (Code.INVALID_CONNECTION_STATE, Code.ASYMMETRIC_ROUTES) and any(hop.place is Place.NAT for hop in died.hops):
        sentence = f"{said.sentence}: the route table sends answers to a NAT gateway, which does not track the connection"
        fix = _to_gateway(end, packet.version, replace=True)
        return structs.replace(said, code=Code.ASYMMETRIC_ROUTES, sentence=sentence, fix=fix)
    sender = _gateway_at(end.records, died)
    if sender is not None:
        return _of_gateway(store, said, died, end, *sender)
    if code is Code.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS and packet.version == 4:
        if public_of(end):
            return structs.replace(said, fix=f"check its edges: netorch status; then netorch drift --host {died.host}")
        return structs.replace(said, fix=_associate(store, end))
    if code is Code.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS:
        vpc = end.records.vpc.record
        return structs.replace(said, fix=f"netorch vpc associate-cidr {vpc.owner}/{vpc.name} --provided-ipv6")
    on_edge = died.host in edges_of(end.records)
    if code is Code.NO_ROUTE_TO_DESTINATION and not on_edge:
        return structs.replace(said, fix=_way_out(end, packet.version) or said.fix)
    if code is Code.BAD_STATE_ROUTE and packet.version == 6 and _led_to(end, TargetKind.EGRESS_ONLY_GATEWAY):
        return structs.replace(said, fix=_to_egress_only(end, replace=True))
    if code is Code.BAD_STATE_ROUTE and _led_to(end, TargetKind.INTERNET_GATEWAY):
        return structs.replace(said, fix=_to_gateway(end, packet.version, replace=True))
    if code is Code.NO_ROUTE_TO_DESTINATION:  # the target of the public address is missing
        sentence = f"on host {died.host}: {packet.destination}, which the public address translates to, has no mapping in the VPC"
        fix = "attach the interface, or start its instance: netorch instance list"
        return Explanation(code=Code.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS, sentence=sentence, fix=fix)
    return said


def _gateway_at(records: VpcRecords, died: Walk) -> tuple[NatGateway, End] | None:
    """Return the NAT gateway that would have forwarded a packet: the one with this port, or with its source address."""
    port, source = died.hops[-1].devices[0], died.packet.source
    for gateway in records.each(NatGateway):
        eni = records.one(NetworkInterface, gateway.eni)
        if eni is not None and (port_name(eni.id) == port or source in eni.addresses):
            return gateway, End(records, eni)
    return None


def _of_gateway(store: Store, said: Explanation, died: Walk, served: End, gateway: NatGateway, end: End) -> Explanation:
    """Return an explanation with the commands that add what a NAT gateway lacks; `end` is its interface.

    `served` is the interface that would reach the internet through it.
    """
    if said.code is Code.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS:
        return structs.replace(said, fix=f"check its edges: netorch status; then netorch drift --host {died.host}")
    if said.code not in (Code.NO_ROUTE_TO_DESTINATION, Code.BAD_STATE_ROUTE):
        return said
    sentence = f"{said.sentence}; nat-{gateway.name} sends by the route table of its own subnet"
    if _led_to(end, TargetKind.NAT_GATEWAY):
        sentence += ", which leads to a NAT gateway instead of the internet gateway"
        return structs.replace(said, sentence=sentence, fix=_to_public_nat(store, served, gateway))
    fix = _to_gateway(end, died.packet.version, replace=said.code is Code.BAD_STATE_ROUTE)
    return structs.replace(said, sentence=sentence, fix=fix or said.fix)


def to_service(end: End, address: str) -> str:
    """Return the command that adds an interface's table to its VPC's endpoint for the service with an address."""
    version, value = parse_ip(address)
    lists = {found.id for found in end.records.each(PrefixList) if found.service and _holds(found, version, value)}
    endpoint = next((one for one in end.records.each(VpcEndpoint) if one.prefix_list in lists), None)
    table = _table(end)
    if endpoint is None or table is None:
        return ""
    vpc = end.records.vpc.record
    return f"netorch endpoint modify {endpoint.id} --add-route-table {vpc.owner}/{vpc.name}/{table.name}"


def _holds(found: PrefixList, version: int, value: int) -> bool:
    return any(parse_prefix(entry.cidr).holds(version, value) for entry in found.entries)


def _way_out(end: End, version: int) -> str:
    """Return the commands that route an interface to the internet, by an existing NAT or egress-only gateway if possible."""
    if version == 6 and any(end.records.each(EgressOnlyInternetGateway)):
        return _to_egress_only(end)
    return _to_nat(end, version) or _to_gateway(end, version)


def _to_egress_only(end: End, *, replace: bool = False) -> str:
    """Return the commands that create a VPC's egress-only gateway if it has none, and route an interface's table to it."""
    vpc, table = end.records.vpc.record, _table(end)
    is_there = any(end.records.each(EgressOnlyInternetGateway))
    steps = [] if is_there else [f"netorch eigw create {vpc.name} --vpc {vpc.owner}/{vpc.name}"]
    if table is not None and not _leads(table, 6, replace=replace):
        word = "replace" if replace else "add"
        steps.append(f"netorch route-table route {word} {vpc.owner}/{vpc.name}/{table.name} {_DEFAULT[6]} via eigw")
    return " && ".join(steps)


def _to_nat(end: End, version: int) -> str:
    """Return the command that routes an interface without a public address to a NAT gateway of its VPC, or ""."""
    vpc, table = end.records.vpc.record, _table(end)
    gateway = next(end.records.each(NatGateway), None)
    if version == 6 or gateway is None or table is None or public_of(end) or _leads(table, version, replace=False):
        return ""
    return f"netorch route-table route add {vpc.owner}/{vpc.name}/{table.name} {_DEFAULT[version]} via nat-{gateway.name}"


def _to_public_nat(store: Store, end: End, gateway: NatGateway) -> str:
    """Return the commands that route an interface to a NAT gateway that uses the internet gateway, instead of another.

    If there is none, the first subnet that routes to the internet gateway gets one. Without such a subnet, return
    advice as text.
    """
    records, vpc, table = end.records, end.records.vpc.record, _table(end)
    public = [subnet for subnet in records.each(Subnet) if _leads_out(_table_of(records, subnet.id))]
    if not public or table is None:
        make = "netorch nat create NAME --subnet SUBNET --elastic-ip ADDRESS"
        return f"create the NAT gateway in a subnet whose route table leads to the internet gateway: {make}"
    subnets = {subnet.id for subnet in public}
    enis = {eni.id for eni in records.each(NetworkInterface) if eni.subnet in subnets}
    name = next((found.name for found in records.each(NatGateway) if found.eni in enis), "")
    steps: list[str] = []
    if not name:
        name = f"{gateway.name}-public"
        steps, idle = _idle(store, vpc.owner, name, gateway.id)
        where = f"{vpc.owner}/{vpc.name}/{public[0].name}"
        steps.append(f"netorch --owner {vpc.owner} nat create {name} --subnet {where} --elastic-ip {idle}")
    route = f"{vpc.owner}/{vpc.name}/{table.name} {_DEFAULT[4]} via nat-{name}"
    return " && ".join([*steps, f"netorch route-table route replace {route}"])


def _associate(store: Store, end: End) -> str:
    """Return the commands that associate a public address with an interface: an idle one of the owner's, or a new one."""
    vpc = end.records.vpc.record
    instance = end.records.one(Instance, end.eni.instance)
    name = instance.name if instance is not None else end.eni.name or end.eni.id
    allocate, idle = _idle(store, vpc.owner, name, end.eni.id)
    steps = [] if edges_of(end.records) else [_create(end)]
    return " && ".join([*steps, *allocate, f"netorch --owner {vpc.owner} address associate {idle} --eni {end.eni.id}"])


def _idle(store: Store, owner: str, name: str, other_name: str) -> tuple[list[str], str]:
    """Return an idle elastic IP of an owner. If there is none, return the command that allocates one, and its name.

    Its name is the first of the two, unless that is taken.
    """
    elastic = [found.record for found in listed(store, keys.owned("eip", owner, ""), ElasticIp).values()]
    idle = next((found.id for found in elastic if not found.vni), "")
    if idle:
        return [], idle
    name = other_name if name in {found.name for found in elastic} else name
    return [f"netorch --owner {owner} address allocate --name {name}"], name


def _create(end: End) -> str:
    vpc = end.records.vpc.record
    return f"netorch igw create {vpc.name} --vpc {vpc.owner}/{vpc.name}"


def _to_gateway(end: End, version: int, *, replace: bool = False) -> str:
    """Return the commands that create a VPC's internet gateway if it has none, and route an interface's table to it."""
    vpc, table = end.records.vpc.record, _table(end)
    steps = [] if any(end.records.each(InternetGateway)) else [_create(end)]
    if table is not None and not _leads(table, version, replace=replace):
        word = "replace" if replace else "add"
        route = f"netorch route-table route {word} {vpc.owner}/{vpc.name}/{table.name} {_DEFAULT[version]} via igw"
        steps.append(route)
    return " && ".join(steps)


def _leads(table: RouteTable, version: int, *, replace: bool) -> bool:
    """Return whether a table already has a default route and `replace` is false."""
    return not replace and any(route.destination == _DEFAULT[version] for route in table.routes)


def _led_to(end: End, kind: TargetKind) -> bool:
    """Return whether a default route of an interface's table leads to a gateway of a kind."""
    table = _table(end)
    targets = [route.target for route in table.routes if route.destination in _DEFAULT.values()] if table is not None else []
    return any(target.startswith(f"{kind.value}-") for target in targets)


def _leads_out(table: RouteTable | None) -> bool:
    """Return whether a table's IPv4 default route leads to an internet gateway."""
    routes = table.routes if table is not None else ()
    word = f"{TargetKind.INTERNET_GATEWAY.value}-"
    return any(route.destination == _DEFAULT[4] and route.target.startswith(word) for route in routes)


def _table(end: End) -> RouteTable | None:
    return _table_of(end.records, end.eni.subnet)


def _table_of(records: VpcRecords, subnet_id: str) -> RouteTable | None:
    """Return the route table of a subnet."""
    subnet = records.one(Subnet, subnet_id)
    named = records.one(RouteTable, subnet.route_table) if subnet is not None else None
    return named or records.main_table()
