"""Routes and associations by commands: EC2's rules, codes and states."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from netorch.control.actions import enis, instances, prefix_lists, route_tables, subnets, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.control.actions.route_tables import RouteOrigin, RouteState, create_route, delete_route, replace_route
from netorch.control.base.quotas import set_quotas
from netorch.model.eni import primary_eni_id
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.read import read_all
from netorch.store.base import Store
from tests.unit.control.conftest import refused


@pytest.fixture
def vpc(store: Store, acme: Caller, two_hosts: None) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"], ipv6_cidrs=["fd00:1::/56"])


@pytest.fixture
def subnet(store: Store, acme: Caller, vpc: Vpc) -> Subnet:
    return subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/24")


@pytest.fixture
def table(store: Store, acme: Caller, vpc: Vpc) -> RouteTable:
    return route_tables.create_route_table(store, acme, vpc.id, name="t")


@pytest.fixture
def firewall(store: Store, acme: Caller, subnet: Subnet) -> str:
    """Return the id of the interface of an instance fw-1."""
    placed = instances.run_instance(store, acme, RunRequest(name="fw-1", subnet=subnet.id, source_dest_check=False))
    assert not placed.eni.source_dest_check
    return placed.eni.id


def routes(store: Store, caller: Caller, table: RouteTable) -> dict[str, tuple[str, RouteState]]:
    """Return a table's routes as displayed: destination -> target, as a vpc.yaml spells it, and state."""
    info = route_tables.describe_route_table(store, caller, table.id)
    words = info.names
    return {
        words.get(route.destination, route.destination): (words.get(route.target, route.target), route.state)
        for route in info.routes
    }


LOCAL = {"10.0.0.0/16": ("local", RouteState.ACTIVE), "fd00:1::/56": ("local", RouteState.ACTIVE)}


def test_routes_lead_to_an_interface_by_name_or_id_and_to_nothing(
    store: Store, acme: Caller, table: RouteTable, firewall: str
) -> None:
    create_route(store, acme, table.id, "192.0.2.77/24", "eni fw-1")
    create_route(store, acme, table.id, "::/0", firewall)
    changed = create_route(store, acme, table.id, "10.9.0.0/16", "blackhole")
    assert [route.destination for route in changed.routes] == ["10.9.0.0/16", "192.0.2.0/24", "::/0"]
    assert routes(store, acme, table) == LOCAL | {
        "10.9.0.0/16": ("blackhole", RouteState.BLACKHOLE),
        "192.0.2.0/24": ("eni fw-1", RouteState.ACTIVE),
        "::/0": ("eni fw-1", RouteState.BLACKHOLE),
    }
    origins = [route.origin for route in route_tables.describe_route_table(store, acme, table.id).routes]
    assert origins == [RouteOrigin.LOCAL] * 2 + [RouteOrigin.STATIC] * 3


def test_an_interface_with_a_name_of_its_own_is_a_target(
    store: Store, acme: Caller, table: RouteTable, subnet: Subnet, firewall: str
) -> None:
    spare = enis.create_network_interface(store, acme, subnet.id, name="spare")
    create_route(store, acme, table.id, "192.0.2.0/24", "eni spare")
    assert routes(store, acme, table)["192.0.2.0/24"] == (spare.id, RouteState.BLACKHOLE)
    enis.attach_network_interface(store, acme, spare.id, f"i-{firewall[-17:]}")
    assert routes(store, acme, table)["192.0.2.0/24"] == (spare.id, RouteState.ACTIVE)
    enis.create_network_interface(store, acme, subnet.id, name="spare")
    with refused("InvalidParameterValue", "several have this name"):
        create_route(store, acme, table.id, "198.51.100.0/24", "eni spare")


def test_the_route_to_an_interface_that_ends_is_a_black_hole(
    store: Store, acme: Caller, table: RouteTable, firewall: str
) -> None:
    create_route(store, acme, table.id, "0.0.0.0/0", "eni fw-1")
    instances.terminate_instance(store, acme, f"i-{firewall[-17:]}")
    assert routes(store, acme, table)["0.0.0.0/0"] == (firewall, RouteState.BLACKHOLE)
    assert not read_inventory(store).isolated
    with refused("InvalidNetworkInterfaceID.NotFound"):
        create_route(store, acme, table.id, "192.0.2.0/24", firewall)


def test_a_route_is_replaced_and_deleted(store: Store, acme: Caller, table: RouteTable, firewall: str) -> None:
    create_route(store, acme, table.id, "0.0.0.0/0", "blackhole")
    with refused("RouteAlreadyExists", r"route table t \(rtb-.*\): already has a route to 0.0.0.0/0"):
        create_route(store, acme, table.id, "0.0.0.0/0", "eni fw-1")
    replace_route(store, acme, table.id, "0.0.0.0/0", "eni fw-1")
    assert routes(store, acme, table)["0.0.0.0/0"] == ("eni fw-1", RouteState.ACTIVE)
    with refused("InvalidRoute.NotFound", "has no route to 0.0.0.0/1"):
        replace_route(store, acme, table.id, "0.0.0.0/1", "blackhole")
    delete_route(store, acme, table.id, "0.0.0.0/0")
    with refused("InvalidRoute.NotFound"):
        delete_route(store, acme, table.id, "0.0.0.0/0")
    assert routes(store, acme, table) == LOCAL


def test_a_local_route_is_replaced_by_an_interface_and_put_back(
    store: Store, acme: Caller, table: RouteTable, firewall: str
) -> None:
    with refused("RouteAlreadyExists"):
        create_route(store, acme, table.id, "10.0.0.0/16", "eni fw-1")
    with refused("InvalidParameterValue", "a range of the VPC itself"):
        replace_route(store, acme, table.id, "10.0.0.0/16", "blackhole")
    replace_route(store, acme, table.id, "10.0.0.0/16", "eni fw-1")
    assert routes(store, acme, table) == LOCAL | {"10.0.0.0/16": ("eni fw-1", RouteState.ACTIVE)}
    with refused("InvalidParameterValue", "cannot be deleted; to undo a replacement: netorch route-table route replace"):
        delete_route(store, acme, table.id, "10.0.0.0/16")
    assert replace_route(store, acme, table.id, "10.0.0.0/16", "local").routes == ()
    assert routes(store, acme, table) == LOCAL


@pytest.mark.parametrize(
    ("destination", "target", "match"),
    [
        ("10.0.1.0/24", "blackhole", "10.0.1.0/24 is more specific than 10.0.0.0/16, a range of the VPC itself"),
        ("10.0.1.0/25", "eni fw-1", "is not the whole range of one of its subnets"),
        ("10.0.2.0/24", "eni fw-1", "is not the whole range of one of its subnets"),
        ("169.254.169.0/24", "blackhole", "inside 169.254.168.0/22, which EC2 reserves"),
        ("fd00:ec2::254/128", "blackhole", "inside fd00:ec2::/32, which EC2 reserves"),
        ("192.0.2.0/24", "local", "192.0.2.0/24 is not a range of the VPC, and only those are local"),
        ("0.0.0.0/0", "eigw", "0.0.0.0/0 is IPv4, and egress-only internet gateways take IPv6 only"),
        ("::/0", "nat-a", "::/0 is IPv6, and NAT gateways take IPv4 only"),
        ("::/0", "vgw", "::/0 is IPv6, and virtual private gateways take IPv4 only"),
        (
            "0.0.0.0/0",
            "vpce-s3",
            r"vpce-s3 is a gateway endpoint, which adds its own routes; netorch endpoint modify ENDPOINT --add-route-table TABLE",
        ),
        ("0.0.0.0/0", "nowhere", "'nowhere' is not a target"),
        ("nowhere", "blackhole", "'nowhere' is not a destination"),
        ("pl-", "blackhole", "'pl-' names no prefix list"),
    ],
)
def test_what_is_no_route_is_refused(
    store: Store, acme: Caller, table: RouteTable, firewall: str, destination: str, target: str, match: str
) -> None:
    with refused("InvalidParameterValue", match):
        create_route(store, acme, table.id, destination, target)
    assert routes(store, acme, table) == LOCAL


def test_targets_of_others_are_refused(store: Store, acme: Caller, globex: Caller, table: RouteTable, firewall: str) -> None:
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    foreign = route_tables.create_route_table(store, acme, other.id, name="t")
    with refused("InvalidParameterValue", "network interface eni-.*: belongs to another VPC"):
        create_route(store, acme, foreign.id, "192.0.2.0/24", firewall)
    with refused("InvalidNetworkInterfaceID.NotFound", "'fw-1'"):
        create_route(store, acme, foreign.id, "192.0.2.0/24", "eni fw-1")
    with refused("InvalidRouteTableID.NotFound"):
        create_route(store, globex, table.id, "192.0.2.0/24", "blackhole")
    theirs = vpcs.create_vpc(store, globex, name="theirs", cidrs=["10.0.0.0/16"])
    with refused("InvalidNetworkInterfaceID.NotFound"):
        create_route(
            store, globex, route_tables.describe_route_tables(store, globex, theirs.id)[0].table.id, "192.0.2.0/24", firewall
        )


def test_a_subnets_range_leads_to_an_interface_as_long_as_the_subnet_is_there(
    store: Store, acme: Caller, vpc: Vpc, table: RouteTable, firewall: str
) -> None:
    other = subnets.create_subnet(store, acme, vpc.id, name="b", cidr="10.0.2.0/24", ipv6_cidr="fd00:1::/64")
    create_route(store, acme, table.id, "fd00:1::/64", "eni fw-1")
    with refused("DependencyViolation", r"still has the route to fd00:1::/64 of route table t \(rtb-"):
        subnets.delete_subnet(store, acme, other.id)
    delete_route(store, acme, table.id, "fd00:1::/64")
    subnets.delete_subnet(store, acme, other.id)


def test_a_subnet_that_fills_its_vpc_can_go_while_the_vpcs_route_is_replaced(store: Store, acme: Caller, two_hosts: None) -> None:
    vpc = vpcs.create_vpc(store, acme, name="small", cidrs=["10.0.0.0/24"])
    subnet = subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.0.0/24")
    (main,) = route_tables.describe_route_tables(store, acme, vpc.id)
    eni = enis.create_network_interface(store, acme, subnet.id)
    replace_route(store, acme, main.table.id, "10.0.0.0/24", eni.id)
    enis.delete_network_interface(store, acme, eni.id)
    subnets.delete_subnet(store, acme, subnet.id)


@pytest.mark.parametrize(
    ("destination", "cidr", "fits"),
    [
        ("10.5.0.0/16", "10.5.0.0/16", False),
        ("10.5.1.0/24", "10.5.0.0/16", False),
        ("10.0.0.0/8", "10.5.0.0/16", True),
        ("fd00:2::/64", "fd00:2::/56", False),
    ],
)
def test_a_secondary_range_is_smaller_than_every_route(
    store: Store, acme: Caller, vpc: Vpc, table: RouteTable, destination: str, cidr: str, fits: bool
) -> None:
    create_route(store, acme, table.id, destination, "blackhole")
    if not fits:
        with refused("InvalidVpc.Range", f"{cidr} is the same as, or larger than, the route to {destination} of route table t"):
            vpcs.associate_cidr(store, acme, vpc.id, cidr)
        delete_route(store, acme, table.id, destination)
    vpcs.associate_cidr(store, acme, vpc.id, cidr)


def test_an_ipv6_route_to_an_interface_without_an_ipv6_address_is_a_black_hole(
    store: Store, acme: Caller, vpc: Vpc, table: RouteTable, firewall: str
) -> None:
    """Hosts drop packets on such a route. A prefix list, too, is either IPv4 or IPv6."""
    both = subnets.create_subnet(store, acme, vpc.id, name="b", cidr="10.0.2.0/24", ipv6_cidr="fd00:1::/64")
    placed = instances.run_instance(store, acme, RunRequest(name="fw-2", subnet=both.id, source_dest_check=False))
    prefix_lists.create_prefix_list(store, acme, vpc.id, name="six", cidrs=["2001:db8::/32"])
    for target, state in ((firewall, RouteState.BLACKHOLE), (placed.eni.id, RouteState.ACTIVE)):
        found = route_tables.create_route_table(store, acme, vpc.id, name=target[-8:])
        for destination in ("0.0.0.0/0", "::/0", "pl-six"):
            create_route(store, acme, found.id, destination, target)
        states = {destination: found_state for destination, (_, found_state) in routes(store, acme, found).items()}
        assert states == dict.fromkeys((*LOCAL, "0.0.0.0/0"), RouteState.ACTIVE) | {"::/0": state, "pl-six": state}


@pytest.mark.parametrize("cidr", ["10.5.0.0/16", "fd00:2::/56"])
def test_a_range_stays_while_a_route_replaces_its_local_one(
    store: Store, acme: Caller, vpc: Vpc, table: RouteTable, firewall: str, cidr: str
) -> None:
    vpcs.associate_cidr(store, acme, vpc.id, cidr)
    replace_route(store, acme, table.id, cidr, firewall)
    with refused(
        "DependencyViolation", f"still has the route to {cidr} of route table t .* route replace {table.id} {cidr} local"
    ):
        vpcs.disassociate_cidr(store, acme, vpc.id, cidr)
    replace_route(store, acme, table.id, cidr, "local")
    changed = vpcs.disassociate_cidr(store, acme, vpc.id, cidr)
    assert cidr not in changed.cidrs + changed.ipv6_cidrs
    assert routes(store, acme, table) == LOCAL


def fill(store: Store, caller: Caller, table: RouteTable, destinations: Sequence[str]) -> None:
    for destination in destinations:
        create_route(store, caller, table.id, destination, "blackhole")


def test_a_table_has_fifty_routes_of_each_ip_version(
    store: Store, acme: Caller, operator: Caller, vpc: Vpc, table: RouteTable
) -> None:
    fill(store, acme, table, [f"192.0.2.{number}/32" for number in range(50)])
    create_route(store, acme, table.id, "::/0", "blackhole")
    with refused(
        "RouteLimitExceeded",
        r"route table t \(rtb-.*\): already has its quota of 50 routes of IPv4 \(51 with ",
    ):
        create_route(store, acme, table.id, "198.51.100.0/24", "blackhole")
    replace_route(store, acme, table.id, "192.0.2.0/32", "blackhole")
    set_quotas(store, "acme", {"routes_per_table": 51})
    create_route(store, acme, table.id, "198.51.100.0/24", "blackhole")


def test_a_table_beyond_a_lowered_quota_may_shrink_and_change_but_not_grow(
    store: Store, acme: Caller, vpc: Vpc, table: RouteTable, firewall: str
) -> None:
    fill(store, acme, table, ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"])
    set_quotas(store, "acme", {"routes_per_table": 1})
    create_route(store, acme, table.id, "::/0", "blackhole")
    replace_route(store, acme, table.id, "192.0.2.3/32", firewall)
    delete_route(store, acme, table.id, "192.0.2.1/32")
    with refused("RouteLimitExceeded", r"already has its quota of 1 routes of IPv4 \(3 with the requested ones\)"):
        create_route(store, acme, table.id, "192.0.2.1/32", "blackhole")
    assert {"192.0.2.2/32", "192.0.2.3/32", "::/0"} == routes(store, acme, table).keys() - {*vpc.cidrs, *vpc.ipv6_cidrs}


def test_a_prefix_list_counts_as_many_routes_as_it_may_have(store: Store, acme: Caller, vpc: Vpc, table: RouteTable) -> None:
    found = prefix_lists.create_prefix_list(store, acme, vpc.id, name="s3", cidrs=["192.0.2.0/24"], max_entries=50)
    create_route(store, acme, table.id, "pl-s3", "blackhole")
    with refused("RouteLimitExceeded"):
        create_route(store, acme, table.id, "0.0.0.0/0", "blackhole")
    with refused("RouteLimitExceeded"):
        prefix_lists.modify_prefix_list(store, acme, found.id, max_entries=51)
    prefix_lists.modify_prefix_list(store, acme, found.id, max_entries=49)
    create_route(store, acme, table.id, "0.0.0.0/0", "blackhole")
    assert routes(store, acme, table)["pl-s3"] == ("blackhole", RouteState.BLACKHOLE)


def test_a_prefix_list_stays_while_a_route_refers_to_it(store: Store, acme: Caller, vpc: Vpc, table: RouteTable) -> None:
    found = prefix_lists.create_prefix_list(store, acme, vpc.id, name="s3", cidrs=["192.0.2.0/24"])
    create_route(store, acme, table.id, found.id, "blackhole")
    assert prefix_lists.describe_prefix_list(store, acme, found.id).route_tables == (table.id,)
    with refused("DependencyViolation", r"prefix list s3 \(pl-.*\): still has a route of route table t"):
        prefix_lists.delete_prefix_list(store, acme, found.id)
    with refused("InvalidPrefixListID.NotFound", "'pl-s4'"):
        delete_route(store, acme, table.id, "pl-s4")
    delete_route(store, acme, table.id, "pl-s3")
    prefix_lists.delete_prefix_list(store, acme, found.id)


def test_associations_are_made_replaced_and_ended(
    store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, table: RouteTable
) -> None:
    other = route_tables.create_route_table(store, acme, vpc.id, name="other")
    with refused("InvalidAssociationID.NotFound"):
        subnets.replace_route_table_association(store, acme, subnet.id, table.id)
    with refused("InvalidAssociationID.NotFound", "and uses the main one"):
        subnets.disassociate_route_table(store, acme, subnet.id)
    assert subnets.associate_route_table(store, acme, subnet.id, table.id).route_table == table.id
    assert subnets.associate_route_table(store, acme, subnet.id, table.id).route_table == table.id
    with refused("Resource.AlreadyAssociated", f"netorch route-table replace-association {other.id} {subnet.id}"):
        subnets.associate_route_table(store, acme, subnet.id, other.id)
    assert subnets.replace_route_table_association(store, acme, subnet.id, other.id).route_table == other.id
    assert subnets.disassociate_route_table(store, acme, subnet.id).route_table == ""


def test_a_deleted_vpc_leaves_no_mark_of_its_routes(store: Store, acme: Caller, vpc: Vpc) -> None:
    (main,) = route_tables.describe_route_tables(store, acme, vpc.id)
    create_route(store, acme, main.table.id, "192.0.2.0/24", "blackhole")
    vpcs.delete_vpc(store, acme, vpc.id)
    assert store.list("alloc/use/").kvs == ()


def test_the_source_dest_check_is_switched(store: Store, acme: Caller, globex: Caller, firewall: str) -> None:
    assert enis.modify_network_interface(store, acme, firewall, source_dest_check=True).source_dest_check
    revision = read_inventory(store).revision
    enis.modify_network_interface(store, acme, firewall, source_dest_check=True)
    assert read_inventory(store).revision == revision
    with refused("InvalidNetworkInterfaceID.NotFound"):
        enis.modify_network_interface(store, globex, firewall, source_dest_check=False)
    assert firewall == primary_eni_id(f"i-{firewall[-17:]}")


def in_force(store: Store, caller: Caller, vpc: Vpc) -> dict[str, list[str]]:
    """Return the subnets of each route table, both by name, the main table first."""
    names = {info.subnet.id: info.subnet.name for info in subnets.describe_subnets(store, caller, vpc.id)}
    infos = route_tables.describe_route_tables(store, caller, vpc.id)
    assert [info.table.main for info in infos] == [True, *[False] * (len(infos) - 1)]
    return {info.table.name: sorted(names[subnet] for subnet in info.subnets) for info in infos}


def test_another_table_becomes_the_main_one(store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, table: RouteTable) -> None:
    """EC2: subnets without an explicit table follow the main one; others keep theirs, be it the old main one or the new."""
    (old, _) = route_tables.describe_route_tables(store, acme, vpc.id)
    for name, cidr, named in (("b", "10.0.2.0/24", old.table.id), ("c", "10.0.3.0/24", table.id)):
        subnets.create_subnet(store, acme, vpc.id, name=name, cidr=cidr, route_table=named)
    assert in_force(store, acme, vpc) == {"main": ["a", "b"], "t": ["c"]}
    changed = route_tables.set_main_route_table(store, acme, table.id)
    assert (changed.main, changed.number) == (True, table.number)
    assert in_force(store, acme, vpc) == {"t": ["a", "c"], "main": ["b"]}
    assert {info.subnet.name: info.route_table for info in subnets.describe_subnets(store, acme, vpc.id)}["a"] == table.id
    revision = store.revision()
    assert route_tables.set_main_route_table(store, acme, table.id) == changed
    assert store.revision() == revision
    numbers = {stored.record.number for stored in read_all(store, RouteTable, vpc.vni).values()}
    assert len(numbers - {0}) == 2, "hosts tell them apart by numbers"
    with refused("DependencyViolation", "make another table the main one first"):
        route_tables.delete_route_table(store, acme, table.id)
    route_tables.set_main_route_table(store, acme, old.table.id)
    assert in_force(store, acme, vpc) == {"main": ["a", "b"], "t": ["c"]}
    assert {stored.record.number for stored in read_all(store, RouteTable, vpc.vni).values()} == numbers


def test_the_table_that_came_with_a_vpc_can_be_deleted_once_it_is_not_the_main_one(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, table: RouteTable
) -> None:
    (old, _) = route_tables.describe_route_tables(store, acme, vpc.id)
    with refused("InvalidRouteTableID.NotFound"):
        route_tables.set_main_route_table(store, globex, table.id)
    route_tables.set_main_route_table(store, acme, table.id)
    route_tables.delete_route_table(store, acme, old.table.id)
    assert read_inventory(store).unreadable == []
    vpcs.delete_vpc(store, acme, vpc.id)
    assert store.list(f"vpc/{vpc.vni:06x}/").kvs == ()
