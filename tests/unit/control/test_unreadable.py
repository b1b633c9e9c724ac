"""An unreadable record stops only the callers that it concerns, and is not overwritten by accident."""

from __future__ import annotations

import random

import msgspec
import pytest

from netorch.control.actions import flow_logs, hosts, instances, prefix_lists, repair, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.control.actions.subnets import describe_subnet
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.base.addresses import cursor_key
from netorch.control.base.quotas import Quotas, quota_key
from netorch.control.views.describe import describe_instances, describe_vpcs, resolve
from netorch.control.views.export import export_cloud
from netorch.control.views.health import read_health
from netorch.diagnose.desired import desired_objects
from netorch.diagnose.reach import matrix
from netorch.errors import NetorchError, UnreadableRecord
from netorch.model.cloud import (
    Cloud,
    FlowLogDecl,
    HostDecl,
    InstanceDecl,
    NetworkAclDecl,
    PrefixListDecl,
    RouteTableDecl,
    SecurityGroupDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import EniState, EniStatus
from netorch.model.security import NetworkAcl
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Delete, Put, Store
from tests.unit.control.conftest import refused

GARBAGE = [b"", b"{", b"\xff\x00", b"[]", b'{"id": 7}', b"[" * 100_000]
IN_A_VPC = ["vpc", "subnet", "rtb", "eni", "i", "sg", "acl", "pl", "fl", "map"]


def _vpc(owner: str) -> VpcDecl:
    return VpcDecl(
        name="web",
        owner=owner,
        cidrs=["10.0.0.0/16"],
        prefix_lists=[PrefixListDecl(name="offices", cidrs=["203.0.113.0/24"])],
        network_acls=[NetworkAclDecl(name="strict")],
        route_tables=[RouteTableDecl(name="side")],
        flow_logs=[FlowLogDecl(name="all")],
        subnets=[SubnetDecl(name="app", cidr="10.0.1.0/24")],
        instances=[InstanceDecl(name="web-1", host="hv1")],
    )


HOSTS = [HostDecl(name="hv1", underlay="192.0.2.11"), HostDecl(name="hv2", underlay="192.0.2.12")]


@pytest.fixture
def two_vpcs(store: Store, operator: Caller) -> None:
    """Make VPCs of two owners with the same names and contents; acme's comes from a file with nothing else."""
    apply_cloud(store, plan_cloud(store, operator, Cloud(hosts=HOSTS, vpcs=[_vpc("globex")])))
    apply_cloud(store, plan_cloud(store, operator, Cloud(vpcs=[_vpc("acme")]), source="acme.yaml"))


def _key(store: Store, kind: str, owner: str = "acme") -> str:
    """Return the key of a record of acme's VPC."""
    records = next(found for found in read_inventory(store).vpcs.values() if found.vpc.record.owner == owner)
    prefix = keys.map_prefix(records.vni) if kind == "map" else f"{keys.vpc_prefix(records.vni)}{kind}"
    return store.list(prefix).kvs[0].key


def _damage(store: Store, key: str, value: bytes = b"{") -> bytes:
    """Write garbage to a key, and return its former value."""
    known = store.get(key)
    assert known is not None
    store.txn([], [Put(key, value)])
    return known.value


@pytest.mark.parametrize("value", GARBAGE)
def test_no_kind_of_garbage_is_taken_for_a_record(store: Store, operator: Caller, two_vpcs: None, value: bytes) -> None:
    key = _key(store, "subnet")
    _damage(store, key, value)
    assert [error.key for error in read_inventory(store).unreadable] == [key]


@pytest.mark.parametrize("kind", IN_A_VPC)
def test_a_damaged_record_concerns_its_vpc_only(
    store: Store, operator: Caller, globex: Caller, two_vpcs: None, kind: str
) -> None:
    key = _key(store, kind)
    _damage(store, key)
    inventory = read_inventory(store)
    assert [vpc.owner for vpc in describe_vpcs(inventory, operator)] == ["globex"]
    assert [info.vpc.owner for info in describe_instances(inventory, operator)] == ["globex"]
    assert resolve(inventory, operator, "i", "web-1")[0].vpc.record.owner == "globex"
    assert not plan_cloud(store, globex, Cloud(vpcs=[_vpc("globex")])).changes
    made = vpcs.create_vpc(store, globex, name="new", cidrs=["10.0.0.0/16"])
    vpcs.delete_vpc(store, globex, made.id)
    assert [vpc.owner for vpc in export_cloud(store).vpcs] == ["globex"]
    problems = read_health(store, 0.0).problems
    assert any(problem.startswith(f"{key}: ") for problem in problems)
    assert "VPC acme/web: is isolated; nothing in it changes" in problems


@pytest.mark.parametrize("kind", IN_A_VPC)
def test_whoever_asks_for_what_is_isolated_is_told_the_key(
    store: Store, operator: Caller, acme: Caller, globex: Caller, two_vpcs: None, kind: str
) -> None:
    subnet = _key(store, "subnet").rpartition("/")[2]
    key = _key(store, kind)
    _damage(store, key)
    inventory = read_inventory(store)
    for caller in (operator, acme):
        for of, text in (("vpc", "acme/web"), ("i", "acme/web/web-1"), ("subnet", subnet)):
            with pytest.raises(UnreadableRecord, match=key):
                resolve(inventory, caller, of, text)
    with refused("InvalidSubnetID.NotFound"):  # other owners learn nothing of it
        resolve(inventory, globex, "subnet", subnet)
    with refused("InvalidSubnetID.NotFound"):
        describe_subnet(store, globex, subnet)
    with refused("InvalidVpcID.NotFound"):
        resolve(inventory, globex, "vpc", "acme/web")
    assert resolve(inventory, globex, "vpc", "web")[1].owner == "globex"


@pytest.mark.parametrize("kind", IN_A_VPC)
@pytest.mark.parametrize("cloud", [Cloud(vpcs=[_vpc("acme")]), Cloud()], ids=["named", "dropped"])
def test_a_file_that_touches_an_isolated_vpc_is_refused(
    store: Store, operator: Caller, two_vpcs: None, kind: str, cloud: Cloud
) -> None:
    key = _key(store, kind)
    known = (kind, bool(cloud.vpcs)) != ("vpc", False)  # a VPC with a damaged record belongs to an unknown file
    before = store.list("")
    _damage(store, key)
    if known:
        with pytest.raises(UnreadableRecord, match=key):
            plan_cloud(store, operator, cloud, source="acme.yaml")
    else:
        assert not plan_cloud(store, operator, cloud, source="acme.yaml").changes
    assert [kv for kv in store.list("").kvs if kv.key != key] == [kv for kv in before.kvs if kv.key != key]


def test_a_vpc_with_a_damaged_flow_log_is_not_deleted(store: Store, acme: Caller) -> None:
    vpc = vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])
    log = flow_logs.create_flow_log(store, acme, vpc.id, name="all")
    _damage(store, keys.resource(log.id))
    with pytest.raises(UnreadableRecord, match=log.id):
        vpcs.delete_vpc(store, acme, vpc.id)


@pytest.mark.parametrize("kind", ["subnet", "rtb", "eni", "sg", "acl", "pl"])
def test_a_vpc_with_a_damaged_record_is_not_deleted(store: Store, acme: Caller, two_vpcs: None, kind: str) -> None:
    vpc = resolve(read_inventory(store), acme, "vpc", "web")[1]
    key = _key(store, kind)
    _damage(store, key)
    with pytest.raises(UnreadableRecord, match=key):
        vpcs.delete_vpc(store, acme, vpc.id)


def test_a_damaged_default_vpc_keeps_default_instances_out(store: Store, operator: Caller, two_vpcs: None) -> None:
    default_index = Cloud(instances=[InstanceDecl(name="guest", host="hv1")])
    apply_cloud(store, plan_cloud(store, operator, default_index, source="guest.yaml"))
    key = _key(store, "subnet", "default")
    _damage(store, key)
    for cloud in (default_index, Cloud()):
        with pytest.raises(UnreadableRecord, match=key):
            plan_cloud(store, operator, cloud, source="guest.yaml")
    assert not plan_cloud(store, operator, Cloud(vpcs=[_vpc("acme")])).changes


def test_a_damaged_host_is_not_placed_on_and_not_made_again(store: Store, operator: Caller, acme: Caller, two_vpcs: None) -> None:
    key = keys.host_spec("hv1")
    _damage(store, key)
    inventory = read_inventory(store)
    assert list(inventory.hosts) == ["hv2"]
    subnet = resolve(inventory, acme, "subnet", "app")[1]
    assert instances.run_instance(store, acme, RunRequest(name="new", subnet=subnet.id)).host.name == "hv2"
    with pytest.raises(UnreadableRecord, match=key):
        instances.run_instance(store, acme, RunRequest(name="newer", subnet=subnet.id, host="hv1"))
    with pytest.raises(UnreadableRecord, match=key):
        hosts.delete_host(store, operator, "hv1")
    with pytest.raises(UnreadableRecord, match=key):
        plan_cloud(store, operator, Cloud(hosts=HOSTS))
    new = msgspec.structs.replace(_vpc("initech"), instances=[InstanceDecl(name="web-1", host="hv1")])
    with pytest.raises(UnreadableRecord, match=key):
        plan_cloud(store, operator, Cloud(vpcs=[new]))


def test_what_a_host_said_and_cannot_be_read_counts_as_not_said(store: Store, operator: Caller, two_vpcs: None) -> None:
    eni = _key(store, "eni").rpartition("/")[2]
    damaged = [keys.eni_status("hv1", eni), keys.agent_status("hv1"), keys.vpc_status("hv1", 4097)]
    store.txn([], [Put(key, b"?") for key in damaged])
    assert not read_inventory(store).isolated
    assert [info.state.value for info in describe_instances(read_inventory(store), operator)] == ["pending", "pending"]
    problems = read_health(store, 0.0).problems
    assert all(any(problem.startswith(f"{key}: ") for problem in problems) for key in damaged)


def test_damaged_limits_and_cursors_stop_whom_they_bind(store: Store, operator: Caller, acme: Caller, two_vpcs: None) -> None:
    records, subnet = resolve(read_inventory(store), acme, "subnet", "app")
    _damage(store, cursor_key(subnet.id))
    with pytest.raises(UnreadableRecord, match=cursor_key(subnet.id)):
        instances.run_instance(store, acme, RunRequest(name="new", subnet=subnet.id, host="hv1"))
    store.txn([], [Put(quota_key("acme"), b"[]")])
    with pytest.raises(UnreadableRecord, match=quota_key("acme")):
        prefix_lists.create_prefix_list(store, acme, records.vpc.record.id, name="x", cidrs=["10.0.0.0/8"])
    assert len(repair.damaged(store)) == 2
    repair.discard(store, quota_key("acme"))
    repair.discard(store, cursor_key(subnet.id))
    instances.run_instance(store, acme, RunRequest(name="new", subnet=subnet.id, host="hv1"))


@pytest.mark.parametrize("kind", IN_A_VPC)
def test_what_stood_there_before_is_put_back(store: Store, operator: Caller, two_vpcs: None, kind: str) -> None:
    key, before = _key(store, kind), read_inventory(store)
    value = _damage(store, key)
    ((found, (revision, error)),) = repair.damaged(store).items()
    assert (found, error.key) == (key, key)
    assert repair.as_it_was(store, key) == b"{"
    repair.put_back(store, key, repair.as_it_was(store, key, revision - 1))
    put = store.get(key)
    assert put is not None
    assert put.value == value
    assert read_inventory(store).vpcs.keys() == before.vpcs.keys()
    assert not plan_cloud(store, operator, Cloud(vpcs=[_vpc("acme")]), source="acme.yaml").changes


@pytest.mark.parametrize("kind", ["vpc", "subnet", "eni", "i", "map"])
def test_a_record_that_others_refer_to_is_missed_and_put_back(store: Store, operator: Caller, two_vpcs: None, kind: str) -> None:
    key = _key(store, kind)
    store.txn([], [Delete(key)])
    store.txn([], [Put("quota/globex", b"{}")])
    inventory = read_inventory(store)
    assert [vpc.owner for vpc in describe_vpcs(inventory, operator)] == ["globex"]
    assert len(describe_instances(inventory, operator)) == 1
    with pytest.raises(UnreadableRecord, match=f"{key}: the record is missing, and .* refers to it"):
        resolve(inventory, operator, "vpc", "acme/web")
    with pytest.raises(UnreadableRecord, match=key):
        plan_cloud(store, operator, Cloud(vpcs=[_vpc("acme")]), source="acme.yaml")
    ((found, (revision, _)),) = repair.damaged(store).items()
    assert found == key
    repair.put_back(store, key, repair.as_it_was(store, key, revision - 1))
    assert not plan_cloud(store, operator, Cloud(vpcs=[_vpc("acme")]), source="acme.yaml").changes
    with refused("InvalidParameterValue"):
        repair.put_back(store, key, b"{}")


def test_no_step_of_a_plan_leaves_anything_missing(store: Store, operator: Caller, two_vpcs: None) -> None:
    other = msgspec.structs.replace(
        _vpc("acme"),
        network_acls=[NetworkAclDecl(name="other")],
        route_tables=[RouteTableDecl(name="other")],
        security_groups=[SecurityGroupDecl(name="web")],
        subnets=[SubnetDecl(name="app", cidr="10.0.2.0/24", route_table="other", network_acl="other")],
        instances=[InstanceDecl(name="web-1", host="hv2", security_groups=["web"]), InstanceDecl(name="web-2")],
    )
    for vpcs_now in ([other], [_vpc("acme")], []):
        plan = plan_cloud(store, operator, Cloud(vpcs=vpcs_now), source="acme.yaml")
        written: dict[str, int] = {}
        for step in plan.steps:  # one by one, as for a plan of many transactions
            for key in step.expected.keys() & written.keys():
                step.expected[key] = written[key]
            revision = step.commit(store)
            assert revision
            written |= {key: revision if value is not None else 0 for key, value in step.values.items()}
            assert read_inventory(store).unreadable == []


def test_only_damaged_records_are_repaired_and_only_with_the_right_kind(store: Store, operator: Caller, two_vpcs: None) -> None:
    subnet, acl, log = (_key(store, kind) for kind in ("subnet", "acl", "fl"))
    for key in (subnet, "vpc/001001/subnet/none", "name/acme/vpc/web"):
        with refused("InvalidParameterValue"):
            repair.put_back(store, key, b"{}")
        with refused("InvalidParameterValue"):
            repair.discard(store, key)
    _damage(store, subnet)
    with refused("InvalidParameterValue", match="not a Subnet"):
        repair.put_back(store, subnet, b"{}")
    for key in (subnet, acl):
        _damage(store, key)
        with refused("DependencyViolation"):
            repair.discard(store, key)
    _damage(store, log)
    repair.discard(store, log)
    assert store.get(log) is None


def test_every_record_of_a_full_store_has_a_kind(store: Store, operator: Caller, acme: Caller, two_vpcs: None) -> None:
    eni = _key(store, "eni").rpartition("/")[2]
    status = EniStatus(state=EniState.ATTACHED)
    told = {
        keys.eni_status("hv1", eni): status,
        keys.agent_status("hv1"): AgentStatus(version="1", pid=1, started_at=0.0),
        quota_key("acme"): Quotas(),
    }
    store.txn([], [Put(key, msgspec.json.encode(record)) for key, record in told.items()])
    silent = {kv.key.split("/")[0] for kv in store.list("").kvs if repair.kind_of(kv.key) is None}
    assert silent == {"alloc", "name", "named", "host"}  # allocations, names, and placements, of which only the key matters
    assert repair.damaged(store) == {}


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("vpc", b"10.0.0.0/16", b"10.0.0,0/16"),
        ("vpc", b'"owner":"acme"', b'"owner":"a\\nme"'),
        ("subnet", b"10.0.1.0/24", b"10.0.1.0/64"),
        ("subnet", b"10.0.1.0/24", b"10.9.1.0/24"),
        ("subnet", b"10.0.1.0/24", b"10.0.0.0/24"),
        ("rtb", b'"name":"', b'"name":" '),
        ("eni", b'"10.0.1.4"', b'"10.0.1,4"'),
        ("eni", b'"10.0.1.4"', b'"10.0.1.5"'),
        ("eni", b'"mac":"06:', b'"mac":"07:'),
        ("eni", b'"mac":"06:', b'"mac":"0a:'),
        ("i", b'"name":', b'"id":"i-00100100000000007","name":'),
        ("i", b'"name":', b'"vni":1,"name":'),
        ("sg", b'"protocol":-1', b'"protocol":-7'),
        ("acl", b"0.0.0.0/0", b"0.0.0,0/0"),
        ("pl", b"203.0.113.0/24", b"203.0.113.0x24"),
        ("fl", b'"resource":"vpc-', b'"resource":"vpx-'),
        ("map", b'"host":"hv1"', b'"host":"h\\u001b1"'),
        ("map", b'"vtep":"192.0.2.11"', b'"vtep":"192.0.2.12"'),
        ("map", b'"groups":["sg-', b'"groups":["sh-'),
    ],
)
def test_a_record_that_makes_no_sense_is_isolated_and_named(
    store: Store, operator: Caller, globex: Caller, two_vpcs: None, kind: str, old: bytes, new: bytes
) -> None:
    key = _default_acl(store) if kind == "acl" else _key(store, kind)
    known = repair.as_it_was(store, key)
    _damage(store, key, known.replace(old, new, 1))
    assert key in repair.damaged(store)
    assert [vpc.owner for vpc in export_cloud(store).vpcs] == ["globex"]
    assert "acme/web" not in {flows.vpc for flows in matrix(read_inventory(store), operator)}
    assert not plan_cloud(store, globex, Cloud(vpcs=[_vpc("globex")])).changes
    with pytest.raises(UnreadableRecord):
        plan_cloud(store, operator, Cloud(vpcs=[_vpc("acme")]), source="acme.yaml")
    repair.put_back(store, key, known)
    assert repair.damaged(store) == {}
    assert not plan_cloud(store, operator, Cloud(vpcs=[_vpc("acme")]), source="acme.yaml").changes


def _default_acl(store: Store) -> str:
    acls = next(found for found in read_inventory(store).vpcs.values() if found.vpc.record.owner == "acme").of(NetworkAcl)
    return next(keys.resource(acl_id) for acl_id, acl in acls.items() if acl.record.is_default)


@pytest.mark.parametrize("seed", range(8))
def test_no_flipped_bit_ends_a_command_or_touches_another_vpc(store: Store, operator: Caller, two_vpcs: None, seed: int) -> None:
    chance = random.Random(seed)
    wanted = {"acme": Cloud(vpcs=[_vpc("acme")]), "globex": Cloud(vpcs=[_vpc("globex")])}
    kvs = [kv for kv in store.list("").kvs if kv.key.startswith(("vpc/", "map/", "host/"))]
    for _ in range(60):
        kv = chance.choice(kvs)
        at = chance.randrange(len(kv.value))
        flipped = bytes((*kv.value[:at], kv.value[at] ^ 1 << chance.randrange(8), *kv.value[at + 1 :]))
        store.txn([], [Put(kv.key, flipped)])
        inventory = read_inventory(store)
        exported = export_cloud(store)
        assert len(exported.vpcs) == len(inventory.vpcs)
        assert inventory.vpcs or kv.key.endswith("/spec")  # both VPCs use the host
        list(matrix(inventory, operator))
        read_health(store, 0.0)
        repair.damaged(store)
        for cloud in wanted.values():
            try:
                plan_cloud(store, operator, cloud, source="acme.yaml" if cloud is wanted["acme"] else "")
            except NetorchError:
                assert inventory.unreadable or inventory.isolated_hosts or kv.key.endswith("/spec")
        store.txn([], [Put(kv.key, kv.value)])


def test_a_host_can_be_modelled_for_one_vpc_while_another_of_its_makes_no_sense(store: Store, two_vpcs: None) -> None:
    vnis = {records.vpc.record.owner: vni for vni, records in read_inventory(store).vpcs.items()}
    key = _key(store, "subnet")
    known = store.get(key)
    assert known is not None
    _damage(store, key, known.value.replace(b"10.0.1.0/24", b"10.0.1.0/64"))
    assert desired_objects("hv1", store, vnis["globex"])
    with pytest.raises(NetorchError, match=f"host hv1: {key}: the record makes no sense"):
        desired_objects("hv1", store, vnis["acme"])
