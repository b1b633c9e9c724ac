"""Reachability by route tables: directly, through an appliance, or none, with the reason."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from netorch.control.actions import instances
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.diagnose.reach import compare, matrix
from netorch.model.check.cloud import check_cloud
from netorch.model.cloud import (
    AclAction,
    AclEntryDecl,
    Cloud,
    HostDecl,
    IngressDecl,
    InstanceDecl,
    NetworkAclDecl,
    RouteTableDecl,
    SecurityGroupDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import Instance
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.memory import MemoryStore

OPERATOR = Caller(operator=True)
SSH = IngressDecl(protocol="tcp", ports=22, source="10.0.0.0/16")
OPEN = SecurityGroupDecl(name="default", ingress=[IngressDecl(protocol="all", source="10.0.0.0/16")])
# Subnets app and db reach each other through fw, which is in its own subnet with local routes only.
VPC = VpcDecl(
    name="web",
    cidrs=["10.0.0.0/16"],
    security_groups=[OPEN, SecurityGroupDecl(name="ssh", ingress=[SSH])],
    network_acls=[
        NetworkAclDecl(name="shut"),
    ],
    route_tables=[
        RouteTableDecl(name="to-db", routes=["10.0.2.0/24 via eni fw"]),
        RouteTableDecl(name="to-app", routes=["10.0.1.0/24 via eni fw"]),
    ],
    subnets=[
        SubnetDecl(name="app", cidr="10.0.1.0/24", route_table="to-db"),
        SubnetDecl(name="db", cidr="10.0.2.0/24", route_table="to-app"),
        SubnetDecl(name="fire", cidr="10.0.3.0/24"),
    ],
    instances=[
        InstanceDecl(name="a", subnet="app"),
        InstanceDecl(name="d", subnet="db"),
        InstanceDecl(name="fw", subnet="fire", source_dest_check=False),
    ],
)


def cloud(**changes: object) -> Cloud:
    return Cloud(hosts=[HostDecl(name="hv1", underlay="192.0.2.1")], vpcs=[msgspec.structs.replace(VPC, **changes)])


def stored(wanted: Cloud) -> MemoryStore:
    store = MemoryStore()
    assert check_cloud(wanted) == []
    apply_cloud(store, plan_cloud(store, OPERATOR, wanted))
    return store


def flows(store: MemoryStore) -> dict[str, tuple[str, str, str]]:
    """Return the services, appliances and code of each flow by its ends."""
    found = matrix(read_inventory(store), OPERATOR)
    return {
        f"{source} {destination}": (",".join(flow.services), ",".join(flow.through), flow.code)
        for flow in found
        for source in flow.sources
        for destination in flow.destinations
        if source != destination
    }


def instance(name: str, **changes: object) -> list[InstanceDecl]:
    return [msgspec.structs.replace(one, **changes) if one.name == name else one for one in VPC.instances]


def tables(*routes: list[str]) -> list[RouteTableDecl]:
    return [msgspec.structs.replace(table, routes=own) for table, own in zip(VPC.route_tables, routes, strict=True)]


DIRECT = ("all", "", "")


def test_flows_go_straight_or_through_the_appliance_that_both_tables_name() -> None:
    assert flows(stored(cloud())) == {
        **dict.fromkeys(("a fw", "fw a", "d fw", "fw d"), DIRECT),
        "a d": ("all", "fw", ""),
        "d a": ("all", "fw", ""),
    }


def test_an_appliance_with_its_check_on_takes_nothing_for_others() -> None:
    found = flows(stored(cloud(instances=instance("fw", source_dest_check=True))))
    assert found["a d"] == ("all", "fw", "ENI_SOURCE_DEST_CHECK_RESTRICTION")
    assert found["a fw"] == DIRECT


def test_the_route_to_an_appliance_that_is_gone_drops_both_directions() -> None:
    store = stored(cloud())
    fw = next(one for one in read_inventory(store).vpcs.popitem()[1].each(Instance) if one.name == "fw")
    instances.terminate_instance(store, OPERATOR, fw.id)
    assert flows(store) == {"a d": ("all", "", "BAD_STATE_ROUTE"), "d a": ("all", "", "BAD_STATE_ROUTE")}


def test_an_appliance_without_an_ipv6_address_takes_none_of_these_packets() -> None:
    routes = [["fd00:1:0:2::/64 via eni fw"], ["fd00:1:0:1::/64 via eni fw"]]
    dual = [msgspec.structs.replace(one, ipv6_cidr=f"fd00:1:0:{n}::/64") for n, one in enumerate(VPC.subnets, 1)]
    group = msgspec.structs.replace(OPEN, ingress=[*OPEN.ingress, IngressDecl(protocol="all", source="::/0")])
    wanted = cloud(ipv6_cidrs=["fd00:1::/56"], subnets=dual, route_tables=tables(*routes), security_groups=[group])
    lacking = msgspec.structs.replace(wanted.vpcs[0], subnets=dual[:2] + VPC.subnets[2:])
    for vpc, code in ((wanted.vpcs[0], ""), (lacking, "BAD_STATE_ROUTE")):
        inventory = read_inventory(stored(msgspec.structs.replace(wanted, vpcs=[vpc])))
        found = {(flow.version, *flow.sources, *flow.destinations): flow.code for flow in matrix(inventory, OPERATOR)}
        assert (found[4, "a", "d"], found[6, "a", "d"]) == ("", code)


def test_answers_that_come_another_way_end_a_flow() -> None:
    found = flows(stored(cloud(route_tables=tables(["10.0.2.0/24 via eni fw"], []))))
    assert found["a d"] == ("all", "fw", "ASYMMETRIC_ROUTES")
    assert found["d a"] == ("all", "", "ASYMMETRIC_ROUTES")


def test_a_route_that_leads_an_appliance_back_to_itself_is_a_loop() -> None:
    main = RouteTableDecl(name="main", routes=["10.0.2.0/24 via eni fw"])
    found = flows(stored(cloud(route_tables=[*VPC.route_tables, main])))
    assert found["a d"] == ("all", "fw", "ROUTING_LOOP")
    assert found["fw d"][2] == "ROUTING_LOOP"


def test_a_replaced_local_route_leads_everything_through_the_appliance_but_what_is_for_it() -> None:
    both = [*VPC.instances, InstanceDecl(name="a2", subnet="app")]
    whole = ["10.0.0.0/16 via eni fw"]
    found = flows(stored(cloud(route_tables=tables(whole, whole), instances=both)))
    assert {found["a d"], found["d a"]} == {("all", "fw", "")}
    assert {found["a a2"], found["a2 a"]} == {DIRECT}, "what stays in a subnet meets no route table"
    assert {found["a fw"], found["fw a"]} == {DIRECT}


@pytest.mark.parametrize(
    ("change", "services"),
    [
        (lambda: {"instances": instance("fw", security_groups=["ssh"], source_dest_check=False)}, "tcp 22"),
        (lambda: {"instances": instance("d", security_groups=["ssh"])}, "tcp 22"),
        (lambda: {"subnets": [*VPC.subnets[:2], msgspec.structs.replace(VPC.subnets[2], network_acl="shut")]}, None),
    ],
    ids=["its groups", "the receiver's groups", "its subnet's ACL"],
)
def test_the_rules_of_an_appliance_hold_for_what_passes_it(change: Callable[[], dict[str, object]], services: str | None) -> None:
    found = flows(stored(cloud(**change())))
    assert found.get("a d", (None,))[0] == services


def entry(rule: int, cidr: str, protocol: str = "all", ports: str = "") -> AclEntryDecl:
    return AclEntryDecl(rule=rule, action=AclAction.ALLOW, protocol=protocol, ports=ports, cidr=cidr)


def test_answers_must_pass_the_acl_of_the_appliance_too() -> None:
    acl = NetworkAclDecl(name="shut", ingress=[entry(1, "10.0.1.0/24")], egress=[entry(1, "0.0.0.0/0")])
    subnets = [*VPC.subnets[:2], msgspec.structs.replace(VPC.subnets[2], network_acl="shut")]
    assert "tcp" not in flows(stored(cloud(network_acls=[acl], subnets=subnets)))["a d"][0]
    answering = msgspec.structs.replace(acl, ingress=[*acl.ingress, entry(2, "10.0.2.0/24", "tcp", "1024-65535")])
    assert flows(stored(cloud(network_acls=[answering], subnets=subnets)))["a d"][:2] == ("icmp 0-7,9-12,14,16,18-255,tcp", "fw")


def test_two_appliances_in_a_row() -> None:
    second = InstanceDecl(name="fw2", subnet="second", source_dest_check=False)
    wanted = cloud(
        instances=[*VPC.instances, second],
        route_tables=[*VPC.route_tables, RouteTableDecl(name="main", routes=["10.0.2.0/24 via eni fw2"])],
        subnets=[*VPC.subnets, SubnetDecl(name="second", cidr="10.0.4.0/24", route_table="back")],
    )
    tables = [*wanted.vpcs[0].route_tables, RouteTableDecl(name="back", routes=["10.0.1.0/24 via eni fw"])]
    tables[1] = RouteTableDecl(name="to-app", routes=["10.0.1.0/24 via eni fw2"])
    found = flows(stored(Cloud(hosts=wanted.hosts, vpcs=[msgspec.structs.replace(wanted.vpcs[0], route_tables=tables)])))
    assert (found["a d"], found["d a"]) == (("all", "fw,fw2", ""), ("all", "fw2,fw", ""))


def test_a_file_that_changes_routes_opens_and_closes_flows() -> None:
    store = stored(cloud())
    shut = cloud(instances=instance("fw", source_dest_check=True))
    changes = {(c.opened, *c.flows.sources, *c.flows.destinations, c.flows.code) for c in compare(store, OPERATOR, shut, "")}
    code = "ENI_SOURCE_DEST_CHECK_RESTRICTION"
    assert changes == {(False, "a", "d", code), (False, "d", "a", code)}
    back = stored(shut)
    assert {(c.opened, c.flows.through, c.flows.code) for c in compare(back, OPERATOR, cloud(), "")} == {(True, ("fw",), "")}
    assert compare(store, OPERATOR, cloud(route_tables=tables([], [])), "") == []
