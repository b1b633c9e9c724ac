"""Customer gateways, VPN connections and route propagation in files."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from netorch.control.actions.private import changes
from netorch.control.actions.private.connections import Wanted, create_vpn_connection
from netorch.control.actions.private.customers import create_customer_gateway
from netorch.control.apply.changes import CloudPlan
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.control.views.export import export_inventory
from netorch.errors import ApiError
from netorch.model.check.cloud import check_cloud
from netorch.model.cloud import Cloud
from netorch.model.eni import Host
from netorch.model.outside.secrets import Secret
from netorch.model.outside.vpn import CustomerGateway, VirtualPrivateGateway, VpnConnection
from netorch.model.vpc import RouteTable
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.spec import load_cloud
from netorch.spec.export import to_yaml
from netorch.store.base import Delete, Store
from tests.unit.control.private.conftest import MakeEdge, clean
from tests.unit.sealing import opened

FILE = """
name: site
customer_gateways:
- {name: office, owner: acme, address: 203.0.113.1}
- {name: branch, owner: acme, identity: branch.example, asn: 65010}
vpcs:
- name: web
  owner: acme
  cidrs: [10.0.0.0/16]
  vpn_gateway: {name: home, asn: 64600}
  route_tables: [{name: main, propagate: true}, {name: other, routes: [192.168.0.0/16 via vgw]}]
  vpn_connections:
  - name: office
    customer_gateway: office
    static_routes: [192.168.1.0/24]
    tunnels: [{inside_cidr: 169.254.10.0/30, psk_file: one.psk}, {options: {dpd_timeout: 60}}]
  - {name: branch, customer_gateway: branch}
"""
FILES = {"one.psk": b"Canary.0123\n", "bad.psk": b"0Canary.0123"}


def cloud_of(text: str) -> Cloud:
    return load_cloud("vpc.yaml", text)


def planned(store: Store, caller: Caller, text: str, files: Mapping[str, bytes] = FILES) -> CloudPlan:
    cloud = cloud_of(text)
    return plan_cloud(store, caller, cloud, source="/vpc.yaml", is_there=lambda _: True, read_file=files.__getitem__)


def applied(store: Store, caller: Caller, text: str = FILE) -> CloudPlan:
    plan = planned(store, caller, text)
    assert [str(stuck.error) for stuck in plan.stuck] == []
    apply_cloud(store, plan)
    assert planned(store, caller, text).changes == ()
    clean(store)
    return plan


def connections(store: Store) -> dict[str, VpnConnection]:
    return {vpn.name: vpn for records in read_inventory(store).vpcs.values() for vpn in records.each(VpnConnection)}


def deeds(plan: CloudPlan) -> list[tuple[str, str, str]]:
    return [(change.action.value, change.kind, change.name) for change in plan.changes]


def test_a_file_makes_connections(store: Store, operator: Caller, west: list[Host]) -> None:
    assert west
    plan = applied(store, operator)
    assert deeds(plan) == [
        ("add", "customer-gateway", "office"),
        ("add", "customer-gateway", "branch"),
        ("add", "vpc", "web"),
        ("add", "virtual-private-gateway", "home"),
        ("add", "vpn-connection", "office"),
        ("add", "vpn-connection", "branch"),
        ("add", "route-table", "other"),
        ("change", "route-table", "main"),
    ]
    found = connections(store)
    office, branch = found["office"], found["branch"]
    assert (office.static, office.routes, office.tunnels[0].inside_cidr) == (True, ("192.168.1.0/24",), "169.254.10.0/30")
    assert [tunnel.options.dpd_timeout for tunnel in office.tunnels] == [30, 60]
    assert (branch.static, branch.asn, branch.identity) == (False, 65010, "branch.example")
    assert opened(store, office.tunnels[0].edge, office.id)[1].psk == "Canary.0123"
    (tables,) = [list(records.each(RouteTable)) for records in read_inventory(store).vpcs.values()]
    assert {table.name: bool(table.propagating) for table in tables} == {"main": True, "other": False}
    made = plan.made_keys
    assert {one.path: set(one.tunnels) for one in made.values()} == {"acme/web/office": {2}, "acme/web/branch": {1, 2}}
    assert opened(store, branch.tunnels[1].edge, branch.id)[2] == made[branch.id].tunnels[2]
    shown = f"{plan!r} {msgspec.json.encode(plan.changes)!r}"
    assert "Canary" not in shown
    assert not any(secret.psk in shown for one in made.values() for secret in one.tunnels.values())


def test_an_export_is_the_same_cloud(store: Store, operator: Caller, west: list[Host]) -> None:
    assert west
    applied(store, operator)
    exported = export_inventory(read_inventory(store), operator)
    text = to_yaml(exported)
    assert check_cloud(cloud_of(text)) == []
    assert cloud_of(text) == exported
    assert "psk" not in text
    assert planned(store, operator, text).changes == ()


def test_what_a_file_does_not_declare_goes(store: Store, operator: Caller, west: list[Host]) -> None:
    assert west
    applied(store, operator)
    less = FILE.replace("- {name: branch, owner: acme, identity: branch.example, asn: 65010}\n", "")
    less = less.replace("  - {name: branch, customer_gateway: branch}\n", "").replace("propagate: true", "tags: {a: b}")
    plan = applied(store, operator, less)
    assert deeds(plan) == [
        ("delete", "vpn-connection", "branch"),
        ("change", "route-table", "main"),
        ("delete", "customer-gateway", "branch"),
    ]
    bare = "name: site\nvpcs: [{name: web, owner: acme, cidrs: [10.0.0.0/16]}]"
    assert [deed for deed in deeds(applied(store, operator, bare)) if deed[0] == "delete"] == [
        ("delete", "vpn-connection", "office"),
        ("delete", "route-table", "other"),
        ("delete", "virtual-private-gateway", "home"),
        ("delete", "customer-gateway", "office"),
    ]
    assert len(store.list("secret/").kvs) == 0


def test_a_connection_changes_in_place_or_is_made_again(store: Store, operator: Caller, west: list[Host]) -> None:
    assert west
    applied(store, operator)
    before = connections(store)
    changed = FILE.replace("192.168.1.0/24]", "192.168.1.0/24, 192.168.2.0/24]").replace("dpd_timeout: 60", "dpd_timeout: 90")
    plan = applied(store, operator, changed)
    assert deeds(plan) == [("change", "vpn-connection", "office")]
    assert {item.field for item in plan.changes[0].differences} == {"tunnel_2_dpd_timeout", "static_routes"}
    after = connections(store)
    assert after["office"].id == before["office"].id
    assert after["office"].routes == ("192.168.1.0/24", "192.168.2.0/24")
    plan = applied(store, operator, changed.replace("customer_gateway: branch}", "customer_gateway: branch, static_routes: []}"))
    assert deeds(plan) == [("replace", "vpn-connection", "branch")]
    assert connections(store)["branch"].id != before["branch"].id


def test_a_plan_does_not_see_keys(store: Store, operator: Caller, west: list[Host]) -> None:
    assert west
    applied(store, operator)
    office = connections(store)["office"]
    changes.rotate_secret(store, operator, office.id, 1, secret=Secret(psk="Other.01234"))
    assert planned(store, operator, FILE).changes == ()
    assert opened(store, office.tunnels[0].edge, office.id)[1].psk == "Other.01234"


def test_what_commands_made_is_the_files_too(
    store: Store, operator: Caller, acme: Caller, gateway: VirtualPrivateGateway, device: CustomerGateway
) -> None:
    create_vpn_connection(store, acme, gateway.id, device.id, Wanted(name="office", static=True, routes=("192.168.1.0/24",)))
    other = create_customer_gateway(store, acme, address="203.0.113.7")
    create_vpn_connection(store, acme, gateway.id, other.id, Wanted(name="unnamed"))
    text = to_yaml(export_inventory(read_inventory(store), operator))
    assert f"customer_gateway: {other.id}" in text
    assert planned(store, operator, text).changes == ()


def test_a_vpc_goes_with_its_connections(store: Store, operator: Caller, west: list[Host]) -> None:
    assert west
    applied(store, operator)
    (vpc,) = [records.vpc.record for records in read_inventory(store).vpcs.values()]
    plan = plan_destruction(store, operator, [vpc.id])
    written: dict[str, int] = {}
    for step in plan.steps:  # each step keeps the records consistent
        step.expected.update({key: written[key] for key in step.expected.keys() & written.keys()})
        revision = step.commit(store)
        assert revision
        written |= {key: 0 if value is None else revision for key, value in step.values.items()}
        clean(store)
    assert [kv.key for prefix in ("vpc/", "map/", "secret/", "alloc/vpn/") for kv in store.list(prefix).kvs] == []


def test_a_bad_key_file_is_told_and_not_shown(store: Store, operator: Caller, west: list[Host]) -> None:
    assert west
    (stuck,) = planned(store, operator, FILE.replace("one.psk", "bad.psk")).stuck
    assert "tunnel 1: a text of 12 characters is not a pre-shared key" in str(stuck.error)
    assert "Canary" not in str(stuck.error)


def test_an_edge_that_never_ran_keeps_a_vpc_from_being_made(store: Store, operator: Caller, west: list[Host]) -> None:
    assert west
    store.txn((), [Delete(keys.edge_key("e2"))])
    (stuck,) = planned(store, operator, FILE).stuck
    assert "host e2: its agent has not published its key yet" in str(stuck.error)


def test_a_device_never_changes(store: Store, operator: Caller, west: list[Host]) -> None:
    assert west
    applied(store, operator)
    with pytest.raises(ApiError, match=r"customer gateway acme/office: its address is 203\.0\.113\.1, which cannot be changed"):
        planned(store, operator, FILE.replace("203.0.113.1", "203.0.113.9"))


def test_two_vpcs_do_not_lead_to_one_device(store: Store, operator: Caller, west: list[Host], make_edge: MakeEdge) -> None:
    assert west
    vpc = FILE[FILE.index("- name: web") :].replace("169.254.10.0", "169.254.11.0")
    (stuck,) = planned(store, operator, FILE + vpc.replace("name: web", "name: second").replace("10.0.", "10.1.")).stuck
    assert stuck.path == "acme/second"
    assert "these edges already have a connection to 203.0.113.1" in str(stuck.error)


def test_a_file_lets_no_device_be_taken_for_another_one(store: Store, operator: Caller, west: list[Host]) -> None:
    assert west
    applied(store, operator)
    ikev1 = "- {name: branch, customer_gateway: branch, tunnels: [{options: {ike_versions: [ikev1]}}]}"
    with pytest.raises(ApiError, match="IKEv1 tells such devices apart by their address only"):
        planned(store, operator, FILE.replace("- {name: branch, customer_gateway: branch}", ikev1))
