"""Connections and virtual interfaces in files: plan, apply, export."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from nacl.public import PrivateKey, SealedBox

from netorch.control.actions.direct_connect import connections, interfaces
from netorch.control.actions.direct_connect.making import Wanted
from netorch.control.apply.changes import Action, CloudPlan
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.control.views.export import export_cloud
from netorch.control.views.unsaid import unsaid
from netorch.errors import ApiError
from netorch.model.check.cloud import check_cloud
from netorch.model.cloud import (
    Cloud,
    ConnectionDecl,
    HostedVlanDecl,
    VirtualInterfaceDecl,
    VpcDecl,
    VpnGatewayDecl,
)
from netorch.model.outside.direct_connect import BgpAuthentication, VirtualInterface
from netorch.model.status import Sealed, SealingKey
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.records.read import get
from netorch.store.base import Put, Store
from tests.unit.control.conftest import refused
from tests.unit.control.direct_connect.conftest import clean
from tests.unit.control.outside.files.declared import EDGES

PORT = ConnectionDecl(
    name="port-1", host="e1", device="eth3", owner="acme", hosted=[HostedVlanDecl(owner="globex", vlan=7)], tags={"site": "ix"}
)
DC = VirtualInterfaceDecl(name="dc", connection="port-1", vlan=101, asn=65010, bfd=True, tags={"a": "b"})
OLD = VirtualInterfaceDecl(
    name="old", connection="port-1", vlan=102, outer_vlan=300, mtu=8500, routes=["192.168.0.0/16"], address="10.9.0.2/31"
)
SHOP = VpcDecl(name="shop", owner="acme", cidrs=["10.0.0.0/16"], vpn_gateway=VpnGatewayDecl(), virtual_interfaces=[DC, OLD])
CLOUD = Cloud(name="dx", hosts=EDGES[:2], connections=[PORT], vpcs=[SHOP])


def declared(*vifs: VirtualInterfaceDecl, port: ConnectionDecl = PORT) -> Cloud:
    """Return the cloud with other virtual interfaces."""
    return msgspec.structs.replace(CLOUD, connections=[port], vpcs=[msgspec.structs.replace(SHOP, virtual_interfaces=list(vifs))])


def planned(store: Store, caller: Caller, cloud: Cloud, **files: bytes) -> CloudPlan:
    assert check_cloud(cloud) == []
    return plan_cloud(store, caller, cloud, read_file=lambda name: files[name.removesuffix(".key")])


def applied(store: Store, caller: Caller, cloud: Cloud, **files: bytes) -> list[tuple[Action, str, str]]:
    """Apply a cloud, check that a second plan is empty, and return the changes."""
    plan = planned(store, caller, cloud, **files)
    assert plan.stuck == ()
    apply_cloud(store, plan)
    clean(store)
    again = planned(store, caller, cloud)
    assert again.changes == ()
    assert again.steps == ()
    return [(change.action, change.kind, change.name) for change in plan.changes]


def vif(store: Store, name: str = "dc") -> VirtualInterface:
    (found,) = [vif for vpc in read_inventory(store).vpcs.values() for vif in vpc.each(VirtualInterface) if vif.name == name]
    return found


def replaced(decl: VirtualInterfaceDecl = DC, **changed: Any) -> VirtualInterfaceDecl:  # noqa: ANN401
    return msgspec.structs.replace(decl, **changed)


def test_a_file_makes_them_and_an_export_says_the_same(store: Store, operator: Caller) -> None:
    done = applied(store, operator, CLOUD)
    assert {(Action.ADD, "connection", "port-1"), (Action.ADD, "virtual-interface", "dc")} <= set(done)
    exported = export_cloud(store)
    assert exported.connections == [PORT]
    (dc, old) = exported.vpcs[0].virtual_interfaces
    assert dc == replaced(address=vif(store).address, peer=vif(store).peer)
    assert old == replaced(OLD, peer="10.9.0.3")
    assert planned(store, operator, exported).changes == ()


def test_the_same_by_commands_and_by_a_file(store: Store, operator: Caller, acme: Caller) -> None:
    applied(store, operator, declared(OLD))
    by_file = vif(store, "old")
    interfaces.delete_virtual_interface(store, acme, by_file.id)
    vpc = next(iter(read_inventory(store).vpcs.values())).vpc.record
    wanted = Wanted(
        name="old", connection="port-1", vlan=102, outer_vlan=300, mtu=8500, routes=["192.168.0.0/16"], address="10.9.0.2/31"
    )
    made = interfaces.create_virtual_interface(store, acme, vpc.id, wanted)
    assert msgspec.structs.replace(made, id=by_file.id) == by_file
    assert planned(store, operator, declared(OLD)).changes == ()


@pytest.mark.parametrize(
    ("changed", "action", "breaks"),
    [
        ({"mtu": 8500}, Action.CHANGE, ""),
        ({"tags": {}}, Action.CHANGE, ""),
        ({"bfd": False}, Action.CHANGE, ""),
        ({"asn": 65011}, Action.CHANGE, "its BGP session begins again"),
        ({"address": "10.9.1.1/30"}, Action.CHANGE, "its BGP session begins again"),
        ({"asn": 0, "bfd": False, "routes": ["192.168.0.0/16"]}, Action.CHANGE, "its BGP session begins again"),
        ({"vlan": 103}, Action.REPLACE, "it stops carrying traffic until the new one is up; it gets a new id"),
        ({"outer_vlan": 8}, Action.REPLACE, "it stops carrying traffic until the new one is up; it gets a new id"),
    ],
)
def test_a_change_is_made_in_place_where_it_can(
    store: Store, operator: Caller, changed: dict[str, Any], action: Action, breaks: str
) -> None:
    applied(store, operator, CLOUD)
    before = vif(store)
    cloud = declared(replaced(**changed), OLD)
    (change,) = planned(store, operator, cloud).changes
    assert (change.action, change.kind, change.path, change.breaks) == (action, "virtual-interface", "acme/shop/dc", breaks)
    applied(store, operator, cloud)
    after = vif(store)
    assert (after.id == before.id) == (action is Action.CHANGE)
    assert msgspec.json.encode({field: getattr(after, field) for field in changed}) == msgspec.json.encode(changed)
    assert len(store.list(keys.connection_vlans("port-1")).kvs) == 2


def test_what_is_not_declared_any_more_goes_with_its_vlan(store: Store, operator: Caller) -> None:
    applied(store, operator, CLOUD)
    plan = planned(store, operator, declared(OLD))
    assert [(change.action, change.name, change.breaks) for change in plan.changes] == [
        (Action.DELETE, "dc", "it stops carrying traffic")
    ]
    applied(store, operator, declared(OLD))
    assert [kv.key for kv in store.list(keys.connection_vlans()).kvs] == [keys.connection_vlan("port-1", 300, 102)]
    gone = msgspec.structs.replace(SHOP, virtual_interfaces=[], vpn_gateway=msgspec.UNSET)
    done = applied(store, operator, msgspec.structs.replace(CLOUD, vpcs=[gone]))
    assert [name for _, _, name in done] == ["old", "vgw"]


def test_a_vpc_goes_with_all_of_them(store: Store, operator: Caller) -> None:
    applied(store, operator, CLOUD)
    apply_cloud(store, plan_destruction(store, operator, ["acme/shop"]), allow_mass_delete=True)
    clean(store)
    assert store.list("vpc/").kvs == store.list(keys.connection_vlans()).kvs == ()
    connections.delete_connection(store, operator, "port-1")


def test_a_name_and_a_vlan_pass_on_in_one_plan(store: Store, operator: Caller) -> None:
    applied(store, operator, CLOUD)
    first = vif(store)
    applied(store, operator, declared(replaced(name="new"), OLD))
    assert vif(store, "new").vlan == first.vlan
    assert vif(store, "new").id != first.id


def test_who_may_use_a_vlan_changes_with_who_uses_it(store: Store, operator: Caller) -> None:
    applied(store, operator, CLOUD)
    hosted = [HostedVlanDecl(owner="acme", vlan=101)]
    only = msgspec.structs.replace(PORT, owner="", hosted=hosted)
    with refused("DirectConnectClientException", r"virtual interface dxvif-.* of acme uses VLAN 300.102; delete that first"):
        planned(store, operator, Cloud(name="ports", connections=[only]))
    done = applied(store, operator, declared(DC, port=only))
    assert done == [(Action.DELETE, "virtual-interface", "old"), (Action.CHANGE, "connection", "port-1")]
    applied(store, operator, CLOUD)


@pytest.mark.parametrize(
    ("changed", "code", "what"),
    [
        ({"device": "eth4"}, "DirectConnectClientException", "is eth3 of e1, which cannot be changed"),
        ({"name": "port-2"}, "DirectConnectClientException", "eth3 of e1 is connection port-1"),
        ({"host": "e2"}, "DirectConnectClientException", "is eth3 of e1, which cannot be changed"),
    ],
)
def test_a_port_stays_where_it_is(store: Store, operator: Caller, changed: dict[str, Any], code: str, what: str) -> None:
    applied(store, operator, CLOUD)
    cloud = msgspec.structs.replace(CLOUD, connections=[msgspec.structs.replace(PORT, **changed)], vpcs=[])
    with refused(code, what):
        planned(store, operator, cloud)


def test_a_customer_declares_his_own_only(store: Store, operator: Caller, acme: Caller, globex: Caller) -> None:
    applied(store, operator, msgspec.structs.replace(CLOUD, vpcs=[]))
    with refused("UnauthorizedOperation", "only the operator may change connections"):
        planned(store, acme, msgspec.structs.replace(CLOUD, hosts=[], connections=[replaced_port(tags={})]))
    applied(store, acme, msgspec.structs.replace(CLOUD, name="own", hosts=[], connections=[]))
    theirs = msgspec.structs.replace(SHOP, owner="globex", virtual_interfaces=[replaced(vlan=8)])
    (stuck,) = stuck_in(store, globex, theirs)
    assert "VLAN 8 of connection port-1 does not belong to globex" in str(stuck)
    theirs = msgspec.structs.replace(theirs, virtual_interfaces=[replaced(vlan=7)])
    applied(store, globex, msgspec.structs.replace(CLOUD, name="theirs", hosts=[], connections=[], vpcs=[theirs]))


def replaced_port(**changed: Any) -> ConnectionDecl:  # noqa: ANN401
    return msgspec.structs.replace(PORT, **changed)


def stuck_in(store: Store, caller: Caller, vpc: VpcDecl) -> list[BaseException]:
    """Return the errors that prevent a VPC's creation."""
    try:
        plan = planned(store, caller, Cloud(name="stuck", vpcs=[vpc]))
    except ApiError as error:
        return [error]
    return [stuck.error for stuck in plan.stuck]


def test_the_owners_file_confirms_what_the_operator_made(store: Store, operator: Caller, acme: Caller) -> None:
    applied(store, operator, declared())
    vpc = next(iter(read_inventory(store).vpcs.values())).vpc.record
    wanted = Wanted(name="dc", connection="port-1", vlan=101, asn=65010, bfd=True, tags={"a": "b"})
    made = interfaces.create_virtual_interface(store, operator, vpc.id, wanted)
    assert export_cloud(store).vpcs[0].virtual_interfaces == []
    (text,) = unsaid(read_inventory(store), operator)
    assert text == "VPC acme/shop: unconfirmed virtual interfaces are left out: dc"
    (change,) = planned(store, operator, declared(DC)).changes
    assert [(item.field, item.before, item.after) for item in change.differences] == [("state", "confirming", "confirmed")]
    applied(store, operator, declared(DC))
    assert vif(store) == msgspec.structs.replace(made, confirmed=True)


def test_what_was_rejected_is_made_again(store: Store, operator: Caller, acme: Caller) -> None:
    applied(store, operator, declared())
    vpc = next(iter(read_inventory(store).vpcs.values())).vpc.record
    wanted = Wanted(name="dc", connection="port-1", vlan=101, asn=65010)
    made = interfaces.create_virtual_interface(store, operator, vpc.id, wanted)
    interfaces.reject_virtual_interface(store, acme, made.id)
    assert applied(store, operator, declared(DC)) == [(Action.REPLACE, "virtual-interface", "dc")]
    assert vif(store).id != made.id


def test_a_key_is_read_once_and_sealed(store: Store, operator: Caller) -> None:
    private = PrivateKey.generate()
    public = base64.b64encode(bytes(private.public_key)).decode()
    signed = declared(replaced(key_file="dc.key"))
    with refused("IncorrectState", "host e1: its agent has not published its key yet"):
        applied(store, operator, msgspec.structs.replace(CLOUD, vpcs=[]))
        planned(store, operator, signed, dc=b"canary-of-bgp\n")
    store.txn((), [Put(keys.edge_key("e1"), encode(SealingKey(public=public)))])
    plan = planned(store, operator, signed, dc=b"canary-of-bgp\n")
    assert "canary" not in str(plan)
    assert "canary" not in str(plan.steps[-1].values)
    applied(store, operator, signed, dc=b"canary-of-bgp\n")
    sealed = get(store, keys.secret("e1", vif(store).id), Sealed)
    assert sealed is not None
    assert SealedBox(private).decrypt(base64.b64decode(sealed.record.boxes[0])) == b'{"md5":"canary-of-bgp"}'
    assert export_cloud(store).vpcs[0].virtual_interfaces[0].key_file == "dc.key"
    (text,) = unsaid(read_inventory(store), operator)
    assert "the keys of virtual interfaces cannot be exported; write them into the files that key_file names: dc" in text
    applied(store, operator, declared(DC))
    assert vif(store).authentication is BgpAuthentication.NONE
    assert store.list("secret/").kvs == ()
    with refused("DirectConnectClientException", "BGP key cannot be one"):
        planned(store, operator, signed, dc=b"short")


def test_an_uplink_is_no_port(store: Store, operator: Caller) -> None:
    applied(store, operator, msgspec.structs.replace(CLOUD, vpcs=[]))
    uplink = EDGES[0].uplink
    assert uplink is not None
    moved = msgspec.structs.replace(EDGES[0], uplink=msgspec.structs.replace(uplink, device="eth3"))
    with refused("DirectConnectClientException", "eth3 is connection port-1"):
        plan_cloud(store, operator, Cloud(hosts=[moved, EDGES[1]]))
