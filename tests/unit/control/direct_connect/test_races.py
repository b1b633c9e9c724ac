"""Two concurrent callers: the second acts between the first one's reads and its transaction."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from netorch.control.actions import hosts, vpcs
from netorch.control.actions.direct_connect import connections, interfaces
from netorch.control.actions.direct_connect.making import Wanted
from netorch.control.actions.outside.edges import update_edge
from netorch.control.actions.private.gateways import delete_vpn_gateway
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.errors import Conflict
from netorch.model.cloud import Cloud
from netorch.model.eni import Host
from netorch.model.outside.direct_connect import Connection, HostedConnection, VirtualInterface
from netorch.model.outside.vpn import VirtualPrivateGateway
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from tests.unit.control.conftest import refused
from tests.unit.control.direct_connect.conftest import clean, make_gateway
from tests.unit.control.outside.files.declared import edge
from tests.unit.control.test_races import Interrupted

CLIENT = "DirectConnectClientException"
VIF = Wanted(name="dc", connection="port-1", vlan=101, asn=65010, address="10.9.0.1/30")


@pytest.fixture
def store() -> Interrupted:
    return Interrupted()


@pytest.fixture
def wired(connection: Connection, gateway: VirtualPrivateGateway) -> Connection:
    del gateway
    return connection


def make(store: Interrupted, caller: Caller, vpc: Vpc, **changed: object) -> Callable[[], VirtualInterface]:
    return lambda: interfaces.create_virtual_interface(store, caller, vpc.id, msgspec.structs.replace(VIF, **changed))


Change = Callable[[Interrupted, Caller], object]
CHANGES: list[Change] = [
    lambda store, operator: connections.delete_connection(store, operator, "port-1"),
    lambda store, operator: connections.update_connection(store, operator, "port-1", owner="globex"),
    lambda store, operator: connections.add_hosted(store, operator, "port-1", HostedConnection(owner="globex", vlan=101)),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("vif_first", [True, False])
def test_a_connection_does_not_change_below_a_new_virtual_interface(
    store: Interrupted, operator: Caller, acme: Caller, wired: Connection, vpc: Vpc, change: Change, vif_first: bool
) -> None:
    both: list[Callable[[], object]] = [make(store, acme, vpc), lambda: change(store, operator)]
    store.meanwhile, later = both if vif_first else reversed(both)
    with refused(CLIENT):
        later()
    clean(store)
    assert len(store.list(keys.connection_vlans()).kvs) == vif_first


def test_two_owners_do_not_get_one_vlan(
    store: Interrupted, operator: Caller, acme: Caller, globex: Caller, wired: Connection, vpc: Vpc
) -> None:
    other = vpcs.create_vpc(store, globex, name="web", cidrs=["10.0.0.0/16"])
    make_gateway(store, globex, other)
    store.meanwhile = lambda: connections.update_connection(store, operator, "port-1", owner="globex")
    with refused(CLIENT, "does not exist"):
        make(store, acme, vpc)()
    make(store, globex, other)()
    clean(store)


def test_one_vlan_and_one_network_go_to_one_of_two(store: Interrupted, acme: Caller, wired: Connection, vpc: Vpc) -> None:
    store.meanwhile = make(store, acme, vpc)
    with refused(CLIENT, "VLAN 101 of connection port-1 is used by virtual interface"):
        make(store, acme, vpc, name="second", address="")()
    store.meanwhile = make(store, acme, vpc, name="third", vlan=103, address="10.9.1.1/30")
    with refused(CLIENT, "overlaps 10.9.1.0/30"):
        make(store, acme, vpc, name="fourth", vlan=104, address="10.9.1.2/30")()
    clean(store)


def test_a_range_and_a_network_inside_it_do_not_meet(store: Interrupted, acme: Caller, wired: Connection, vpc: Vpc) -> None:
    store.meanwhile = make(store, acme, vpc)
    with refused("InvalidVpc.Range", "overlaps 10.9.0.0/30"):
        vpcs.associate_cidr(store, acme, vpc.id, "10.9.0.0/16")
    store.meanwhile = lambda: vpcs.associate_cidr(store, acme, vpc.id, "10.8.0.0/16")
    with refused(CLIENT, "overlaps 10.8.0.0/16"):
        make(store, acme, vpc, name="second", vlan=102, address="10.8.0.1/30")()


def test_one_device_becomes_one_connection(store: Interrupted, operator: Caller, west: list[Host]) -> None:
    def port(name: str) -> Callable[[], Connection]:
        return lambda: connections.create_connection(store, operator, name=name, host="e1", device="eth3")

    store.meanwhile = port("one")
    with refused(CLIENT, "eth3 of e1 is connection one"):
        port("two")()


def test_an_uplink_is_no_port_whoever_is_first(store: Interrupted, operator: Caller, west: list[Host]) -> None:
    def port() -> object:
        return connections.create_connection(store, operator, name="port", host="e1", device="eth5")

    store.meanwhile = lambda: update_edge(store, operator, "e1", uplink="eth5,198.18.0.21/24,198.18.0.254")
    with refused(CLIENT, "eth5 is the uplink of e1"):
        port()
    moved = edge("e2", 22, "west")
    assert moved.uplink is not None
    moved = msgspec.structs.replace(moved, uplink=msgspec.structs.replace(moved.uplink, device="eth6", asn=0, gateway_asn=0))
    plan = plan_cloud(store, operator, Cloud(hosts=[moved]))
    connections.create_connection(store, operator, name="other", host="e2", device="eth6")
    with pytest.raises(Conflict):
        apply_cloud(store, plan)


def test_an_edge_does_not_go_below_a_new_port(store: Interrupted, operator: Caller, west: list[Host]) -> None:
    def port() -> object:
        return connections.create_connection(store, operator, name="port", host="e1", device="eth5")

    store.meanwhile = lambda: hosts.delete_host(store, operator, "e1")
    with refused("InvalidHostID.NotFound"):
        port()
    assert read_inventory(store).connections == {}


def test_a_gateway_does_not_go_below_a_new_virtual_interface(
    store: Interrupted, acme: Caller, wired: Connection, vpc: Vpc, gateway: VirtualPrivateGateway
) -> None:
    store.meanwhile = make(store, acme, vpc)
    with refused("DependencyViolation", "1 virtual interface"):
        delete_vpn_gateway(store, acme, gateway.id)
    (vif,) = read_inventory(store).vpcs[vpc.vni].each(VirtualInterface)
    interfaces.delete_virtual_interface(store, acme, vif.id)
    store.meanwhile = lambda: delete_vpn_gateway(store, acme, gateway.id)
    with refused("InvalidVpnGatewayID.NotFound"):
        make(store, acme, vpc)()
    clean(store)
