from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import enis, flow_logs, hosts, instances, moves, subnets, vpcs
from netorch.control.actions.instances import Placed, RunRequest
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views import mappings
from netorch.control.views.describe import InstanceState, describe_instances, describe_interfaces, describe_vpcs, resolve
from netorch.control.views.export import export_cloud
from netorch.errors import ApiError
from netorch.model.cloud import Cloud, InstanceDecl
from netorch.model.eni import Attachment, EniState, EniStatus, NetworkInterface
from netorch.model.ids import port_name
from netorch.model.mapping import Mapping, MoveDirection
from netorch.model.routing.next_hop import target_hop
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.read import read_all
from netorch.store.base import Delete, Put, Store
from tests.unit.control.conftest import Clock, refused


@pytest.fixture
def subnet(store: Store, acme: Caller, two_hosts: None) -> Subnet:
    vpc = vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"], ipv6_cidrs=["fd00:1::/56"])
    return subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/28", ipv6_cidr="fd00:1::/64")


@pytest.fixture
def placed(store: Store, acme: Caller, subnet: Subnet) -> Placed:
    return instances.run_instance(store, acme, RunRequest(name="w1", subnet=subnet.id, host="hv1"))


def keys_below(store: Store, *prefixes: str) -> list[str]:
    return [kv.key for prefix in prefixes for kv in store.list(prefix).kvs]


def place(store: Store, placed: Placed) -> Mapping:
    kv = store.get(keys.mapping(placed.eni.vni, placed.eni.address))
    assert kv is not None
    return msgspec.json.decode(kv.value, type=Mapping)


def say(store: Store, host: str, eni_id: str, state: EniState, reason: str = "") -> None:
    store.txn([], [Put(keys.eni_status(host, eni_id), msgspec.json.encode(EniStatus(state=state, reason=reason)))])


def test_an_instance_with_nothing_said_lands_in_the_default_vpc(store: Store, acme: Caller, two_hosts: None) -> None:
    first = instances.run_instance(store, acme, RunRequest())
    second = instances.run_instance(store, acme, RunRequest())
    assert (first.eni.address, second.eni.address) == ("172.31.0.4", "172.31.0.5")
    assert first.instance.vni == second.instance.vni
    assert {first.host.name, second.host.name} == {"hv1", "hv2"}


def test_one_transaction_makes_instance_interface_mappings_and_placement(store: Store, acme: Caller, subnet: Subnet) -> None:
    before = store.revision()
    placed = instances.run_instance(store, acme, RunRequest(name="w1", subnet=subnet.id, host="hv2"))
    assert store.revision() == before + 1
    assert placed.eni.addresses == ("10.0.1.4", "fd00:1::4")
    for address in placed.eni.addresses:
        mapping = mappings.lookup_mapping(store, acme, subnet.vni, address)
        assert (mapping.record.host, mapping.record.vtep, mapping.mod_revision) == ("hv2", "192.0.2.12", before + 1)
    assert store.get(keys.placement("hv2", placed.eni.id)) is not None


def test_a_full_subnet_says_so(store: Store, acme: Caller, subnet: Subnet) -> None:
    placed = instances.run_instances(store, acme, RunRequest(name="w", subnet=subnet.id), 11)
    assert len({one.eni.address for one in placed}) == 11
    with refused("InsufficientFreeAddressesInSubnet", r"10\.0\.1\.0/28"):
        instances.run_instance(store, acme, RunRequest(subnet=subnet.id))
    instances.terminate_instance(store, acme, placed[3].instance.id)
    assert instances.run_instance(store, acme, RunRequest(subnet=subnet.id)).eni.address == placed[3].eni.address


def test_a_freed_address_comes_again_as_late_as_possible(store: Store, acme: Caller, subnet: Subnet, placed: Placed) -> None:
    instances.terminate_instance(store, acme, placed.instance.id)
    assert instances.run_instance(store, acme, RunRequest(subnet=subnet.id)).eni.address == "10.0.1.5"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (RunRequest(address="10.0.1.4"), "InvalidIPAddress.InUse"),
        (RunRequest(address="10.0.1.1"), "InvalidParameterValue"),
        (RunRequest(address="10.0.1.15"), "InvalidParameterValue"),
        (RunRequest(address="10.0.2.4"), "InvalidParameterValue"),
        (RunRequest(host="hv9"), "InvalidHostID.NotFound"),
        (RunRequest(name="w1"), "InvalidParameterValue"),
        (RunRequest(mac="01:00:00:00:00:01"), "InvalidParameterValue"),
        (RunRequest(attachment=Attachment.EXISTING), "InvalidParameterValue"),
        (RunRequest(netns="x"), "InvalidParameterValue"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_and_leaves_nothing(
    store: Store, acme: Caller, subnet: Subnet, placed: Placed, asked: RunRequest, code: str
) -> None:
    before = store.revision()
    with refused(code):
        instances.run_instance(store, acme, msgspec.structs.replace(asked, subnet=subnet.id))
    assert store.revision() == before


def test_a_mac_is_taken_once_in_a_vpc_and_free_in_another(store: Store, acme: Caller, subnet: Subnet) -> None:
    mac = "06:00:00:00:00:01"
    instances.run_instance(store, acme, RunRequest(subnet=subnet.id, mac=mac))
    with refused("InvalidParameterValue", mac):
        instances.run_instance(store, acme, RunRequest(subnet=subnet.id, mac=mac))
    assert instances.run_instance(store, acme, RunRequest(mac=mac)).eni.mac == mac


def test_an_instance_needs_a_hypervisor(store: Store, acme: Caller) -> None:
    with refused("InsufficientInstanceCapacity", "no hypervisor"):
        instances.run_instance(store, acme, RunRequest())


def test_a_terminated_instance_leaves_only_its_subnets_cursor(store: Store, acme: Caller, subnet: Subnet) -> None:
    before = keys_below(store, "")
    placed = instances.run_instance(store, acme, RunRequest(name="w1", subnet=subnet.id))
    instances.terminate_instance(store, acme, placed.instance.id)
    assert set(keys_below(store, "")) - set(before) == {f"alloc/subnet/{subnet.id}"}


def test_anothers_instance_cannot_be_terminated(store: Store, globex: Caller, placed: Placed) -> None:
    with refused("InvalidInstanceID.NotFound", placed.instance.id):
        instances.terminate_instance(store, globex, placed.instance.id)


def test_an_interface_goes_from_instance_to_instance(store: Store, acme: Caller, subnet: Subnet, placed: Placed) -> None:
    other = instances.run_instance(store, acme, RunRequest(name="w2", subnet=subnet.id, host="hv2"))
    eni = enis.create_network_interface(store, acme, subnet.id, name="floating")
    with refused("InvalidIPAddress.InUse", eni.address):
        instances.run_instance(store, acme, RunRequest(subnet=subnet.id, address=eni.address))
    enis.attach_network_interface(store, acme, eni.id, placed.instance.id)
    assert mappings.lookup_mapping(store, acme, subnet.vni, eni.address).record.host == "hv1"
    with refused("InvalidNetworkInterface.InUse", placed.instance.id):
        enis.attach_network_interface(store, acme, eni.id, other.instance.id)
    with refused("InvalidNetworkInterface.InUse", placed.instance.id):
        enis.delete_network_interface(store, acme, eni.id)
    instances.terminate_instance(store, acme, placed.instance.id)
    enis.attach_network_interface(store, acme, eni.id, other.instance.id)
    assert mappings.lookup_mapping(store, acme, subnet.vni, eni.address).record.host == "hv2"
    enis.detach_network_interface(store, acme, eni.id)
    assert keys_below(store, f"host/hv1/placement/{eni.id}", f"host/hv2/placement/{eni.id}") == []
    enis.delete_network_interface(store, acme, eni.id)
    assert keys_below(store, "alloc/ip/") == []


def test_an_instances_own_interface_is_not_detached(store: Store, acme: Caller, placed: Placed) -> None:
    with refused("OperationNotPermitted", "terminate the instance"):
        enis.detach_network_interface(store, acme, placed.eni.id)


def test_a_move_passes_through_the_states_of_the_mapping(store: Store, acme: Caller, placed: Placed) -> None:
    moves.move_instance(store, acme, placed.instance.id, "hv2")
    going = place(store, placed)
    assert going.move is not None
    assert (going.host, going.move.direction, going.move.vtep) == ("hv1", MoveDirection.TO, "192.0.2.12")
    with refused("IncorrectInstanceState", "is moving to hv2"):
        moves.move_instance(store, acme, placed.instance.id, "hv2")

    assert moves.complete_arrival(store, "hv2", placed.eni.id)
    there = place(store, placed)
    assert there.move is not None
    assert (there.host, there.vtep, there.move.direction, there.move.host) == ("hv2", "192.0.2.12", MoveDirection.FROM, "hv1")
    assert not moves.complete_arrival(store, "hv2", placed.eni.id)

    assert moves.finish_departure(store, "hv1", placed.eni.id)
    assert place(store, placed).move is None
    assert keys_below(store, "host/hv1/placement/") == []
    assert keys_below(store, "host/hv2/placement/") == [keys.placement("hv2", placed.eni.id)]


def test_all_addresses_of_an_interface_arrive_in_one_transaction(store: Store, acme: Caller, placed: Placed) -> None:
    moves.move_instance(store, acme, placed.instance.id, "hv2")
    before = store.revision()
    moves.complete_arrival(store, "hv2", placed.eni.id)
    assert store.revision() == before + 1
    assert {mapping.record.host for mapping in mappings.list_mappings(store, acme, placed.eni.vni)} == {"hv2"}


def test_a_host_that_still_has_an_interface_cannot_finish_its_departure(store: Store, acme: Caller, placed: Placed) -> None:
    assert not moves.finish_departure(store, "hv1", placed.eni.id)
    moves.move_instance(store, acme, placed.instance.id, "hv2")
    assert not moves.finish_departure(store, "hv1", placed.eni.id)
    assert not moves.finish_departure(store, "hv2", placed.eni.id)
    assert not moves.complete_arrival(store, "hv1", placed.eni.id)


def test_the_placement_of_a_terminated_interface_can_be_dropped_by_its_host(store: Store, acme: Caller, placed: Placed) -> None:
    instances.terminate_instance(store, acme, placed.instance.id)
    assert moves.finish_departure(store, "hv1", placed.eni.id)
    assert not moves.complete_arrival(store, "hv2", placed.eni.id)


def test_a_move_may_be_cancelled_until_it_has_arrived(store: Store, acme: Caller, placed: Placed) -> None:
    moves.move_instance(store, acme, placed.instance.id, "hv2")
    moves.cancel_move(store, acme, placed.instance.id)
    assert place(store, placed).move is None
    assert keys_below(store, "host/hv2/placement/") == []
    with refused("IncorrectInstanceState", "not moving"):
        moves.cancel_move(store, acme, placed.instance.id)


def test_an_instance_moves_on_although_its_former_host_is_dead(
    store: Store, operator: Caller, acme: Caller, placed: Placed
) -> None:
    lease = store.grant(60)
    store.txn([], [Put(keys.host_live("hv1"), b"{}", lease)])
    moves.move_instance(store, acme, placed.instance.id, "hv2")
    moves.complete_arrival(store, "hv2", placed.eni.id)
    with refused("IncorrectInstanceState", "moving from hv1"):
        moves.move_instance(store, acme, placed.instance.id, "hv1")
    store.txn([], [Delete(keys.host_live("hv1"))])
    hosts.create_host(store, operator, name="hv3", underlay="192.0.2.13")
    moves.move_instance(store, acme, placed.instance.id, "hv3")
    assert place(store, placed).host == "hv2"
    assert keys_below(store, "host/hv1/placement/") == []


def test_an_instance_in_somebody_elses_namespace_does_not_move(
    store: Store, acme: Caller, operator: Caller, subnet: Subnet
) -> None:
    asked = RunRequest(subnet=subnet.id, host="hv1", attachment=Attachment.EXISTING, netns="/proc/4711/ns/net")
    placed = instances.run_instance(store, operator, asked)
    with refused("UnsupportedOperation", "not netorch's"):
        moves.move_instance(store, acme, placed.instance.id, "hv2")


def test_terminating_a_moving_instance_clears_both_hosts(store: Store, acme: Caller, placed: Placed) -> None:
    moves.move_instance(store, acme, placed.instance.id, "hv2")
    instances.terminate_instance(store, acme, placed.instance.id)
    assert keys_below(store, "host/hv1/placement/", "host/hv2/placement/", "map/") == []


def test_an_instances_state_is_what_its_host_says(store: Store, acme: Caller, placed: Placed) -> None:
    def state() -> InstanceState:
        return describe_instances(read_inventory(store), acme)[0].state

    assert state() is InstanceState.PENDING
    say(store, "hv1", placed.eni.id, EniState.ATTACHED)
    assert state() is InstanceState.RUNNING
    moves.move_instance(store, acme, placed.instance.id, "hv2")
    assert state() is InstanceState.MOVING
    say(store, "hv1", placed.eni.id, EniState.FAILED, "no such netns")
    (info,) = describe_instances(read_inventory(store), acme)
    assert (info.state, info.reason, info.host) == (InstanceState.FAILED, "no such netns", "hv1")


def test_resources_are_found_by_id_and_by_name(store: Store, acme: Caller, operator: Caller, placed: Placed) -> None:
    inventory = read_inventory(store)
    for text in (placed.instance.id, "w1", "web/w1", "acme/web/w1"):
        assert resolve(inventory, acme, "i", text)[1] == placed.instance
    assert resolve(inventory, acme, "eni", "w1")[1] == placed.eni
    assert resolve(inventory, operator, "vpc", "acme/web")[1].id == describe_vpcs(read_inventory(store), acme)[0].id
    with refused("InvalidSubnetID.NotFound", "'b'"):
        resolve(inventory, acme, "subnet", "b")


def test_an_ambiguous_name_is_answered_with_the_candidates(
    store: Store, acme: Caller, globex: Caller, operator: Caller, placed: Placed
) -> None:
    instances.run_instance(store, globex, RunRequest(name="w1"))
    inventory = read_inventory(store)
    with refused("InvalidParameterValue", "acme/web/w1, globex/default/w1"):
        resolve(inventory, operator, "i", "w1")
    assert resolve(inventory, acme, "i", "w1")[1] == placed.instance


def test_interfaces_are_described_in_order_of_addresses(store: Store, acme: Caller, subnet: Subnet, placed: Placed) -> None:
    eni = enis.create_network_interface(store, acme, subnet.id)
    first, second = describe_interfaces(read_inventory(store), acme)
    assert (first.eni, second.eni) == (placed.eni, eni)
    assert first.mapping is not None
    assert (first.mapping.record.host, second.mapping) == ("hv1", None)


def test_an_unmapped_address_is_not_found(store: Store, acme: Caller, globex: Caller, placed: Placed) -> None:
    with refused("InvalidAddress.NotFound", r"10\.0\.1\.9 is not mapped"):
        mappings.lookup_mapping(store, acme, placed.eni.vni, "10.0.1.9")
    with refused("InvalidVpcID.NotFound", str(placed.eni.vni)):
        mappings.lookup_mapping(store, globex, placed.eni.vni, placed.eni.address)


def test_a_bulk_of_dual_stack_instances_on_many_hosts_fits_into_transactions(
    store: Store, operator: Caller, acme: Caller, subnet: Subnet
) -> None:
    for number in range(20, 50):
        hosts.create_host(store, operator, name=f"hv{number}", underlay=f"192.0.2.{number}")
    wide = subnets.create_subnet(
        store, acme, vpc_of(subnet, store, acme), name="b", cidr="10.0.2.0/24", ipv6_cidr="fd00:1:0:1::/64"
    )
    before = store.revision()
    placed = instances.run_instances(store, acme, RunRequest(name="w", subnet=wide.id), 100)
    assert store.revision() == before + 13
    assert len({one.eni.ipv6_address for one in placed}) == 100
    assert len({one.host.name for one in placed}) == 32
    assert [one.instance.name for one in placed[:2]] == ["w-0", "w-1"]


def vpc_of(subnet: Subnet, store: Store, caller: Caller) -> str:
    return subnets.describe_subnet(store, caller, subnet.id).vpc.id


def test_an_instance_with_all_interfaces_it_may_have_is_terminated_at_once(
    store: Store, operator: Caller, acme: Caller, subnet: Subnet
) -> None:
    wide = subnets.create_subnet(
        store, acme, vpc_of(subnet, store, acme), name="b", cidr="10.0.2.0/24", ipv6_cidr="fd00:1:0:1::/64"
    )
    placed = instances.run_instance(store, acme, RunRequest(subnet=wide.id, host="hv1"))
    made = [enis.create_network_interface(store, acme, wide.id) for _ in range(15)]
    for eni in made[:14]:
        enis.attach_network_interface(store, acme, eni.id, placed.instance.id)
    with refused("AttachmentLimitExceeded", placed.instance.id):
        enis.attach_network_interface(store, acme, made[14].id, placed.instance.id)
    moves.move_instance(store, acme, placed.instance.id, "hv2")
    before = store.revision()
    instances.terminate_instance(store, acme, placed.instance.id)
    assert store.revision() == before + 1
    assert keys_below(store, "map/", "host/hv1/placement/", "host/hv2/placement/") == []


@pytest.mark.parametrize("second", [(1 << 40) + 5, (1 << 40) + (1 << 30)], ids=["one port", "one next hop"])
@pytest.mark.parametrize("how", ["run", "create", "file"])
def test_no_two_interfaces_of_a_vpc_share_a_port_or_a_next_hop(
    store: Store, clock: Clock, subnet: Subnet, second: int, how: str
) -> None:
    """A port's name holds the first seven of eleven random digits, and the next hop of routes to it the last seven."""
    numbers = iter([1 << 40, 1, second, (3 << 40) + 7, *range(2, 99)])
    caller = Caller(owner="acme", now=clock, entropy=lambda: next(numbers))
    first = instances.run_instance(store, caller, RunRequest(name="first", subnet=subnet.id, host="hv1"))
    if how == "run":
        instances.run_instance(store, caller, RunRequest(subnet=subnet.id))
    elif how == "create":
        enis.create_network_interface(store, caller, subnet.id)
    else:
        (vpc,) = export_cloud(store).vpcs
        more = msgspec.structs.replace(vpc, instances=[*vpc.instances, InstanceDecl(name="second")])
        apply_cloud(store, plan_cloud(store, caller, Cloud(vpcs=[more])))
    one, other = read_all(store, NetworkInterface, subnet.vni)
    assert first.eni.id in (one, other)
    assert port_name(one) != port_name(other)
    assert [target_hop(one, version) != target_hop(other, version) for version in (4, 6)] == [True, True]


@pytest.mark.parametrize(
    "asked", [RunRequest(), RunRequest(host="hv9"), RunRequest(groups=("sg-00100100000000000",)), RunRequest(address="10.0.0.4")]
)
def test_a_refused_instance_leaves_no_default_vpc_behind(store: Store, globex: Caller, asked: RunRequest) -> None:
    before = store.list("")
    with pytest.raises(ApiError):
        instances.run_instances(store, globex, asked, 1)
    assert store.list("").kvs == before.kvs


def test_of_many_instances_none_runs_when_the_last_is_refused(store: Store, operator: Caller, acme: Caller) -> None:
    hosts.create_host(store, operator, name="lone", underlay="192.0.2.77")
    vpc = vpcs.create_vpc(store, acme, name="tight", cidrs=["10.0.0.0/16"])
    small = subnets.create_subnet(store, acme, vpc.id, name="s", cidr="10.0.0.0/28")
    large = subnets.create_subnet(store, acme, vpc.id, name="l", cidr="10.0.1.0/24")
    instances.run_instance(store, acme, RunRequest(name="w-14", subnet=large.id))
    before = store.list("")
    with refused("InvalidParameterValue", "w-14"):
        instances.run_instances(store, acme, RunRequest(name="w", subnet=large.id), 15)
    with refused("InsufficientFreeAddressesInSubnet"):
        instances.run_instances(store, acme, RunRequest(subnet=small.id), 15)
    assert store.list("").kvs == before.kvs
    made = instances.run_instances(store, acme, RunRequest(), 20)
    assert len({placed.eni.vni for placed in made}) == 1
    assert read_inventory(store).unreadable == []


def test_a_flow_log_goes_with_what_it_records(store: Store, operator: Caller, acme: Caller) -> None:
    hosts.create_host(store, operator, name="lone", underlay="192.0.2.77")
    vpc = vpcs.create_vpc(store, acme, name="logged", cidrs=["10.0.0.0/16"])
    subnet = subnets.create_subnet(store, acme, vpc.id, name="s", cidr="10.0.0.0/24")
    placed = instances.run_instance(store, acme, RunRequest(subnet=subnet.id))
    spare = enis.create_network_interface(store, acme, subnet.id)
    logs = {
        resource: flow_logs.create_flow_log(store, acme, resource, name=f"l{n}").id
        for n, resource in enumerate((vpc.id, subnet.id, placed.eni.id, spare.id))
    }
    instances.terminate_instance(store, acme, placed.instance.id)
    assert store.get(keys.resource(logs[placed.eni.id])) is None
    enis.delete_network_interface(store, acme, spare.id)
    assert store.get(keys.resource(logs[spare.id])) is None
    assert store.get(keys.resource(logs[subnet.id])) is not None
    subnets.delete_subnet(store, acme, subnet.id)
    assert store.get(keys.resource(logs[subnet.id])) is None
    assert [info.log.id for info in flow_logs.describe_flow_logs(store, acme, vpc.id)] == [logs[vpc.id]]
    vpcs.delete_vpc(store, acme, vpc.id)
    assert store.list("vpc/").kvs == ()
