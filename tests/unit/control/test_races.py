"""Two concurrent callers: the second acts between the first one's reads and its transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from netorch.control.actions import (
    acls,
    enis,
    groups,
    hosts,
    instances,
    memberships,
    moves,
    permissions,
    prefix_lists,
    repair,
    route_tables,
    subnets,
    vpcs,
)
from netorch.control.actions.instances import RunRequest
from netorch.control.actions.permissions import Permission
from netorch.control.views.describe import describe_vpcs
from netorch.errors import ApiError, Conflict
from netorch.model.addr import parse_prefix
from netorch.model.eni import Host
from netorch.model.security import Direction, SecurityGroup, default_group_id
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Compare, Delete, Put, Store, TxnResult
from netorch.store.memory import MemoryStore
from tests.unit.control.conftest import refused


class Interrupted(MemoryStore):
    """A store that lets another caller act just before the next transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] | None = None

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        act, self.meanwhile = self.meanwhile, None
        if act is not None:
            act()
        return super().txn(compares, ops)


@pytest.fixture
def store() -> Interrupted:
    return Interrupted()


@pytest.fixture
def subnet(store: Interrupted, acme: Caller, two_hosts: None) -> Subnet:
    vpc = vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])
    return subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/24")


def vpc_id(store: Store, caller: Caller) -> str:
    return describe_vpcs(read_inventory(store), caller)[0].id


def test_two_vpcs_made_at_once_have_two_vnis(store: Interrupted, acme: Caller, globex: Caller) -> None:
    store.meanwhile = lambda: vpcs.create_vpc(store, globex, name="a", cidrs=["10.0.0.0/16"])
    mine = vpcs.create_vpc(store, acme, name="a", cidrs=["10.0.0.0/16"])
    assert mine.vni != describe_vpcs(read_inventory(store), globex)[0].vni


def test_of_two_vpcs_of_one_name_the_later_is_refused(store: Interrupted, acme: Caller) -> None:
    store.meanwhile = lambda: vpcs.create_vpc(store, acme, name="a", cidrs=["10.0.0.0/16"])
    with refused("InvalidParameterValue", "one with that name"):
        vpcs.create_vpc(store, acme, name="a", cidrs=["10.1.0.0/16"])


def test_of_two_overlapping_subnets_the_later_is_refused(store: Interrupted, acme: Caller, subnet: Subnet) -> None:
    vpc = vpc_id(store, acme)
    store.meanwhile = lambda: subnets.create_subnet(store, acme, vpc, name="b", cidr="10.0.2.0/24")
    with refused("InvalidSubnet.Conflict"):
        subnets.create_subnet(store, acme, vpc, name="c", cidr="10.0.2.0/25")
    ranges = [parse_prefix(info.subnet.cidr) for info in subnets.describe_subnets(store, acme, vpc)]
    assert len(ranges) == 2


def test_a_subnet_that_gets_an_interface_meanwhile_is_not_deleted(store: Interrupted, acme: Caller, subnet: Subnet) -> None:
    store.meanwhile = lambda: instances.run_instance(store, acme, RunRequest(subnet=subnet.id))
    with refused("DependencyViolation"):
        subnets.delete_subnet(store, acme, subnet.id)


def test_nothing_runs_in_a_subnet_that_is_deleted_meanwhile(store: Interrupted, acme: Caller, subnet: Subnet) -> None:
    store.meanwhile = lambda: subnets.delete_subnet(store, acme, subnet.id)
    with refused("InvalidSubnetID.NotFound"):
        instances.run_instance(store, acme, RunRequest(subnet=subnet.id))


def test_a_vpc_that_gets_a_subnet_meanwhile_is_not_deleted(store: Interrupted, acme: Caller) -> None:
    vpc = vpcs.create_vpc(store, acme, name="a", cidrs=["10.0.0.0/16"])
    store.meanwhile = lambda: subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.0.0/24")
    with refused("DependencyViolation"):
        vpcs.delete_vpc(store, acme, vpc.id)


def test_two_instances_run_at_once_have_two_addresses(store: Interrupted, acme: Caller, subnet: Subnet) -> None:
    store.meanwhile = lambda: instances.run_instance(store, acme, RunRequest(subnet=subnet.id))
    assert instances.run_instance(store, acme, RunRequest(subnet=subnet.id)).eni.address == "10.0.1.5"


def test_nothing_is_placed_on_a_host_that_is_deleted_meanwhile(
    store: Interrupted, operator: Caller, acme: Caller, subnet: Subnet
) -> None:
    store.meanwhile = lambda: hosts.delete_host(store, operator, "hv1")
    with refused("InvalidHostID.NotFound"):
        instances.run_instance(store, acme, RunRequest(subnet=subnet.id, host="hv1"))


def test_a_host_that_gets_an_interface_meanwhile_is_not_deleted(
    store: Interrupted, operator: Caller, acme: Caller, subnet: Subnet
) -> None:
    store.meanwhile = lambda: instances.run_instance(store, acme, RunRequest(subnet=subnet.id, host="hv1"))
    with refused("DependencyViolation"):
        hosts.delete_host(store, operator, "hv1")


def test_of_two_default_vpcs_made_at_once_one_stays(store: Interrupted, acme: Caller, two_hosts: None) -> None:
    store.meanwhile = lambda: vpcs.create_default_vpc(store, acme)
    instances.run_instance(store, acme, RunRequest())
    assert len(describe_vpcs(read_inventory(store), acme)) == 1


def test_an_interface_attached_meanwhile_is_not_left_behind(store: Interrupted, acme: Caller, subnet: Subnet) -> None:
    placed = instances.run_instance(store, acme, RunRequest(subnet=subnet.id))
    eni = enis.create_network_interface(store, acme, subnet.id)
    store.meanwhile = lambda: enis.attach_network_interface(store, acme, eni.id, placed.instance.id)
    instances.terminate_instance(store, acme, placed.instance.id)
    assert store.list("map/").kvs == ()
    assert [kv for kv in store.list("host/").kvs if "/placement/" in kv.key] == []
    enis.delete_network_interface(store, acme, eni.id)


def test_a_table_that_is_associated_meanwhile_is_not_deleted(store: Interrupted, acme: Caller, subnet: Subnet) -> None:
    table = route_tables.create_route_table(store, acme, vpc_id(store, acme), name="t")
    store.meanwhile = lambda: subnets.associate_route_table(store, acme, subnet.id, table.id)
    with refused("DependencyViolation"):
        route_tables.delete_route_table(store, acme, table.id)


def test_an_arrival_loses_against_a_termination(store: Interrupted, acme: Caller, subnet: Subnet) -> None:
    placed = instances.run_instance(store, acme, RunRequest(subnet=subnet.id, host="hv1"))
    moves.move_instance(store, acme, placed.instance.id, "hv2")
    store.meanwhile = lambda: instances.terminate_instance(store, acme, placed.instance.id)
    assert not moves.complete_arrival(store, "hv2", placed.eni.id)
    assert store.list("map/").kvs == ()


def test_of_two_moves_at_once_one_is_refused(store: Interrupted, acme: Caller, operator: Caller, subnet: Subnet) -> None:
    hosts.create_host(store, operator, name="hv3", underlay="192.0.2.13")
    placed = instances.run_instance(store, acme, RunRequest(subnet=subnet.id, host="hv1"))
    store.meanwhile = lambda: moves.move_instance(store, acme, placed.instance.id, "hv3")
    with pytest.raises(ApiError, match="moving to hv3"):
        moves.move_instance(store, acme, placed.instance.id, "hv2")
    assert store.list(f"host/hv2/placement/{placed.eni.id}").kvs == ()


def test_of_two_deletions_of_a_host_neither_leaves_an_interface_behind(
    store: Interrupted, operator: Caller, acme: Caller, subnet: Subnet
) -> None:
    instances.run_instance(store, acme, RunRequest(subnet=subnet.id, host="hv1"))

    def fail_and_run() -> None:
        with refused("DependencyViolation"):
            hosts.delete_host(store, operator, "hv1")

    store.meanwhile = fail_and_run
    with refused("DependencyViolation"):
        hosts.delete_host(store, operator, "hv1")
    assert instances.run_instance(store, acme, RunRequest(subnet=subnet.id, host="hv1")).host.name == "hv1"


def test_nothing_is_placed_on_a_host_whose_deletion_begins_meanwhile(store: Interrupted, acme: Caller, subnet: Subnet) -> None:
    store.meanwhile = lambda: store.txn([], [Put(keys.host_drain("hv1"), b'"hv1"')])
    with refused("IncorrectState", "is being deleted"):
        instances.run_instance(store, acme, RunRequest(subnet=subnet.id, host="hv1"))


def test_a_departure_does_not_undo_a_move_back(store: Interrupted, acme: Caller, subnet: Subnet) -> None:
    placed = instances.run_instance(store, acme, RunRequest(subnet=subnet.id, host="hv2"))
    store.meanwhile = lambda: moves.move_instance(store, acme, placed.instance.id, "hv1")
    assert not moves.finish_departure(store, "hv1", placed.eni.id)
    assert store.get(f"host/hv1/placement/{placed.eni.id}") is not None


def test_an_address_that_an_unattached_interface_takes_meanwhile_is_in_use(
    store: Interrupted, acme: Caller, subnet: Subnet
) -> None:
    store.meanwhile = lambda: enis.create_network_interface(store, acme, subnet.id, address="10.0.1.9")
    with refused("InvalidIPAddress.InUse"):
        instances.run_instance(store, acme, RunRequest(subnet=subnet.id, address="10.0.1.9"))


def test_a_host_is_not_deleted_when_another_deletion_let_interfaces_in_again(
    store: Interrupted, operator: Caller, acme: Caller, subnet: Subnet
) -> None:
    def give_up_and_run() -> None:
        store.txn([], [Delete(keys.host_drain("hv1"))])
        instances.run_instance(store, acme, RunRequest(subnet=subnet.id, host="hv1"))

    def before_the_next_one() -> None:
        store.meanwhile = give_up_and_run

    store.meanwhile = before_the_next_one
    with refused("IncorrectState", "another command is changing"):
        hosts.delete_host(store, operator, "hv1")
    assert hosts.describe_host(store, operator, "hv1").interfaces == 1


@pytest.fixture
def group(store: Interrupted, acme: Caller, subnet: Subnet) -> SecurityGroup:
    return groups.create_security_group(store, acme, vpc_id(store, acme), name="g")


def authorize(store: Store, caller: Caller, group_id: str, peer: str) -> None:
    permissions.authorize(store, caller, group_id, Direction.INGRESS, [Permission(protocol="tcp", peer=peer)])


def test_a_group_that_an_interface_joins_meanwhile_is_not_deleted(
    store: Interrupted, acme: Caller, subnet: Subnet, group: SecurityGroup
) -> None:
    placed = instances.run_instance(store, acme, RunRequest(subnet=subnet.id))
    for join in (
        lambda: memberships.modify_interface_groups(store, acme, placed.eni.id, [group.id]),
        lambda: instances.run_instance(store, acme, RunRequest(subnet=subnet.id, groups=(group.id,))),
        lambda: enis.create_network_interface(store, acme, subnet.id, groups=[group.id]),
    ):
        store.meanwhile = join
        with refused("DependencyViolation"):
            groups.delete_security_group(store, acme, group.id)
        memberships.modify_interface_groups(store, acme, placed.eni.id, [default_group_id(vpc_id(store, acme))])
        for terminated in [kv.key.rpartition("/")[2] for kv in store.list("vpc/").kvs if "/i/" in kv.key]:
            if terminated != placed.instance.id:
                instances.terminate_instance(store, acme, terminated)


def test_nothing_joins_a_group_that_is_deleted_meanwhile(
    store: Interrupted, acme: Caller, subnet: Subnet, group: SecurityGroup
) -> None:
    store.meanwhile = lambda: groups.delete_security_group(store, acme, group.id)
    with refused("InvalidGroup.NotFound"):
        instances.run_instance(store, acme, RunRequest(subnet=subnet.id, groups=(group.id,)))


def test_a_group_that_a_rule_refers_to_meanwhile_is_not_deleted(store: Interrupted, acme: Caller, group: SecurityGroup) -> None:
    default = default_group_id(vpc_id(store, acme))
    store.meanwhile = lambda: authorize(store, acme, default, group.id)
    with refused("DependencyViolation"):
        groups.delete_security_group(store, acme, group.id)


def test_no_rule_refers_to_a_group_that_is_deleted_meanwhile(store: Interrupted, acme: Caller, group: SecurityGroup) -> None:
    store.meanwhile = lambda: groups.delete_security_group(store, acme, group.id)
    with refused("InvalidGroup.NotFound"):
        authorize(store, acme, default_group_id(vpc_id(store, acme)), group.id)


def test_two_rules_added_at_once_are_both_there(store: Interrupted, acme: Caller, group: SecurityGroup) -> None:
    store.meanwhile = lambda: authorize(store, acme, group.id, "10.0.0.0/8")
    authorize(store, acme, group.id, "10.1.0.0/16")
    assert len(groups.describe_security_group(store, acme, group.id).group.ingress) == 2


def test_of_two_groups_of_one_name_made_at_once_the_later_is_refused(store: Interrupted, acme: Caller, subnet: Subnet) -> None:
    vpc = vpc_id(store, acme)
    store.meanwhile = lambda: groups.create_security_group(store, acme, vpc, name="x")
    with refused("InvalidGroup.Duplicate"):
        groups.create_security_group(store, acme, vpc, name="x")


def test_an_interface_that_moves_meanwhile_keeps_its_new_groups(
    store: Interrupted, acme: Caller, subnet: Subnet, group: SecurityGroup
) -> None:
    placed = instances.run_instance(store, acme, RunRequest(subnet=subnet.id, host="hv1"))
    store.meanwhile = lambda: moves.move_instance(store, acme, placed.instance.id, "hv2")
    memberships.modify_interface_groups(store, acme, placed.eni.id, [group.id])
    assert moves.complete_arrival(store, "hv2", placed.eni.id)
    mapping = read_inventory(store).vpcs[subnet.vni].mappings[placed.eni.address].record
    assert (mapping.host, mapping.groups) == ("hv2", (group.id,))


def test_an_interface_attached_meanwhile_is_mapped_with_its_new_groups(
    store: Interrupted, acme: Caller, subnet: Subnet, group: SecurityGroup
) -> None:
    placed = instances.run_instance(store, acme, RunRequest(subnet=subnet.id))
    spare = enis.create_network_interface(store, acme, subnet.id)
    store.meanwhile = lambda: enis.attach_network_interface(store, acme, spare.id, placed.instance.id)
    memberships.modify_interface_groups(store, acme, spare.id, [group.id])
    assert read_inventory(store).vpcs[subnet.vni].mappings[spare.address].record.groups == (group.id,)


def test_a_prefix_list_that_a_rule_refers_to_meanwhile_is_not_deleted(
    store: Interrupted, acme: Caller, group: SecurityGroup
) -> None:
    found = prefix_lists.create_prefix_list(store, acme, vpc_id(store, acme), name="p", cidrs=["10.0.0.0/8"])
    store.meanwhile = lambda: authorize(store, acme, group.id, found.id)
    with refused("DependencyViolation"):
        prefix_lists.delete_prefix_list(store, acme, found.id)


@pytest.mark.parametrize("grows_first", [True, False])
def test_a_list_that_grows_and_a_rule_that_is_added_stay_within_the_quota(
    store: Interrupted, acme: Caller, group: SecurityGroup, grows_first: bool
) -> None:
    found = prefix_lists.create_prefix_list(store, acme, vpc_id(store, acme), name="p", cidrs=["10.0.0.0/8"], max_entries=59)
    authorize(store, acme, group.id, found.id)

    def grow() -> None:
        prefix_lists.modify_prefix_list(store, acme, found.id, max_entries=60)

    def add() -> None:
        authorize(store, acme, group.id, "10.0.0.0/8")

    store.meanwhile, later = (grow, add) if grows_first else (add, grow)
    with refused("RulesPerSecurityGroupLimitExceeded"):
        later()


def test_of_two_lists_of_a_group_that_grow_at_once_one_is_refused(store: Interrupted, acme: Caller, group: SecurityGroup) -> None:
    vpc = vpc_id(store, acme)
    a, b = (prefix_lists.create_prefix_list(store, acme, vpc, name=name, cidrs=["10.0.0.0/8"]) for name in "ab")
    authorize(store, acme, group.id, a.id)
    authorize(store, acme, group.id, b.id)
    store.meanwhile = lambda: prefix_lists.modify_prefix_list(store, acme, a.id, max_entries=40)
    with refused("RulesPerSecurityGroupLimitExceeded"):
        prefix_lists.modify_prefix_list(store, acme, b.id, max_entries=40)


def test_an_acl_that_is_associated_meanwhile_is_not_deleted(store: Interrupted, acme: Caller, subnet: Subnet) -> None:
    acl = acls.create_network_acl(store, acme, vpc_id(store, acme), name="a")
    store.meanwhile = lambda: subnets.associate_network_acl(store, acme, subnet.id, acl.id)
    with refused("DependencyViolation"):
        acls.delete_network_acl(store, acme, acl.id)


def test_a_vpc_that_gets_a_group_meanwhile_is_not_deleted(store: Interrupted, acme: Caller) -> None:
    vpc = vpcs.create_vpc(store, acme, name="b", cidrs=["10.0.0.0/16"])
    store.meanwhile = lambda: groups.create_security_group(store, acme, vpc.id, name="x")
    with refused("DependencyViolation"):
        vpcs.delete_vpc(store, acme, vpc.id)


def test_a_record_that_was_repaired_meanwhile_is_not_written_over() -> None:
    store, key = Interrupted(), keys.host_spec("hv1")
    good, better = (msgspec.json.encode(Host(name="hv1", underlay=underlay)) for underlay in ("192.0.2.11", "192.0.2.12"))
    store.txn([], [Put(key, b"{")])
    store.meanwhile = lambda: repair.put_back(store, key, better)
    with pytest.raises(Conflict):
        repair.put_back(store, key, good)
    assert repair.as_it_was(store, key) == better
