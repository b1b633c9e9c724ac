"""NAT gateways, from records to the kernels of edges: the objects of each record, their edges, and the cost of changes."""

from __future__ import annotations

import msgspec
import pytest

from netorch.drivers.fake.tracker import FakeTracker
from netorch.model.eni import NetworkInterface
from netorch.model.ids import port_name
from netorch.model.outside.gateway import NatGateway
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.security import AclEntry, NetworkAcl
from netorch.model.vpc import RouteTable, Subnet, Vpc, VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import read_all
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Route
from netorch.state.link import CableEnd
from netorch.state.names import outside_cable
from netorch.state.netns import Namespace
from netorch.state.nft import NftElement, NftTable
from netorch.state.tc import Redirect, TcFilter
from tests.rig.seats import nat_of, seat_nat
from tests.unit.edges.pair import EDGES, Pair, gateway_of

PUBLIC, INSIDE = "198.51.100.9", "10.0.0.200"
HV1 = "192.0.2.11"


@pytest.fixture
def vpc(pair: Pair) -> Vpc:
    """A VPC whose only subnet has a NAT gateway, and whose main table leads to the internet gateway."""
    vpc, subnet = pair.vpc("a")
    seat_nat(pair.world.store, subnet, INSIDE, PUBLIC, EDGES)
    lead(pair, vpc, gateway_of(vpc.vni))
    pair.world.settle(8)  # until both edges are active
    pair.world.assert_settled()
    return vpc


def lead(pair: Pair, vpc: Vpc, *targets: str) -> None:
    """Set the routes of the main table: the default route to the first target, TEST-NET-1 to the second."""
    table = pair.world.agents["hv1"].records.vpcs.get(vpc.vni)
    records = [stored.record for stored in table.of(RouteTable).values()] if table is not None else []
    main = next((each for each in records if each.main), None)
    if main is None:
        pair.world.settle(3)
        return lead(pair, vpc, *targets)
    routes = tuple(VpcRoute(destination=d, target=t) for d, t in zip(("0.0.0.0/0", "192.0.2.0/24"), targets, strict=False))
    pair.world.put(keys.resource(main.id), encode(msgspec.structs.replace(main, routes=routes)))
    return None


def objects(pair: Pair, host: str, vpc: Vpc) -> list[KernelObject]:
    """Return a host's kernel objects of a VPC."""
    return [obj for obj in pair.world.kernels[host].objects.values() if obj.vni == vpc.vni]


def routes(pair: Pair, host: str, vpc: Vpc, dst: str, table: int | None = None) -> set[str]:
    """Return the devices and next hops of the overlay's routes to a destination."""
    found = (obj for obj in objects(pair, host, vpc) if isinstance(obj, Route) and obj.netns == "overlay" and obj.dst == dst)
    return {f"{obj.ifname} {obj.via}".strip() or obj.type for obj in found if table is None or obj.table == table}


def port(vpc: Vpc) -> str:
    """Return the name of the gateway's port."""
    return port_name(f"eni-{nat_of(vpc.vni)[4:]}")


def passes(pair: Pair, edge: str, vpc: Vpc) -> set[tuple[str, ...]]:
    """Return the pairs of input and output devices between which an edge forwards packets."""
    return {obj.items for obj in objects(pair, edge, vpc) if isinstance(obj, NftElement) and obj.set == "passes"}


def test_each_of_several_addresses_has_its_ways_and_is_chosen_by_both_ends(pair: Pair, vpc: Vpc) -> None:
    """New connections use addresses that are not draining; all addresses keep their routes."""
    more = ("10.0.0.201", "10.0.0.202")
    nat = nat_of(vpc.vni)
    (eni,) = (stored.record for stored in read_all(pair.world.store, NetworkInterface, vpc.vni).values() if stored.record.gateway)
    gateway = NatGateway(id=nat, vni=vpc.vni, name="out", subnet=eni.subnet, eni=eni.id, draining={more[0]: 1e12})
    tracker = pair.world.kernels["e1"].trackers[nat]
    assert isinstance(tracker, FakeTracker)
    tracker.translated = {more[0]}  # it has connections
    pair.world.put(keys.resource(eni.id), encode(msgspec.structs.replace(eni, secondary=more)))
    pair.world.put(keys.resource(nat), encode(gateway))
    pair.world.settle(3)
    for edge in EDGES:
        (table,) = (obj for obj in objects(pair, edge, vpc) if isinstance(obj, NftTable) and obj.netns == nat)
        chosen = [line.strip() for line in table.body.splitlines() if "jhash" in line]
        hashed = "jhash ip saddr . ip daddr mod 2 seed 0x1"
        assert chosen == [f"{hashed} 0 goto address_0", f"{hashed} 1 goto address_1"]
        assert [f"snat ip to {each}:" in table.body for each in (INSIDE, *more)] == [True, False, True]
        own = {obj.address for obj in objects(pair, edge, vpc) if isinstance(obj, Address) and obj.netns == nat}
        assert own == {f"{each}/32" for each in (INSIDE, *more)}
    for each in more:
        assert routes(pair, "e1", vpc, f"{each}/32") == {port(vpc)}
        assert routes(pair, "e2", vpc, f"{each}/32") == routes(pair, "e2", vpc, f"{INSIDE}/32") != set()
        assert routes(pair, "hv1", vpc, f"{each}/32") == routes(pair, "hv1", vpc, f"{INSIDE}/32") != set()
    pair.world.assert_settled()


def test_each_seat_has_all_of_the_gateway(pair: Pair, vpc: Vpc) -> None:
    nat, near = nat_of(vpc.vni), outside_cable(vpc.vni, gateway_of(vpc.vni))[0]
    for edge in EDGES:
        held = objects(pair, edge, vpc)
        assert Namespace(vni=vpc.vni, label=nat) in held
        ends = {(obj.netns, obj.ifname): obj for obj in held if isinstance(obj, CableEnd)}
        assert ends[nat, "eth0"].lladdr == gateway_mac(nat)
        assert ends["overlay", port(vpc)].vrf == f"vrf{vpc.vni}.255"
        redirects = [obj.actions for obj in held if isinstance(obj, TcFilter) and obj.ifname == f"vx{vpc.vni}"]
        assert (Redirect(port(vpc), "egress"),) in redirects
        vxlan = f"vx{vpc.vni}"
        pairs = {(port(vpc), vxlan), (vxlan, port(vpc)), (port(vpc), near), (near, port(vpc))}
        assert passes(pair, edge, vpc) == pairs | {(near, vxlan)}
        (table,) = (obj for obj in held if isinstance(obj, NftTable) and obj.netns == nat)
        assert f"snat ip to {INSIDE}:4790-65535" in table.body
    assert not [obj for obj in objects(pair, "hv1", vpc) if isinstance(obj, Namespace | CableEnd)]


def test_what_comes_in_meets_mapped_addresses_only_and_the_gateway_leaves_by_its_subnets_table(pair: Pair, vpc: Vpc) -> None:
    near = outside_cable(vpc.vni, gateway_of(vpc.vni))[0]
    for edge in EDGES:
        assert routes(pair, edge, vpc, "0.0.0.0/0", vpc.vni) == {"unreachable"}
        (way,) = routes(pair, edge, vpc, "0.0.0.0/0", 255 << 24 | vpc.vni) - {"unreachable"}
        assert way.startswith(near)


def test_its_address_is_at_the_first_seat_that_answers(pair: Pair, vpc: Vpc) -> None:
    dst, mac = f"{INSIDE}/32", gateway_mac(nat_of(vpc.vni))

    def at(host: str) -> set[str]:
        return routes(pair, host, vpc, dst)

    def sends_to() -> list[str]:
        return [obj.dst for obj in objects(pair, "hv1", vpc) if isinstance(obj, Fdb) and obj.lladdr == mac]

    vxlan = f"vx{vpc.vni}"
    assert (at("e1"), at("e2"), at("hv1")) == ({port(vpc)}, {f"{vxlan} {EDGES['e1']}"}, {f"{vxlan} {EDGES['e1']}"})
    assert sends_to() == [EDGES["e1"]]
    for host in ("hv1", "e2"):
        pair.world.agents[host].records.set_silent({EDGES["e1"]})
    pair.world.settle(3)
    assert (at("e2"), at("hv1")) == ({port(vpc)}, {f"{vxlan} {EDGES['e2']}"})
    assert sends_to() == [EDGES["e2"]]


def test_the_edges_may_send_in_its_name(pair: Pair, vpc: Vpc) -> None:
    senders = {obj.items[0] for obj in objects(pair, "hv1", vpc) if isinstance(obj, NftElement) and obj.set == "senders4"}
    assert set(EDGES.values()) <= senders


def test_routes_lead_to_it_by_its_mac_and_not_on_its_own_edges(pair: Pair, vpc: Vpc) -> None:
    lead(pair, vpc, nat_of(vpc.vni))
    pair.world.settle(3)
    (way,) = routes(pair, "hv1", vpc, "0.0.0.0/0") - {"unreachable"}
    assert way.startswith(f"vx{vpc.vni} 2")
    assert routes(pair, "e1", vpc, "0.0.0.0/0", 255 << 24 | vpc.vni) == {"blackhole", "unreachable"}


def test_the_acl_of_its_subnet_is_in_its_table(pair: Pair, vpc: Vpc) -> None:
    (acl,) = (stored.record for stored in pair.world.agents["e1"].records.vpcs[vpc.vni].of(NetworkAcl).values())
    deny = AclEntry(number=1, allow=False, protocol=6, cidr="203.0.113.0/24", from_port=25, to_port=25)
    pair.world.put(keys.resource(acl.id), encode(msgspec.structs.replace(acl, egress=(deny, *acl.egress))))
    before = dict(pair.world.kernels["e1"].objects)
    pair.world.settle(3)
    changed = [obj for key, obj in pair.world.kernels["e1"].objects.items() if before.get(key) != obj]
    assert [type(obj) for obj in changed] == [NftTable]
    assert isinstance(changed[0], NftTable)
    assert "jump acl_egress_rules" in changed[0].body
    assert "jump acl_ingress_rules" not in changed[0].body


def test_a_gateway_that_goes_leaves_nothing(pair: Pair, vpc: Vpc) -> None:
    nat = nat_of(vpc.vni)
    records = pair.world.agents["e1"].records.vpcs[vpc.vni]
    (eni,) = (each for each in records.each(NetworkInterface) if each.gateway)
    (subnet,) = records.each(Subnet)
    assert subnet.id == eni.subnet
    keys_of = [
        keys.resource(nat),
        keys.resource(eni.id),
        keys.gateway_mapping(vpc.vni, nat),
        keys.public_mapping(vpc.vni, PUBLIC),
    ]
    for key in (*keys_of, *(keys.placement(edge, nat) for edge in EDGES)):
        pair.world.delete(key)
    pair.world.settle(3)
    for edge in EDGES:
        held = objects(pair, edge, vpc)
        assert not [obj for obj in held if nat in obj.text() or port(vpc) in obj.text() or f"vrf{vpc.vni}.255" in obj.text()]
        assert passes(pair, edge, vpc) == {(outside_cable(vpc.vni, gateway_of(vpc.vni))[0], f"vx{vpc.vni}")}
    pair.world.assert_settled()


def test_a_restarted_agent_writes_nothing(pair: Pair, vpc: Vpc) -> None:
    assert vpc.vni
    for edge in EDGES:
        before = dict(pair.world.kernels[edge].objects)
        pair.world.kill(edge)
        pair.world.start(edge, pair.world.kernels[edge])
        pair.world.settle(3)
        assert pair.world.agents[edge].reconciler.writes == 0
        assert dict(pair.world.kernels[edge].objects) == before
