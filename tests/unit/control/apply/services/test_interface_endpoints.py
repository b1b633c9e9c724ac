"""Endpoint services, interface endpoints and their connections in files."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions.endpoints import connections
from netorch.control.actions.endpoints.interface import create_interface_endpoint, delete_interface_endpoint
from netorch.control.actions.endpoints.offered import describe_endpoint_services
from netorch.control.actions.hosts import create_host
from netorch.control.actions.services.zones import create_zone
from netorch.control.apply.changes import CloudPlan
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.control.views.export import export_cloud, export_inventory
from netorch.errors import Conflict, SpecError
from netorch.model.endpoints.endpoint import EndpointState, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService
from netorch.model.eni import Role
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.vpc import VpcRecords
from netorch.spec import load_cloud, to_yaml
from netorch.store.base import Store
from tests.unit.control.apply.clouds import contents, records, summary
from tests.unit.control.apply.services.linked import sound
from tests.unit.control.conftest import refused

PROVIDER = """
- name: data
  owner: globex
  cidrs: [10.0.0.0/16]
  subnets: [{name: link, cidr: 10.0.9.0/28}, {name: more, cidr: 10.0.8.0/28}]
  instances: [{name: db-1, subnet: link}, {name: db-2, subnet: link}]
  endpoint_services:
  - {name: db, subnets: [link], ports: [tcp/443:8443, udp/53], targets: [db-1, db-2], principals: [acme], accept: [acme/web/db]}
"""
CONSUMER = """
- name: web
  owner: acme
  cidrs: [10.0.0.0/16]
  security_groups: [{name: clients}, {name: others}]
  subnets: [{name: a, cidr: 10.0.1.0/24}, {name: b, cidr: 10.0.2.0/24}]
  interface_endpoints:
  - {name: db, service: globex/data/db, subnets: [a], security_groups: [clients]}
"""
FILE = "vpcs:" + PROVIDER + CONSUMER
EITHER = pytest.mark.parametrize("text", [FILE, "vpcs:" + CONSUMER + PROVIDER])


@pytest.fixture(autouse=True)
def hosts(store: Store, operator: Caller) -> None:
    create_host(store, operator, name="hv1", underlay="192.0.2.11")
    for number in (21, 22):
        uplink, name = f"out0,198.18.0.{number}/24,198.18.0.254", f"e{number}"
        create_host(store, operator, name=name, underlay=f"192.0.2.{number}", role=Role.EDGE, pair="west", uplink=uplink)


def planned(store: Store, caller: Caller, text: str, source: str = "/vpc.yaml") -> CloudPlan:
    return plan_cloud(store, caller, load_cloud("vpc.yaml", text), source=source)


def applied(store: Store, caller: Caller, text: str, source: str = "/vpc.yaml") -> CloudPlan:
    """Apply a file, and check that a second apply changes nothing, nor does applying the export."""
    plan = planned(store, caller, text, source)
    assert [str(stuck.error) for stuck in plan.stuck] == []
    apply_cloud(store, plan)
    revision = store.revision()
    again = planned(store, caller, text, source)
    assert (again.changes, again.steps, apply_cloud(store, again)) == ((), (), 0)
    exported = export_cloud(store)
    assert load_cloud("vpc.yaml", to_yaml(exported)) == exported
    assert plan_cloud(store, Caller(operator=True), exported).changes == ()
    assert store.revision() == revision
    sound(store)
    return plan


def web(store: Store) -> VpcRecords:
    return records(store, "acme", "web")


def endpoint(store: Store) -> VpcEndpoint:
    (found,) = web(store).each(VpcEndpoint)
    return found


def lines(plan: CloudPlan, kind: str) -> list[tuple[str, str, str]]:
    return [(one.field, one.before, one.after) for change in plan.changes if change.kind == kind for one in change.differences]


def test_a_private_name_and_a_zone_of_the_same_domain_do_not_both_come_to_a_vpc(store: Store, operator: Caller) -> None:
    named = FILE.replace("principals", "private_dns_name: db.example.com, principals")
    named = named.replace("- name: web\n", "- name: web\n  enable_dns_hostnames: true\n")
    applied(store, operator, named)
    plan = planned(store, operator, named.replace("[clients]}", "[clients], private_dns: true}"))
    create_zone(store, operator, web(store).vpc.record.id, name="db.example.com")
    with pytest.raises(Conflict):
        apply_cloud(store, plan)
    assert not endpoint(store).private_dns


@EITHER
def test_one_file_makes_a_service_an_endpoint_and_accepts_it(store: Store, operator: Caller, text: str) -> None:
    plan = applied(store, operator, text)
    found = [one for one in summary(plan) if one[1].startswith("endpoint")]
    assert found == [
        ("add", "endpoint-service", "globex/data/db"),
        ("add", "endpoint", "acme/web/db"),
        ("change", "endpoint-connection", "globex/data/db/acme/web/db"),
    ]
    assert lines(plan, "endpoint-connection") == [("state", "pendingAcceptance", "available")]
    assert ("service", "", "globex/data/db") in lines(plan, "endpoint")
    assert ("ports", "", "tcp/443:8443") in lines(plan, "endpoint-service")
    assert endpoint(store).state is EndpointState.AVAILABLE
    (half,) = records(store, "globex", "data").each(EndpointConnection)
    assert (half.state, half.address.startswith("10.0.9.")) == (EndpointState.AVAILABLE, True)
    assert all(stuck is None for stuck in plan.stuck)


def test_a_file_and_commands_store_the_same(store: Store, operator: Caller) -> None:
    plain = FILE.replace(", accept: [acme/web/db]", ", acceptance_required: false")
    applied(store, operator, plain)
    by_file, mine = contents(store), endpoint(store)
    delete_interface_endpoint(store, operator, mine.id)
    subnet = next(one.id for one in web(store).each(Subnet) if one.name == "a")
    made = create_interface_endpoint(store, operator, web(store).vpc.record.id, mine.service, subnets=[subnet], name="db")
    assert msgspec.structs.replace(made, id="", interfaces=()) == msgspec.structs.replace(mine, id="", interfaces=())
    assert len(contents(store)) == len(by_file)
    plan = planned(store, operator, plain)
    assert lines(plan, "endpoint") == [("security_groups", "default", ""), ("security_groups", "", "clients")]
    applied(store, operator, plain)


def test_what_changes_in_place_and_what_makes_another_endpoint(store: Store, operator: Caller) -> None:
    applied(store, operator, FILE)
    first = endpoint(store)
    changed = FILE.replace("[clients]}", "[others], private_dns: true, tags: {a: b}}")
    with refused("InvalidParameterValue", "has no private DNS name; leave private DNS out"):
        planned(store, operator, changed)
    changed = changed.replace("principals", "private_dns_name: db.example.com, principals")
    (stuck,) = planned(store, operator, changed).stuck
    assert "private DNS needs DNS support and DNS host names" in str(stuck.error)
    changed = changed.replace("- name: web\n", "- name: web\n  enable_dns_hostnames: true\n")
    plan = applied(store, operator, changed)
    assert lines(plan, "endpoint") == [
        ("security_groups", "clients", ""),
        ("security_groups", "", "others"),
        ("private_dns", "", "true"),
        ("tags", "", "a=b"),
    ]
    assert (endpoint(store).id, endpoint(store).private_dns_name) == (first.id, "db.example.com")
    plan = applied(store, operator, changed.replace("subnets: [a]", "subnets: [a, b]"))
    (change,) = [one for one in plan.changes if one.kind == "endpoint"]
    assert (change.action.value, change.resource_id) == ("replace", first.id)
    assert (change.breaks, lines(plan, "endpoint")) == (
        "its connections end; it gets new addresses and a new id",
        [("subnets", "", "b")],
    )
    assert (endpoint(store).id != first.id, endpoint(store).state) == (True, EndpointState.AVAILABLE)
    other = changed.replace("10.0.1.0/24", "10.0.3.0/24")  # the subnet is recreated
    assert ("replace", "endpoint", "acme/web/db") in summary(applied(store, operator, other))
    service = (
        other.replace("udp/53", "udp/54").replace("[db-1, db-2]", "[db-2]").replace("subnets: [link]", "subnets: [more, link]")
    )
    plan = applied(store, operator, service.replace("principals: [acme]", "principals: ['*'], proxy_protocol: true"))
    assert [one for one in lines(plan, "endpoint-service") if one[0] != "targets"] == [
        ("proxy_protocol", "false", "true"),
        ("ports", "udp/53", ""),
        ("ports", "", "udp/54"),
        ("principals", "acme", ""),
        ("principals", "", "*"),
        ("subnets", "", "more"),
    ]
    assert endpoint(store).state is EndpointState.AVAILABLE


@EITHER
def test_what_a_file_no_longer_has_goes_and_a_service_in_use_stays(store: Store, operator: Caller, text: str) -> None:
    applied(store, operator, text)
    no_service = PROVIDER[: PROVIDER.index("  endpoint_services")]
    no_endpoint = CONSUMER[: CONSUMER.index("  interface_endpoints")]
    with refused("ExistingVpcEndpointConnections", "of acme is available; reject it first"):
        planned(store, operator, "vpcs:" + no_service + CONSUMER)
    plan = applied(store, operator, "vpcs:" + no_service + no_endpoint)
    assert [one for one in summary(plan) if one[1].startswith("endpoint")] == [
        ("delete", "endpoint", "acme/web/db"),
        ("delete", "endpoint-service", "globex/data/db"),
    ]


def test_the_providers_file_accepts_and_rejects_and_leaves_it_to_commands(
    store: Store, operator: Caller, acme: Caller, globex: Caller
) -> None:
    applied(store, globex, "vpcs:" + PROVIDER.replace(", accept: [acme/web/db]", ""), "/globex.yaml")
    (info,) = describe_endpoint_services(store, globex, records(store, "globex", "data").vpc.record.id)
    consumer = "vpcs:" + CONSUMER.replace("globex/data/db", info.service.id)
    applied(store, acme, consumer, "/acme.yaml")
    assert endpoint(store).state is EndpointState.PENDING_ACCEPTANCE
    (half,) = web(store).each(EndpointConnection)
    with_list = PROVIDER.replace("acme/web/db", half.id)
    plan = planned(store, globex, "vpcs:" + PROVIDER, "/globex.yaml")  # globex may not see acme's names
    assert (plan.changes, "accepts acme/web/db, which has not requested a connection yet" in plan.notes[-1]) == ((), True)
    plan = applied(store, globex, "vpcs:" + with_list, "/globex.yaml")
    assert summary(plan) == [("change", "endpoint-connection", f"globex/data/db/{half.id}")]
    assert endpoint(store).state is EndpointState.AVAILABLE
    exported = export_inventory(read_inventory(store), globex)
    (service,) = exported.vpcs[0].endpoint_services
    assert service.accept == [half.id]
    assert export_inventory(read_inventory(store), acme).vpcs[0].interface_endpoints[0].service == info.service.id
    plan = applied(store, globex, "vpcs:" + PROVIDER.replace("[acme/web/db]", "[]"), "/globex.yaml")
    assert (lines(plan, "endpoint-connection"), plan.changes[0].breaks) == (
        [("state", "available", "rejected")],
        "its connections end",
    )
    left = "vpcs:" + PROVIDER.replace(", accept: [acme/web/db]", "")
    assert planned(store, globex, left, "/globex.yaml").changes == ()
    connections.accept_connection(store, globex, half.id)
    assert planned(store, globex, left, "/globex.yaml").changes == ()
    applied(store, operator, FILE)
    assert endpoint(store).state is EndpointState.AVAILABLE


def test_an_export_brings_back_a_cloud_that_was_destroyed(store: Store, operator: Caller) -> None:
    applied(store, operator, FILE)
    exported = to_yaml(export_cloud(store))
    plan = plan_destruction(store, operator, [records(store, "globex", "data").vpc.record.id])
    apply_cloud(store, plan)
    assert endpoint(store).state is EndpointState.REJECTED
    sound(store)
    applied(store, operator, exported)
    assert endpoint(store).state is EndpointState.AVAILABLE
    ids = [vpc.vpc.record.id for vpc in read_inventory(store).vpcs.values()]
    apply_cloud(store, plan_destruction(store, operator, ids))
    assert [kv.key for prefix in ("vpc/", "map/", "alloc/ip/", "host/e21/placement") for kv in store.list(prefix).kvs] == []
    applied(store, operator, exported)


def test_who_may_not_use_a_service_is_told_that_there_is_none(store: Store, operator: Caller, acme: Caller) -> None:
    applied(store, operator, "vpcs:" + PROVIDER.replace("principals: [acme], ", ""))
    (service,) = records(store, "globex", "data").each(EndpointService)
    for name in (service.id, "globex/data/db", "web2/db", "vpce-svc-00138800000000001"):
        with refused(
            "InvalidServiceName", f"endpoint 'db': the endpoint service '{name}' does not exist, or is not offered to acme"
        ):
            planned(store, acme, "vpcs:" + CONSUMER.replace("globex/data/db", name), "/acme.yaml")
    own = CONSUMER[: CONSUMER.index("  interface")] + "  endpoint_services: [{name: own, subnets: [a], ports: [tcp/80]}]\n"
    applied(store, acme, "vpcs:" + own, "/acme.yaml")
    (mine,) = web(store).each(EndpointService)
    with refused("InvalidParameterValue", "is a service of the same VPC"):
        planned(store, acme, f"vpcs:{own}  interface_endpoints: [{{name: x, service: {mine.id}, subnets: [b]}}]\n", "/acme.yaml")


def test_a_service_whose_subnets_are_full_accepts_nothing_more(store: Store, operator: Caller) -> None:
    small = FILE.replace("instances: [{name: db-1, subnet: link}, {name: db-2, subnet: link}]",
                         "instances: [" + ", ".join(f"{{name: db-{n}, subnet: link}}" for n in range(1, 12)) + "]")  # fmt: skip
    with refused("InsufficientFreeAddressesInSubnet", "service 'db': its subnets have no free address; give it another subnet"):
        planned(store, operator, small)
    applied(store, operator, small.replace("subnets: [link], ports", "subnets: [link, more], ports"))
    (half,) = web(store).each(EndpointConnection)
    assert half.address.startswith("10.0.8.")


def test_a_subnet_in_which_a_connection_has_its_address_stays(store: Store, operator: Caller) -> None:
    applied(store, operator, FILE)
    without = FILE.replace("{name: link, cidr: 10.0.9.0/28}, ", "").replace("subnet: link", "subnet: more")
    with refused("DependencyViolation", "of a connection to a service; reject that connection first"):
        planned(store, operator, without.replace("[link], ports", "[more], ports"))


SERVICE = {"name": "db", "subnets": "[link]", "ports": "[tcp/443]"}


@pytest.mark.parametrize(
    ("field", "value", "what", "fix"),
    [
        ("name", "first", "'first' is also the name of endpoint_services[0]", "rename one"),
        ("subnets", "[]", "there are no subnets", "name at least one"),
        ("subnets", "[link, link]", "is listed twice", "remove one"),
        ("subnets", "[lnk]", "'lnk'", "link"),
        ("ports", "[]", "there are no ports", "name at least one"),
        ("ports", "[icmp/8]", "'icmp/8' is not a port", "tcp/443:8443"),
        ("ports", "[tcp/0]", "'tcp/0' is not a port", "tcp/443"),
        ("ports", "['tcp/443:80', tcp/443]", "tcp/443 is the same port as ports[0]", "remove one"),
        ("targets", "[db-9]", "there is no instance 'db-9'", "an interface"),
        ("targets", "[db-1, db-1]", "is listed twice", "remove one"),
        ("principals", "[a/b]", "a/b", "write an owner, or '*'"),
        ("principals", "[acme, acme]", "is listed twice", "remove one"),
        ("accept", "[web/db]", "'web/db' is not an endpoint", "OWNER/VPC/ENDPOINT"),
        ("accept", "[acme/web/db, acme/web/db]", "is listed twice", "remove one"),
        ("acceptance_required", "false, accept: [acme/web/db]", "so every connection is accepted", "remove one of the two"),
        ("private_dns_name", "'no name'", "'no name'", ""),
    ],
)
def test_what_no_endpoint_service_can_be_is_refused_with_its_place(field: str, value: str, what: str, fix: str) -> None:
    fields = {**SERVICE, field: value}
    text = f"""vpcs:
- name: data
  cidrs: [10.0.0.0/16]
  subnets: [{{name: link, cidr: 10.0.9.0/24}}]
  instances: [{{name: db-1}}]
  endpoint_services:
  - {{name: first, subnets: [link], ports: [tcp/1]}}
  - {{{", ".join(f"{name}: {text}" for name, text in fields.items())}}}
"""
    check(text, 8, what, fix)


@pytest.mark.parametrize(
    ("field", "value", "what", "fix"),
    [
        ("name", "s3", "'s3' is also the name of gateway_endpoints[0]", "rename one"),
        ("service", "db", "'db' is not an endpoint service", "OWNER/VPC/SERVICE"),
        ("service", "a/b/c/d", "'a/b/c/d' is not an endpoint service", "VPC/SERVICE"),
        ("service", "web/own", "'web/own' is a service of the same VPC", "their own addresses"),
        ("subnets", "[]", "there are no subnets", "name at least one"),
        ("subnets", "[x]", "'x'", "a"),
        ("security_groups", "[clint]", "'clint'", "clients"),
        ("security_groups", "[clients, clients]", "is listed twice", "remove one"),
        ("addresses", "[10.0.1.4]", "'addresses'", ""),
    ],
)
def test_what_no_interface_endpoint_can_be_is_refused_with_its_place(field: str, value: str, what: str, fix: str) -> None:
    fields = {"name": "db", "service": "globex/data/db", "subnets": "[a]", field: value}
    text = f"""vpcs:
- name: web
  cidrs: [10.0.0.0/16]
  subnets: [{{name: a, cidr: 10.0.9.0/24}}]
  security_groups: [{{name: clients}}]
  gateway_endpoints: [{{name: s3, service: s3}}]
  interface_endpoints:
  - {{{", ".join(f"{name}: {text}" for name, text in fields.items())}}}
"""
    check(text, 8, what, fix)


def check(text: str, line: int, what: str, fix: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_cloud("vpc.yaml", text)
    (problem,) = caught.value.problems
    assert (problem.line, what in problem.what, fix in problem.fix) == (line, True, True), problem


def test_keys_of_both_vpcs_are_where_hosts_look(store: Store, operator: Caller) -> None:
    applied(store, operator, FILE)
    (half,) = web(store).each(EndpointConnection)
    assert {kv.key for kv in store.list("vpc/").kvs if kv.key.endswith(half.id)} == {
        keys.member(vni, half.id) for vni in (half.consumer, half.provider)
    }
