"""The operator's services and buckets in files."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions.endpoints import buckets, gateway, services
from netorch.control.actions.hosts import create_host
from netorch.control.actions.vpcs import create_vpc
from netorch.control.apply.changes import CloudPlan
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.export import export_cloud, export_inventory
from netorch.errors import SpecError
from netorch.model.endpoints.endpoint import BucketPolicy, GatewayService
from netorch.model.eni import Role
from netorch.model.security import PrefixList
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.read import get
from netorch.spec import load_cloud, to_yaml
from netorch.store.base import Store
from tests.unit.control.apply.clouds import summary
from tests.unit.control.conftest import refused

DENY = (
    '{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "arn:aws:s3:::xxx"}}'
)
S3 = "{name: s3, prefixes: [198.19.1.0/24, 198.19.0.0/24], upstream: 'http://192.0.2.80:9000'}"
FILE = f"""
gateway_services:
- {S3}
buckets:
- name: xxx
  service: com.netorch.s3
  owner: acme
  policy: >-
    {DENY}
"""
VPC = """
vpcs:
- name: web
  owner: acme
  cidrs: [10.0.0.0/16]
  gateway_endpoints: [{name: s3, service: s3, route_tables: [main]}]
"""


@pytest.fixture(autouse=True)
def edge(store: Store, operator: Caller) -> None:
    uplink = "out0,198.18.0.21/24,198.18.0.254"
    create_host(store, operator, name="e1", underlay="192.0.2.21", role=Role.EDGE, pair="west", uplink=uplink)


def planned(store: Store, caller: Caller, text: str) -> CloudPlan:
    return plan_cloud(store, caller, load_cloud("vpc.yaml", text), source="/vpc.yaml")


def applied(store: Store, caller: Caller, text: str) -> CloudPlan:
    """Apply a file, and check that a second apply changes nothing, nor does applying the export."""
    plan = planned(store, caller, text)
    assert [str(stuck.error) for stuck in plan.stuck] == []
    apply_cloud(store, plan)
    revision = store.revision()
    again = planned(store, caller, text)
    assert (again.changes, again.steps) == ((), ())
    assert apply_cloud(store, again) == 0
    exported = load_cloud("vpc.yaml", to_yaml(export_cloud(store)))
    assert (exported, planned(store, Caller(operator=True), to_yaml(exported)).changes) == (export_cloud(store), ())
    assert (store.revision(), read_inventory(store).unreadable) == (revision, [])
    return plan


def lines(plan: CloudPlan) -> list[tuple[str, str, str]]:
    return [(one.field, one.before, one.after) for change in plan.changes for one in change.differences]


def s3(store: Store) -> GatewayService:
    found = get(store, keys.service("s3"), GatewayService)
    assert found is not None
    return found.record


def xxx(store: Store) -> BucketPolicy:
    found = get(store, keys.bucket("xxx"), BucketPolicy)
    assert found is not None
    return found.record


def test_a_service_with_its_bucket_and_an_endpoint_comes_from_one_file(store: Store, operator: Caller) -> None:
    plan = applied(store, operator, FILE + VPC)
    assert summary(plan) == [
        ("add", "gateway-service", "s3"),
        ("add", "bucket", "xxx"),
        ("add", "vpc", "acme/web"),
        ("add", "endpoint", "acme/web/s3"),
        ("change", "route-table", "acme/web/main"),
    ]
    assert s3(store) == GatewayService(
        name="s3",
        prefixes=("198.19.0.0/24", "198.19.1.0/24"),
        upstream="http://192.0.2.80:9000",
        hosts=("s3.netorch.internal",),
    )
    assert xxx(store) == BucketPolicy(name="xxx", service="s3", owner="acme", policy=DENY)
    by_command = msgspec.structs.replace(s3(store), name="s4", prefixes=("198.19.8.0/24",), hosts=("s4.netorch.internal",))
    made = services.create_service(store, operator, name="s4", prefixes=["198.19.8.0/24"], upstream=by_command.upstream)
    assert made == by_command
    assert planned(store, operator, FILE + VPC).changes == ()  # a service that the file does not name is kept


def test_changed_prefixes_reach_every_vpc_that_uses_the_service(store: Store, operator: Caller, acme: Caller) -> None:
    applied(store, operator, FILE + VPC)
    other = create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])  # no file declares it
    gateway.create_gateway_endpoint(store, acme, other.id, "s3", name="s3")
    changed = FILE.replace("198.19.1.0/24", "198.19.9.0/24") + "- {name: logs, service: s3, owner: acme}\n"
    plan = applied(store, operator, changed.replace("9000'", "9001', tls: '192.0.2.80:443', hosts: [s3.example.com]") + VPC)
    assert lines(plan)[:6] == [
        ("upstream", "http://192.0.2.80:9000", "http://192.0.2.80:9001"),
        ("tls", "", "192.0.2.80:443"),
        ("prefixes", "198.19.1.0/24", ""),
        ("prefixes", "", "198.19.9.0/24"),
        ("hosts", "s3.netorch.internal", ""),
        ("hosts", "", "s3.example.com"),
    ]
    found = [listed for records in read_inventory(store).vpcs.values() for listed in records.each(PrefixList)]
    assert [[entry.cidr for entry in listed.entries] for listed in found] == [["198.19.0.0/24", "198.19.9.0/24"]] * 2
    with refused("InvalidParameterValue", "10.0.0.0/24 of the service overlaps 10.0.0.0/16 of VPC"):
        planned(store, operator, FILE.replace("198.19.1.0/24", "10.0.0.0/24") + VPC)


def test_the_owner_of_a_bucket_declares_its_policy_and_the_operators_file_leaves_it(
    store: Store, operator: Caller, acme: Caller, globex: Caller
) -> None:
    plain = FILE[: FILE.index("  policy")]
    applied(store, operator, plain)
    own = FILE[FILE.index("buckets:") :]
    with refused("NoSuchBucket"):
        planned(store, globex, own.replace("owner: acme", "owner: globex"))
    with refused("UnauthorizedOperation", "bucket acme/xxx: is not yours"):
        planned(store, globex, own)
    with refused("UnauthorizedOperation", "service 's3': only the operator may change services"):
        planned(store, acme, plain)
    with refused("UnauthorizedOperation", "only the operator assigns its service; write service: s3"):
        planned(store, acme, own.replace("com.netorch.s3", "s4"))
    plan = applied(store, acme, own)
    assert lines(plan) == [("policy", "", "1 statement")]
    assert planned(store, operator, plain).changes == ()
    plan = applied(store, acme, own.replace('"Deny"', '"Allow"'))
    assert lines(plan) == [("policy", "1 statement", "1 statement, others")]
    exported = export_inventory(read_inventory(store), acme)
    assert ([decl.name for decl in exported.buckets], exported.gateway_services) == (["xxx"], [])
    plan = applied(store, acme, own[: own.index("  policy")] + "  policy: ''\n")
    assert (lines(plan), plan.changes[0].breaks) == ([("policy", "1 statement", "")], "everything is permitted")
    assert buckets.describe_bucket(store, acme, "xxx").policy == ""
    plan = applied(store, operator, plain.replace("owner: acme", "owner: globex"))
    assert lines(plan) == [("owner", "acme", "globex")]


def test_a_new_service_keeps_off_what_is_there(store: Store, operator: Caller) -> None:
    applied(store, operator, FILE)
    for prefix, what in (
        ("198.18.0.0/24", "overlaps 198.18.0.0/24 of host e1"),
        ("198.19.0.0/25", "overlaps 198.19.0.0/24 of service s3"),
    ):
        with refused("InvalidParameterValue", what):
            planned(store, operator, FILE.replace("name: s3", "name: s4").replace("198.19.1.0/24, 198.19.0.0/24", prefix))
    with refused("InvalidServiceName"):
        planned(store, operator, "buckets: [{name: yyy, service: s9}]")
    pool = "address_pools: [{name: p, pair: west, cidrs: [198.19.4.0/24]}]\n"
    with refused("InvalidParameterValue", "overlaps 198.19.4.0/24 of address pool p"):
        planned(store, operator, pool + FILE.replace("198.19.1.0/24", "198.19.4.0/24"))


@pytest.mark.parametrize(
    ("field", "value", "what", "fix"),
    [
        ("name", "S3", "'S3' is not a service name", "lowercase letters"),
        ("name", "s2", "'s2' is also the name of gateway_services[0]", "rename one"),
        ("prefixes", "[]", "has 0 prefixes", "write 1 to 32"),
        ("prefixes", "[16.0.0.0/4]", "16.0.0.0/4 is too large", "choose a /8"),
        ("prefixes", "['fd00::/64']", "is IPv6", "198.19.0.0/24"),
        ("prefixes", "[198.19.2.0/25]", "overlaps 198.19.2.0/24 of gateway_services[0]", "free"),
        ("upstream", "s3.example.com", "'s3.example.com' is not the URL", "http://ADDRESS:PORT"),
        ("tls", "here", "'here' is not an IPv4 address and a port", "192.0.2.80:9000"),
        ("hosts", "[S3.example.com]", "is not a host name", "write it in lowercase"),
        ("hosts", "[s3.example.com, s3.example.com]", "is listed twice", "remove one"),
    ],
)
def test_what_no_service_can_be_is_refused_with_its_place(field: str, value: str, what: str, fix: str) -> None:
    fields = {"name": "s3", "prefixes": "[198.19.0.0/24]", "upstream": "'http://192.0.2.80:9000'", field: value}
    text = f"""gateway_services:
- {{name: s2, prefixes: [198.19.2.0/24], upstream: 'http://192.0.2.80:9000'}}
- {{{", ".join(f"{name}: {text}" for name, text in fields.items())}}}
"""
    check(text, 3, what, fix)


@pytest.mark.parametrize(
    ("bucket", "what", "fix"),
    [
        ("name: X, service: s3", "'X' is not a bucket name", "3 to 63"),
        ("name: abc, service: s3", "the name of buckets[0]", "rename one"),
        ("name: xyz, service: S3", "'S3' is not a service name", "lowercase letters"),
        ("name: xyz, service: s3, owner: ''", "the name is empty", "letters"),
        ("name: xyz, service: s3, policy: '{}'", "$.Statement: there is no statement", "write e.g."),
        (f"name: xyz, service: s3, policy: '{DENY}'", "'arn:aws:s3:::xxx' is not in bucket xyz", "arn:aws:s3:::xyz"),
        ("name: xyz, service: s3, policy: {Version: 1}", "found a mapping where text is needed", "write text"),
    ],
)
def test_what_no_bucket_can_be_is_refused_with_its_place(bucket: str, what: str, fix: str) -> None:
    check(f"buckets:\n- {{name: abc, service: s3}}\n- {{{bucket}}}\n", 3, what, fix)


def check(text: str, line: int, what: str, fix: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_cloud("vpc.yaml", text)
    (problem,) = caught.value.problems
    assert (problem.line, what in problem.what, fix in problem.fix) == (line, True, True), problem
