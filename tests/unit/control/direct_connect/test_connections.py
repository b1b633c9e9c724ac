"""Connections: ports of edges, and which owner may use which of their VLANs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netorch.control.actions import hosts, vpcs
from netorch.control.actions.direct_connect import connections, interfaces
from netorch.control.actions.direct_connect.making import Wanted
from netorch.control.actions.outside.edges import update_edge
from netorch.control.actions.repair import damaged
from netorch.control.actions.tags import set_tags
from netorch.model.eni import Host
from netorch.model.outside.direct_connect import Connection, ConnectionState, HostedConnection
from netorch.model.outside.vpn import VirtualPrivateGateway
from netorch.model.status import VifStatus
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.store.base import Delete, Put, Store
from tests.unit.control.conftest import refused
from tests.unit.control.direct_connect.conftest import clean, make_gateway
from tests.unit.control.outside.conftest import MakeEdge

CLIENT = "DirectConnectClientException"
VIF = Wanted(name="dc", connection="port-1", vlan=101, asn=65010)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"name": "port-1"}, "the cloud already has one with that name"),
        ({"device": "eth2"}, "eth2 is the uplink of e1"),
        ({"device": "eth3"}, "eth3 of e1 is connection port-1"),
        ({"device": "a/b"}, "not the name of a network device"),
        ({"host": "hv1"}, "host hv1 is a hypervisor; name an edge"),
        ({"owner": "a b"}, "not a name"),
        ({"hosted": [HostedConnection(owner="globex", vlan=4095)]}, "4095 is not a VLAN"),
        ({"hosted": [HostedConnection(owner=owner, vlan=7) for owner in ("acme", "globex")]}, "hosted for acme and again"),
    ],
)
def test_what_cannot_be_a_connection_is_refused(
    store: Store, operator: Caller, connection: Connection, two_hosts: None, changed: dict[str, Any], what: str
) -> None:
    with refused(CLIENT, what):
        connections.create_connection(store, operator, **({"name": "port-2", "host": "e1", "device": "eth4"} | changed))
    assert [info.connection for info in connections.describe_connections(store, operator)] == [connection]


def test_a_host_that_is_not_there_has_no_ports(store: Store, operator: Caller) -> None:
    with refused("InvalidHostID.NotFound"):
        connections.create_connection(store, operator, name="port-2", host="e9", device="eth4")


def test_the_same_device_of_another_edge_is_another_port(store: Store, operator: Caller, connection: Connection) -> None:
    other = connections.create_connection(store, operator, name="port-2", host="e2", device=connection.device)
    assert [info.connection for info in connections.describe_connections(store, operator)] == [connection, other]
    clean(store)


def test_a_port_that_was_deleted_may_be_another_connection(store: Store, operator: Caller, connection: Connection) -> None:
    connections.delete_connection(store, operator, connection.name)
    assert store.list("alloc/dxport/").kvs == ()
    with refused(CLIENT, "does not exist; `netorch dx connection list`"):
        connections.describe_connection(store, operator, connection.name)
    assert connections.create_connection(store, operator, name="again", host="e1", device="eth3").owner == ""


def test_an_owner_sees_what_is_his(store: Store, operator: Caller, acme: Caller, globex: Caller, connection: Connection) -> None:
    connections.add_hosted(store, operator, "port-1", HostedConnection(owner="globex", vlan=7))
    connections.add_hosted(store, operator, "port-1", HostedConnection(owner="initech", vlan=8))
    seen = connections.describe_connection(store, globex, "port-1").connection
    assert (seen.owner, seen.hosted) == ("", (HostedConnection(owner="globex", vlan=7),))
    seen = connections.describe_connection(store, acme, "port-1").connection
    assert (seen.owner, seen.hosted) == ("acme", ())
    stranger = msgspec.structs.replace(globex, owner="stranger")
    assert connections.describe_connections(store, stranger) == []
    with refused(CLIENT, "does not exist"):
        connections.describe_connection(store, stranger, "port-1")


def test_a_vlan_is_hosted_for_one_owner(store: Store, operator: Caller, connection: Connection) -> None:
    hosted = HostedConnection(owner="globex", vlan=7)
    assert connections.add_hosted(store, operator, "port-1", hosted).hosted == (hosted,)
    with refused(CLIENT, "VLAN 7 is hosted for globex and again for initech"):
        connections.add_hosted(store, operator, "port-1", HostedConnection(owner="initech", vlan=7))
    inside = HostedConnection(owner="initech", vlan=7, outer_vlan=300)
    assert connections.add_hosted(store, operator, "port-1", inside).hosted == (hosted, inside)
    with refused(CLIENT, "VLAN 301.7 is not hosted"):
        connections.remove_hosted(store, operator, "port-1", 7, 301)
    assert connections.remove_hosted(store, operator, "port-1", 7).hosted == (inside,)


def test_who_may_use_a_vlan_stays_while_it_is_used(
    store: Store, operator: Caller, acme: Caller, globex: Caller, connection: Connection, vpc: Vpc, gateway: VirtualPrivateGateway
) -> None:
    own = interfaces.create_virtual_interface(store, acme, vpc.id, VIF)
    connections.add_hosted(store, operator, "port-1", HostedConnection(owner="globex", vlan=7))
    other = vpcs.create_vpc(store, globex, name="web", cidrs=["10.0.0.0/16"])
    make_gateway(store, globex, other)
    hosted = interfaces.create_virtual_interface(store, globex, other.id, msgspec.structs.replace(VIF, vlan=7))
    with refused(CLIENT, f"virtual interface {hosted.id} of globex uses VLAN 7; delete that first"):
        connections.remove_hosted(store, operator, "port-1", 7)
    with refused(CLIENT, f"virtual interface {own.id} of acme uses VLAN 101"):
        connections.add_hosted(store, operator, "port-1", HostedConnection(owner="globex", vlan=101))
    with refused(CLIENT, f"virtual interface {own.id} of acme uses VLAN 101"):
        connections.update_connection(store, operator, "port-1", owner="globex")
    with refused(CLIENT, "it has 2 virtual interface"):
        connections.delete_connection(store, operator, "port-1")
    connections.add_hosted(store, operator, "port-1", HostedConnection(owner="acme", vlan=101))
    assert connections.update_connection(store, operator, "port-1", owner="").owner == ""
    assert connections.describe_connection(store, acme, "port-1").virtual_interfaces == 1
    assert connections.describe_connection(store, operator, "port-1").virtual_interfaces == 2
    clean(store)


def test_its_state_is_that_of_its_carrier(
    store: Store, operator: Caller, acme: Caller, connection: Connection, vpc: Vpc, gateway: VirtualPrivateGateway
) -> None:
    vif = interfaces.create_virtual_interface(store, acme, vpc.id, VIF)
    key = keys.tunnel_status("e1", vif.id)
    for said, state in (
        (None, ConnectionState.PENDING),
        (VifStatus(), ConnectionState.DOWN),
        (VifStatus(carrier=True), ConnectionState.AVAILABLE),
    ):
        if said is not None:
            store.txn((), [Put(key, encode(said))])
        assert connections.describe_connection(store, acme, "port-1").state is state


def test_its_edge_keeps_what_it_stands_on(
    store: Store,
    operator: Caller,
    acme: Caller,
    connection: Connection,
    vpc: Vpc,
    gateway: VirtualPrivateGateway,
    west: list[Host],
    make_edge: MakeEdge,
) -> None:
    interfaces.create_virtual_interface(store, acme, vpc.id, VIF)
    with refused("DependencyViolation", r"1 connection\(s\) of Direct Connect, e.g. port-1"):
        hosts.delete_host(store, operator, "e1")
    with refused(CLIENT, "eth3 is connection port-1"):
        update_edge(store, operator, "e1", uplink="eth3,198.18.0.21/24,198.18.0.254")
    with refused(CLIENT, "connection port-1 has virtual interfaces, whose gateways stay with pair west"):
        update_edge(store, operator, "e1", pair="east")
    assert hosts.describe_host(store, operator, "e1").host == west[0]


def test_nobody_but_the_operator_changes_it(store: Store, acme: Caller, connection: Connection) -> None:
    hosted = HostedConnection(owner="acme", vlan=7)
    for change in (
        lambda: connections.create_connection(store, acme, name="port-2", host="e1", device="eth4"),
        lambda: connections.update_connection(store, acme, "port-1", owner=""),
        lambda: connections.add_hosted(store, acme, "port-1", hosted),
        lambda: connections.remove_hosted(store, acme, "port-1", 7),
        lambda: connections.delete_connection(store, acme, "port-1"),
    ):
        with refused("UnauthorizedOperation"):
            change()


def test_it_has_tags(store: Store, operator: Caller, acme: Caller, connection: Connection) -> None:
    set_tags(store, operator, "dxcon", "port-1", {"site": "ix"})
    assert connections.describe_connection(store, operator, "port-1").connection.tags == {"site": "ix"}
    with refused("UnauthorizedOperation"):
        set_tags(store, acme, "dxcon", "port-1", {})


def test_the_audit_finds_what_does_not_agree(
    store: Store, operator: Caller, acme: Caller, connection: Connection, vpc: Vpc, gateway: VirtualPrivateGateway
) -> None:
    vif = interfaces.create_virtual_interface(store, acme, vpc.id, VIF)
    assert damaged(store) == {}
    vlan, port = keys.connection_vlan("port-1", 0, 101), keys.port("e1", "eth3")
    for broken in (
        {vlan: None},
        {vlan: b'"dxvif-00100100000000000"'},
        {port: None},
        {port: b'"other"'},
        {keys.port("e1", "eth4"): b'"port-1"'},
        {keys.connection_vlan("port-1", 0, 9): f'"{vif.id}"'.encode()},
    ):
        before = {key: store.get(key) for key in broken}
        store.txn((), [Put(key, value) if value is not None else Delete(key) for key, value in broken.items()])
        assert set(broken) <= set(damaged(store)), broken
        store.txn((), [Put(key, kv.value) if kv is not None else Delete(key) for key, kv in before.items()])
    assert damaged(store) == {}
    store.txn((), [Put(keys.connection("port-1"), encode(msgspec.structs.replace(connection, device="eth9")))])
    assert keys.resource(vif.id) in damaged(store)
