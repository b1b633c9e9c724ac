from __future__ import annotations

import pytest

from netorch.control.actions import instances, route_tables, subnets, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.control.base.quotas import Quotas, quota_key
from netorch.control.base.writes import Writes
from netorch.control.views.describe import describe_vpcs
from netorch.errors import ApiError
from netorch.model.ids import VNI_FIRST, vni_of
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Store
from tests.unit.control.conftest import Clock, refused


@pytest.fixture
def vpc(store: Store, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])


def test_a_new_vpc_has_a_main_route_table_with_its_local_route(store: Store, acme: Caller, vpc: Vpc) -> None:
    (main,) = route_tables.describe_route_tables(store, acme, vpc.id)
    assert main.table.main
    assert [(route.destination, route.target) for route in main.routes] == [("10.0.0.0/16", "local")]
    assert vni_of(vpc.id) == vpc.vni == vni_of(main.table.id)


def test_host_bits_of_a_cidr_are_cut_off_as_ec2_does(store: Store, acme: Caller) -> None:
    assert vpcs.create_vpc(store, acme, name="a", cidrs=["100.68.0.18/18"]).cidrs == ("100.68.0.0/18",)


@pytest.mark.parametrize("cidr", ["10.0.0.0/15", "10.0.0.0/29", "127.0.0.0/16"])
def test_a_cidr_out_of_range_is_refused(store: Store, acme: Caller, cidr: str) -> None:
    with refused("InvalidVpc.Range", "VPC 'a'"):
        vpcs.create_vpc(store, acme, name="a", cidrs=[cidr])


def test_a_name_is_an_owners_once(store: Store, acme: Caller, globex: Caller, vpc: Vpc) -> None:
    with refused("InvalidParameterValue", "VPC 'web': owner acme already has one with that name"):
        vpcs.create_vpc(store, acme, name="web", cidrs=["10.1.0.0/16"])
    assert vpcs.create_vpc(store, globex, name="web", cidrs=["10.0.0.0/16"]).vni != vpc.vni


def test_anothers_vpc_is_answered_as_one_that_never_was(store: Store, acme: Caller, globex: Caller, vpc: Vpc) -> None:
    def answer(vpc_id: str) -> str:
        with pytest.raises(ApiError) as refusal:
            vpcs.describe_vpc(store, globex, vpc_id)
        return str(refusal.value).replace(vpc_id, "ID")

    assert answer(vpc.id) == answer(globex.new_id("vpc", 4242))
    assert describe_vpcs(read_inventory(store), globex) == []


def test_the_operator_sees_every_owners_vpcs(store: Store, operator: Caller, globex: Caller, vpc: Vpc) -> None:
    other = vpcs.create_vpc(store, globex, name="web", cidrs=["10.0.0.0/16"])
    assert describe_vpcs(read_inventory(store), operator) == [vpc, other]


def test_a_quota_stored_for_an_owner_is_his_limit(store: Store, acme: Caller, globex: Caller) -> None:
    writes = Writes()
    writes.put(quota_key("acme"), Quotas(vpcs=1))
    writes.commit(store)
    vpcs.create_vpc(store, acme, name="a", cidrs=["10.0.0.0/16"])
    with refused("VpcLimitExceeded", "owner acme"):
        vpcs.create_vpc(store, acme, name="b", cidrs=["10.0.0.0/16"])
    vpcs.create_vpc(store, globex, name="b", cidrs=["10.0.0.0/16"])


def test_a_requested_vni_is_given_once_and_not_again_within_the_hold_down(store: Store, acme: Caller, clock: Clock) -> None:
    vpc = vpcs.create_vpc(store, acme, name="a", cidrs=["10.0.0.0/16"], vni=5000)
    assert vpc.vni == 5000
    with refused("InvalidParameterValue", "VNI 5000 is in use"):
        vpcs.create_vpc(store, acme, name="b", cidrs=["10.0.0.0/16"], vni=5000)
    vpcs.delete_vpc(store, acme, vpc.id)
    with refused("InvalidParameterValue", "VNI 5000 was freed"):
        vpcs.create_vpc(store, acme, name="b", cidrs=["10.0.0.0/16"], vni=5000)
    clock.now += 3601
    assert vpcs.create_vpc(store, acme, name="b", cidrs=["10.0.0.0/16"], vni=5000).vni == 5000


def test_a_vpc_that_comes_back_gets_its_own_vni_at_once(store: Store, acme: Caller, globex: Caller) -> None:
    vpc = vpcs.create_vpc(store, acme, name="a", cidrs=["10.0.0.0/16"], vni=5000)
    vpcs.delete_vpc(store, acme, vpc.id)
    with refused("InvalidParameterValue", "VNI 5000 was freed"):
        vpcs.create_vpc(store, globex, name="a", cidrs=["10.0.0.0/16"], vni=5000)
    assert vpcs.create_vpc(store, acme, name="a", cidrs=["10.0.0.0/16"], vni=5000).vni == 5000
    with refused("InvalidParameterValue", "in use"):
        vpcs.create_vpc(store, acme, name="b", cidrs=["10.0.0.0/16"], vni=5000)


def test_a_deleted_vpcs_name_is_free_and_its_vni_is_not(store: Store, acme: Caller, vpc: Vpc) -> None:
    vpcs.delete_vpc(store, acme, vpc.id)
    assert vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"]).vni > vpc.vni >= VNI_FIRST


def test_a_vpc_with_a_subnet_or_a_second_table_is_not_deleted(store: Store, acme: Caller, vpc: Vpc) -> None:
    subnet = subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.0.0/24")
    table = route_tables.create_route_table(store, acme, vpc.id, name="t")
    with refused("DependencyViolation", "1 subnet"):
        vpcs.delete_vpc(store, acme, vpc.id)
    subnets.delete_subnet(store, acme, subnet.id)
    with refused("DependencyViolation", "1 route table"):
        vpcs.delete_vpc(store, acme, vpc.id)
    route_tables.delete_route_table(store, acme, table.id)
    vpcs.delete_vpc(store, acme, vpc.id)
    assert store.list("vpc/").kvs == ()


def test_ranges_are_added_and_taken_away(store: Store, acme: Caller, vpc: Vpc) -> None:
    assert vpcs.associate_cidr(store, acme, vpc.id, "10.1.0.0/16").cidrs == ("10.0.0.0/16", "10.1.0.0/16")
    assert vpcs.associate_cidr(store, acme, vpc.id, "fd00:1::/56").ipv6_cidrs == ("fd00:1::/56",)
    with refused("InvalidVpc.Range", "overlaps"):
        vpcs.associate_cidr(store, acme, vpc.id, "10.1.128.0/17")
    with refused("OperationNotPermitted", "primary"):
        vpcs.disassociate_cidr(store, acme, vpc.id, "10.0.0.0/16")
    subnets.create_subnet(store, acme, vpc.id, name="b", cidr="10.1.2.0/24")
    with refused("DependencyViolation", r"10\.1\.2\.0/24"):
        vpcs.disassociate_cidr(store, acme, vpc.id, "10.1.0.0/16")


def test_an_owner_has_one_default_vpc_with_one_subnet(store: Store, acme: Caller) -> None:
    vpc = vpcs.create_default_vpc(store, acme)
    assert (vpc.is_default, vpc.cidrs) == (True, ("172.31.0.0/16",))
    assert [info.subnet.cidr for info in subnets.describe_subnets(store, acme, vpc.id)] == ["172.31.0.0/20"]
    with refused("DefaultVpcAlreadyExists", "owner acme"):
        vpcs.create_default_vpc(store, acme)


def test_subnets_must_lie_inside_and_beside_each_other(store: Store, acme: Caller, vpc: Vpc) -> None:
    subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/24")
    with refused("InvalidSubnet.Range", "is outside"):
        subnets.create_subnet(store, acme, vpc.id, name="b", cidr="10.1.0.0/24")
    with refused("InvalidSubnet.Range", "/29"):
        subnets.create_subnet(store, acme, vpc.id, name="b", cidr="10.0.0.0/29")
    with refused("InvalidSubnet.Conflict", r"overlaps 10\.0\.1\.0/24 of subnet a"):
        subnets.create_subnet(store, acme, vpc.id, name="b", cidr="10.0.0.0/22")
    with refused("InvalidParameterValue", "the VPC already has one with that name"):
        subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.2.0/24")


def test_a_subnet_counts_its_free_addresses(store: Store, acme: Caller, vpc: Vpc, two_hosts: None) -> None:
    subnet = subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/28")
    assert subnets.describe_subnet(store, acme, subnet.id).available_addresses == 11
    instances.run_instance(store, acme, RunRequest(subnet=subnet.id))
    assert subnets.describe_subnet(store, acme, subnet.id).available_addresses == 10


def test_a_subnet_with_an_interface_is_not_deleted(store: Store, acme: Caller, vpc: Vpc, two_hosts: None) -> None:
    subnet = subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/28")
    placed = instances.run_instance(store, acme, RunRequest(subnet=subnet.id))
    with refused("DependencyViolation", "1 network interface"):
        subnets.delete_subnet(store, acme, subnet.id)
    instances.terminate_instance(store, acme, placed.instance.id)
    subnets.delete_subnet(store, acme, subnet.id)
    assert store.list("alloc/subnet/").kvs == ()


def test_a_subnet_uses_the_main_table_until_it_is_associated(store: Store, acme: Caller, vpc: Vpc) -> None:
    subnet = subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/24")
    main = subnets.describe_subnet(store, acme, subnet.id).route_table
    table = route_tables.create_route_table(store, acme, vpc.id, name="t")
    subnets.associate_route_table(store, acme, subnet.id, table.id)
    assert route_tables.describe_route_table(store, acme, table.id).subnets == (subnet.id,)
    with refused("DependencyViolation", subnet.id):
        route_tables.delete_route_table(store, acme, table.id)
    subnets.disassociate_route_table(store, acme, subnet.id)
    route_tables.delete_route_table(store, acme, table.id)
    with refused("DependencyViolation", "main table"):
        route_tables.delete_route_table(store, acme, main)


def test_a_table_of_another_vpc_is_not_associated(store: Store, acme: Caller, vpc: Vpc) -> None:
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    foreign = route_tables.create_route_table(store, acme, other.id, name="t")
    with refused("InvalidParameterValue", "another VPC"):
        subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/24", route_table=foreign.id)


def test_a_new_route_table_has_the_lowest_free_number(store: Store, acme: Caller, vpc: Vpc) -> None:
    made = [route_tables.create_route_table(store, acme, vpc.id, name=name) for name in "abc"]
    assert [table.number for table in made] == [1, 2, 3]
    route_tables.delete_route_table(store, acme, made[1].id)
    assert route_tables.create_route_table(store, acme, vpc.id, name="d").number == 2
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.1.0.0/16"])
    assert route_tables.create_route_table(store, acme, other.id, name="a").number == 1
