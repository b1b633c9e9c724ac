"""The path of egress traffic, numbered as in EC2, from the routes of an interface's subnet."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from netorch.agent.flowlog.ledger import Ledger
from netorch.agent.flowlog.targets import targets_of
from netorch.control.actions.flow_logs import create_flow_log
from netorch.model.addr import parse_prefix
from netorch.model.ids import make_id
from netorch.model.mapping import Reach, ReachedPrefix
from netorch.model.routing.effective import Effective, Origin
from netorch.model.routing.target import BLACKHOLE, LOCAL, Target, target_of
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from tests.unit.agent.flowlog.traffic import ALL_FIELDS, FAR, VNI, A, connection, flow, interface, packet, table, target
from tests.unit.edges.internet import SERVER, Internet


def routed(to: Target) -> Ledger:
    """Return a ledger with one interface, whose subnet has a default route to a target."""
    routes = (
        Effective(parse_prefix("0.0.0.0/0"), to, Origin.STATIC),
        Effective(parse_prefix("10.0.0.0/16"), LOCAL, Origin.LOCAL),
    )
    ledger = Ledger()
    ledger.configure([target(msgspec.structs.replace(interface(1, A), routes=routes), fields=ALL_FIELDS)], 600)
    ledger.count_from_now(["fl-1"])
    return ledger


@pytest.mark.parametrize(
    ("kind", "path"), [("igw", "8"), ("pcx", "4"), ("eni", "1"), ("nat", "1"), ("vgw", "3"), ("vpce", "7"), ("", "-")]
)
def test_a_path_is_that_of_the_route_and_of_egress_only(kind: str, path: str) -> None:
    ledger = routed(target_of(make_id(kind, VNI, 1)) if kind else BLACKHOLE)
    for destination in (SERVER, FAR):
        ledger.accept(VNI, connection(flow(A, destination), sent=(1, 60), answered=(1, 60)), 650)
    (finished,) = ledger.finish(660)
    assert table(finished, "srcaddr", "dstaddr", "pkt-srcaddr", "pkt-dstaddr", "traffic-path") == sorted(
        [
            f"{A} {SERVER} {A} {SERVER} {path}",
            f"{SERVER} {A} {SERVER} {A} -",
            f"{A} {FAR} {A} {FAR} 1",
            f"{FAR} {A} {FAR} {A} -",
        ]
    )


def test_what_is_dropped_takes_no_path() -> None:
    ledger = routed(LOCAL)
    ledger.drop(VNI, packet(flow(A, FAR)), "sg_egress", 650, established=False)
    (finished,) = ledger.finish(660)
    assert table(finished, "action", "traffic-path") == ["REJECT -"]


def test_routes_are_those_of_the_interfaces_subnet(tmp_path: Path) -> None:
    internet = Internet(tmp_path)
    world = internet.pair.world
    create_flow_log(world.store, world.operator, internet.vpc_of(0), name="all")
    world.settle(3)
    agent = world.agents["hv1"]
    (found,) = targets_of(agent.records, internet.eni(0).vni, agent.reconciler.phases)
    kinds = [(str(route.prefix), route.target.kind.value) for route in found.interfaces[0].routes]
    assert ("0.0.0.0/0", "igw") in kinds
    assert ("10.0.0.0/16", "local") in kinds
    internet.pair.close()


def test_routes_that_a_gateway_propagates_are_among_them(tmp_path: Path) -> None:
    internet = Internet(tmp_path)
    world, vni = internet.pair.world, internet.eni(0).vni
    create_flow_log(world.store, world.operator, internet.vpc_of(0), name="all")
    gateway = make_id("vgw", vni, 1)
    main = read_inventory(world.store).vpcs[vni].main_table()
    assert main is not None
    world.put(keys.resource(main.id), encode(msgspec.structs.replace(main, propagating=(gateway,))))
    reached = (ReachedPrefix(prefix="172.20.0.0/16", origin=Origin.VPN_STATIC),)
    world.put(keys.reach(vni, gateway, "e3"), encode(Reach(vni=vni, gateway=gateway, edge="e3", prefixes=reached)))
    world.settle(3)
    agent = world.agents["hv1"]
    (found,) = targets_of(agent.records, vni, agent.reconciler.phases)
    assert ("172.20.0.0/16", "vgw") in [(str(route.prefix), route.target.kind.value) for route in found.interfaces[0].routes]
    internet.pair.close()
