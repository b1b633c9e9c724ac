"""Gateway endpoints, their services, and policies of buckets."""

from __future__ import annotations

from itertools import chain, count

import msgspec
import pytest

from netorch.control.actions import groups, permissions, prefix_lists, route_tables, vpcs
from netorch.control.actions.endpoints import buckets, gateway, services
from netorch.control.actions.outside import pools
from netorch.control.actions.outside.drains import admit
from netorch.control.actions.outside.gateways import create_internet_gateway
from netorch.control.actions.peerings import request_peering
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.control.base.endpoints.gateway import is_endpoints
from netorch.control.base.quotas import set_quotas
from netorch.control.views.export import export_cloud
from netorch.model.endpoints.endpoint import NUMBER_FIRST, GatewayService, VpcEndpoint
from netorch.model.eni import Host
from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping
from netorch.model.security import Direction, PrefixList
from netorch.model.vpc import RouteTable, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.names import wrong_names
from netorch.records.read import get, read_all
from netorch.spec import load_cloud
from netorch.store.base import Put, Store
from tests.unit.control.conftest import refused
from tests.unit.control.outside.conftest import MakeEdge

ALLOW = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}]}'
ONLY_A = (
    '{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*", "Action": "s3:*", '
    '"Resource": ["arn:aws:s3:::xxx", "arn:aws:s3:::xxx/*"], '
    '"Condition": {"StringNotEquals": {"aws:sourceVpc": "vpc-00138800000000001"}}}}'
)
UPSTREAM = "http://192.0.2.80:9000"


def clean(store: Store) -> None:
    """Check that all records can be read, and that names, uses and placements belong to existing resources."""
    inventory = read_inventory(store)
    assert [str(error) for error in inventory.unreadable] == []
    assert list(map(str, wrong_names(inventory))) == []
    found = {keys.service_uses(one.service, one.id) for vpc in inventory.vpcs.values() for one in vpc.each(VpcEndpoint)}
    assert {kv.key for kv in store.list(keys.service_uses()).kvs} == found
    assert {kv.key.rpartition("/")[2] for kv in store.list("host/e1/placement/vpce").kvs} == {
        one.id for vpc in inventory.vpcs.values() for one in vpc.each(VpcEndpoint)
    }


@pytest.fixture
def edges(make_edge: MakeEdge) -> list[Host]:
    return [make_edge("e1", 21), make_edge("e2", 22)]


@pytest.fixture
def plain(store: Store, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="plain", cidrs=["10.20.0.0/16"])


@pytest.fixture
def table(store: Store, acme: Caller, plain: Vpc) -> RouteTable:
    return route_tables.create_route_table(store, acme, plain.id, name="private")


@pytest.fixture
def s3(store: Store, operator: Caller) -> GatewayService:
    return services.create_service(store, operator, name="s3", prefixes=["198.19.0.0/24"], upstream=UPSTREAM)


def routes(store: Store, caller: Caller, table: RouteTable) -> list[tuple[str, str, str]]:
    """Return a table's explicit routes as displayed."""
    found = route_tables.describe_route_table(store, caller, table.id)
    return [(found.names[one.destination], one.target, one.state.value) for one in found.routes if one.target != "local"]


def test_a_table_leads_to_an_endpoint_by_the_services_prefix_list(
    store: Store, acme: Caller, plain: Vpc, table: RouteTable, edges: list[Host], s3: GatewayService
) -> None:
    made = gateway.create_gateway_endpoint(store, acme, plain.id, s3.service_name, name="s3", route_tables=[table.id])
    assert routes(store, acme, table) == [("pl-com.netorch.s3", made.id, "active")]
    (info,) = gateway.describe_gateway_endpoints(store, acme, plain.id)
    assert (info.prefixes, info.route_tables, info.pair) == (("198.19.0.0/24",), (table.id,), "west")
    assert set(info.edges) == {edge.name for edge in edges}
    assert made.number == NUMBER_FIRST
    clean(store)
    changed = gateway.modify_gateway_endpoint(store, acme, made.id, remove_route_tables=[table.id], policy=ALLOW)
    assert (routes(store, acme, table), changed.policy) == ([], ALLOW)
    again = gateway.modify_gateway_endpoint(store, acme, made.id, add_route_tables=[table.id], policy="")
    assert (routes(store, acme, table), again.policy) == ([("pl-com.netorch.s3", made.id, "active")], "")
    gateway.delete_gateway_endpoint(store, acme, made.id)
    assert routes(store, acme, table) == []
    assert read_all(store, PrefixList, plain.vni) == {}
    assert get(store, keys.gateway_mapping(plain.vni, made.id), GatewayMapping) is None
    clean(store)
    route_tables.delete_route_table(store, acme, table.id)
    vpcs.delete_vpc(store, acme, plain.id)


@pytest.mark.usefixtures("s3")
def test_an_endpoint_is_shown_though_the_record_of_its_edge_cannot_be_read(
    store: Store, acme: Caller, plain: Vpc, edges: list[Host]
) -> None:
    made = gateway.create_gateway_endpoint(store, acme, plain.id, "s3")
    store.txn([], [Put(keys.host_spec(edge.name), b"garbage") for edge in edges])
    info = gateway.describe_gateway_endpoint(store, acme, made.id)
    assert (info.pair, set(info.edges)) == ("", {edge.name for edge in edges})


@pytest.mark.usefixtures("edges")
def test_a_table_has_one_route_to_a_service(
    store: Store, acme: Caller, plain: Vpc, table: RouteTable, s3: GatewayService
) -> None:
    assert s3
    first = gateway.create_gateway_endpoint(store, acme, plain.id, "s3", name="first", route_tables=[table.id])
    with refused("RouteAlreadyExists", f"to {first.id}; delete that route, or remove the table from that endpoint"):
        gateway.create_gateway_endpoint(store, acme, plain.id, "s3", name="second", route_tables=[table.id])
    second = gateway.create_gateway_endpoint(store, acme, plain.id, "s3", name="second")
    assert second.prefix_list == first.prefix_list
    assert second.number == first.number + 1
    gateway.delete_gateway_endpoint(store, acme, first.id)
    assert list(read_all(store, PrefixList, plain.vni)) == [second.prefix_list]
    clean(store)


@pytest.mark.usefixtures("edges")
def test_a_route_that_came_with_an_endpoint_goes_with_it_only(
    store: Store, acme: Caller, plain: Vpc, table: RouteTable, s3: GatewayService
) -> None:
    assert s3
    made = gateway.create_gateway_endpoint(store, acme, plain.id, "s3", name="s3", route_tables=[table.id])
    pl = made.prefix_list
    with refused("InvalidParameterValue", "netorch endpoint modify"):
        route_tables.delete_route(store, acme, table.id, pl)
    with refused("InvalidParameterValue", "netorch endpoint modify"):
        route_tables.replace_route(store, acme, table.id, pl, "blackhole")
    with refused("InvalidParameterValue", "netorch endpoint modify"):
        route_tables.create_route(store, acme, table.id, "192.0.2.0/24", made.id)
    with refused("OperationNotPermitted", "exists as long as its endpoints"):
        prefix_lists.modify_prefix_list(store, acme, pl, cidrs=["10.0.0.0/8"])
    with refused("OperationNotPermitted", "exists as long as its endpoints"):
        prefix_lists.delete_prefix_list(store, acme, pl)


@pytest.mark.usefixtures("edges")
def test_rules_may_name_a_services_prefix_list_and_keep_it(store: Store, acme: Caller, plain: Vpc, s3: GatewayService) -> None:
    assert s3
    made = gateway.create_gateway_endpoint(store, acme, plain.id, "s3", name="s3")
    group = groups.create_security_group(store, acme, plain.id, name="out", description="out")
    wanted = permissions.Permission(protocol="tcp", ports="80", peer="pl-com.netorch.s3")
    permissions.authorize(store, acme, group.id, Direction.EGRESS, [wanted])
    with refused("DependencyViolation", "a rule of security group out"):
        gateway.delete_gateway_endpoint(store, acme, made.id)


@pytest.mark.usefixtures("edges")
def test_what_is_not_the_callers_or_wrong_is_refused(
    store: Store, acme: Caller, globex: Caller, operator: Caller, plain: Vpc, table: RouteTable, s3: GatewayService
) -> None:
    made = gateway.create_gateway_endpoint(store, acme, plain.id, "s3", name="s3")
    for act in (gateway.delete_gateway_endpoint, gateway.describe_gateway_endpoint):
        with refused("InvalidVpcEndpointId.NotFound"):
            act(store, globex, made.id)
    with refused("InvalidServiceName"):
        gateway.create_gateway_endpoint(store, acme, plain.id, "com.netorch.dynamodb", name="other")
    with refused("InvalidPolicyDocument", "this is not JSON"):
        gateway.modify_gateway_endpoint(store, acme, made.id, policy="{")
    with refused("InvalidParameterValue", "the VPC already has one with that name"):
        gateway.create_gateway_endpoint(store, acme, plain.id, "s3", name="s3")
    with refused("InvalidParameterValue", "has no route to it"):
        gateway.modify_gateway_endpoint(store, acme, made.id, remove_route_tables=[table.id])
    with refused("UnauthorizedOperation"):
        services.delete_service(store, acme, s3.name)
    with refused("DependencyViolation", "still has 1 endpoint"):
        services.delete_service(store, operator, s3.name)
    set_quotas(store, "acme", {"gateway_endpoints_per_vpc": 1})
    with refused("VpcEndpointLimitExceeded"):
        gateway.create_gateway_endpoint(store, acme, plain.id, "s3", name="more")
    route_tables.delete_route_table(store, acme, table.id)
    with refused("DependencyViolation", "1 endpoint"):
        vpcs.delete_vpc(store, acme, plain.id)


@pytest.mark.usefixtures("edges")
def test_nobody_has_a_services_prefixes_twice(
    store: Store, acme: Caller, operator: Caller, plain: Vpc, s3: GatewayService
) -> None:
    with refused("InvalidParameterValue", "198.19.0.0/25 overlaps 198.19.0.0/24 of service s3"):
        services.create_service(store, operator, name="other", prefixes=["198.19.0.0/25"], upstream=UPSTREAM)
    pools.create_pool(store, operator, name="p", pair="west", cidrs=["198.51.100.0/24"])
    for text in ("198.51.100.0/25", "198.18.0.0/24", "192.0.2.0/24"):
        with refused("InvalidParameterValue", "overlaps"):
            services.create_service(store, operator, name="other", prefixes=[text], upstream=UPSTREAM)
    with refused("InvalidParameterValue", "198.19.0.0/25 overlaps 198.19.0.0/24 of service s3"):
        pools.create_pool(store, operator, name="q", pair="west", cidrs=["198.19.0.0/25"])
    inside = vpcs.create_vpc(store, acme, name="inside", cidrs=["198.19.0.0/16"])
    with refused("InvalidParameterValue", "overlaps 198.19.0.0/16 of VPC inside"):
        gateway.create_gateway_endpoint(store, acme, inside.id, s3.name, name="s3")
    gateway.create_gateway_endpoint(store, acme, plain.id, s3.name, name="s3")
    with refused("InvalidVpc.Range", "overlaps 198.19.0.0/24 of com.netorch.s3"):
        vpcs.associate_cidr(store, acme, plain.id, "198.19.0.0/20")
    with refused("InvalidParameterValue", "10.20.3.0/24 of the service overlaps 10.20.0.0/16 of VPC plain"):
        services.modify_service(store, operator, s3.name, prefixes=["10.20.3.0/24"])


@pytest.mark.usefixtures("edges")
def test_vpcs_follow_a_service_to_other_prefixes(
    store: Store, acme: Caller, operator: Caller, plain: Vpc, s3: GatewayService
) -> None:
    made = gateway.create_gateway_endpoint(store, acme, plain.id, s3.name, name="s3")
    services.modify_service(store, operator, s3.name, prefixes=["198.19.2.0/24", "198.19.1.0/24"], tls="192.0.2.80:9443")
    info = gateway.describe_gateway_endpoint(store, acme, made.id)
    assert info.prefixes == ("198.19.1.0/24", "198.19.2.0/24")
    gateway.delete_gateway_endpoint(store, acme, made.id)
    services.delete_service(store, operator, s3.name)
    assert store.list(keys.service_prefix()).kvs == ()
    clean(store)


def test_all_gateways_of_a_vpc_are_on_one_pair_and_an_edge_that_joins_has_its_endpoints(
    store: Store, acme: Caller, operator: Caller, plain: Vpc, make_edge: MakeEdge, s3: GatewayService
) -> None:
    make_edge("e1", 21)
    made = gateway.create_gateway_endpoint(store, acme, plain.id, s3.name, name="s3")
    make_edge("n1", 31, "north")
    create_internet_gateway(store, acme, plain.id)
    make_edge("e2", 22)
    admit(store, "e2")
    assert gateway.describe_gateway_endpoint(store, acme, made.id).edges == ("e1", "e2")
    assert store.list("host/n1/placement/").kvs == ()


def test_the_operator_says_whose_a_bucket_is_and_its_owner_who_may_use_it(
    store: Store, acme: Caller, globex: Caller, operator: Caller, s3: GatewayService
) -> None:
    with refused("NoSuchBucket"):
        buckets.put_bucket_policy(store, acme, "xxx", ONLY_A)
    with refused("UnauthorizedOperation"):
        buckets.put_bucket_policy(store, acme, "xxx", ONLY_A, owner="acme", service="s3")
    with refused("MissingParameter", "it has no owner yet"):
        buckets.put_bucket_policy(store, operator, "xxx", ONLY_A)
    made = buckets.put_bucket_policy(store, operator, "xxx", "", owner="acme", service=s3.service_name)
    assert (made.service, made.owner, made.policy) == ("s3", "acme", "")
    assert buckets.put_bucket_policy(store, acme, "xxx", ONLY_A).policy == ONLY_A
    with refused("NoSuchBucket"):
        buckets.describe_bucket(store, globex, "xxx")
    with refused("NoSuchBucket"):
        buckets.put_bucket_policy(store, globex, "xxx", "")
    with refused("MalformedPolicy", "this is not JSON"):
        buckets.put_bucket_policy(store, acme, "xxx", "{")
    with refused("DependencyViolation", "bucket.s. xxx"):
        services.delete_service(store, operator, "s3")
    buckets.delete_bucket_policy(store, acme, "xxx")
    with refused("NoSuchBucketPolicy"):
        buckets.delete_bucket_policy(store, acme, "xxx")
    assert [bucket.name for bucket in buckets.describe_buckets(store, acme)] == ["xxx"]
    assert buckets.describe_buckets(store, globex) == []
    buckets.delete_bucket_policy(store, operator, "xxx")
    services.delete_service(store, operator, "s3")


FILE = """
vpcs:
- name: plain
  owner: acme
  cidrs: [10.20.0.0/16]
  route_tables: [{name: main}, {name: private}]
  gateway_endpoints: [{name: s3, service: s3, route_tables: [TABLE]}]
  security_groups: [{name: out, egress: [{protocol: tcp, ports: 80, destination: pl-com.netorch.s3}]}]
"""


@pytest.mark.usefixtures("edges")
def test_a_file_declares_endpoints_and_changes_nothing_twice(store: Store, operator: Caller, s3: GatewayService) -> None:
    assert s3
    for table in ("main", "private"):
        cloud = load_cloud("vpc.yaml", FILE.replace("TABLE", table))
        apply_cloud(store, plan_cloud(store, operator, cloud))
        clean(store)
        assert plan_cloud(store, operator, cloud).changes == ()
        (records,) = read_inventory(store).vpcs.values()
        leading = [found.name for found in records.each(RouteTable) if any(is_endpoints(route) for route in found.routes)]
        assert leading == [table]
        (exported,) = export_cloud(store).vpcs
        assert [(one.service, one.route_tables) for one in exported.gateway_endpoints] == [("com.netorch.s3", [table])]
        assert (exported.prefix_lists, [found.routes for found in exported.route_tables if found.routes]) == ([], [])
    without = FILE.replace("gateway_endpoints: [{name: s3, service: s3, route_tables: [TABLE]}]", "tags: {}")
    without = without.replace("pl-com.netorch.s3", "0.0.0.0/0")
    apply_cloud(store, plan_cloud(store, operator, load_cloud("vpc.yaml", without)))
    (records,) = read_inventory(store).vpcs.values()
    assert [*records.each(VpcEndpoint), *records.each(PrefixList), *records.each(GatewayMapping)] == []
    clean(store)
    apply_cloud(store, plan_cloud(store, operator, load_cloud("vpc.yaml", FILE.replace("TABLE", "main"))))
    (records,) = read_inventory(store).vpcs.values()
    apply_cloud(store, plan_destruction(store, operator, [records.vpc.record.id]))
    assert read_inventory(store).vpcs == {}
    clean(store)


@pytest.mark.usefixtures("edges", "s3")
def test_a_declared_endpoint_has_not_the_next_hop_of_a_peering_connection(store: Store, operator: Caller) -> None:
    without = FILE.replace("gateway_endpoints: [{name: s3, service: s3, route_tables: [TABLE]}]", "tags: {}")
    apply_cloud(store, plan_cloud(store, operator, load_cloud("vpc.yaml", without.replace("pl-com.netorch.s3", "0.0.0.0/0"))))
    (records,) = read_inventory(store).vpcs.values()
    vpc = records.vpc.record
    other = vpcs.create_vpc(store, operator, name="other", cidrs=["10.30.0.0/16"])
    numbers = chain([0x123456789, 5, 0x123456789], count(7))  # of the connection, of the prefix list, of the endpoint
    caller = msgspec.structs.replace(operator, entropy=numbers.__next__)
    connection = request_peering(store, caller, vpc.id, other.id, name="other")
    apply_cloud(store, plan_cloud(store, caller, load_cloud("vpc.yaml", FILE.replace("TABLE", "main"))))
    (endpoint,) = read_all(store, VpcEndpoint, vpc.vni).values()
    assert connection.id == make_id("pcx", vpc.vni, 0x123456789)
    assert endpoint.record.id == make_id("vpce", vpc.vni, 7)
