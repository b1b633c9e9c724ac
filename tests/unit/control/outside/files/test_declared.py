"""Edges, pools, internet gateways and public addresses in a file: planned, applied, exported, changed, released."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import subnets, vpcs
from netorch.control.actions.instances import RunRequest, run_instance
from netorch.control.actions.outside import addresses, gateways
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.base.quotas import set_quotas
from netorch.control.views.export import export_cloud
from netorch.control.views.unsaid import unsaid
from netorch.errors import Conflict
from netorch.model.check.cloud import check_cloud
from netorch.model.cloud import AddressPoolDecl, Cloud, ElasticIpDecl, InstanceDecl, InternetGatewayDecl, RouteTableDecl
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.outside.gateway import InternetGateway
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Store
from tests.unit.control.apply.clouds import apply, records, summary
from tests.unit.control.conftest import refused
from tests.unit.control.outside.conftest import clean, held
from tests.unit.control.outside.files.declared import EDGES, OUTSIDE, POOLS, SHOP, WEB, cloud, edge, instances


def public(store: Store) -> dict[str, str]:
    """Return the public addresses of the VPC's instances by name; an elastic IP as its name, an ephemeral one as `*`."""
    found, names = records(store, name="shop"), read_inventory(store).elastic_ips
    of = {eni.id: found.of(Instance)[eni.instance].record.name for eni in found.each(NetworkInterface)}
    return {of[m.eni]: names[m.allocation].record.name if m.allocation else "*" for m in found.each(PublicMapping)}


def test_a_file_makes_all_of_it_and_a_second_plan_is_empty(store: Store, operator: Caller) -> None:
    plan = apply(store, operator, OUTSIDE)
    for kind, path in (
        ("host", "e1"),
        ("address-pool", "west"),
        ("internet-gateway", "acme/shop/gw"),
        ("elastic-ip", "acme/web"),
    ):
        assert ("add", kind, path) in summary(plan)
    assert public(store) == {"web-1": "web", "web-2": "*", "job": "*"}
    found = records(store, name="shop")
    (mapping,), (gateway,) = found.each(GatewayMapping), found.each(InternetGateway)
    assert (gateway.name, gateway.tags) == ("gw", {"a": "b"})
    assert {seat.host for seat in mapping.seats} == {"e1", "e2"}
    assert {read_inventory(store).pools[m.pool].record.pair for m in found.each(PublicMapping)} == {"west"}
    clean(store)


def test_what_is_exported_is_found_unchanged(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, OUTSIDE)
    exported = export_cloud(store)
    assert check_cloud(exported) == []
    assert exported.address_pools == sorted(POOLS, key=lambda pool: pool.name)
    assert [host for host in exported.hosts if host.pair] == EDGES
    assert plan_cloud(store, operator, exported).changes == ()
    assert plan_cloud(store, acme, OUTSIDE).changes == ()  # a customer may name the operator's resources without changes
    assert list(unsaid(read_inventory(store), operator)) == []


def test_an_export_makes_the_same_again_somewhere_else(store: Store, operator: Caller) -> None:
    apply(store, operator, OUTSIDE)
    exported, before = export_cloud(store), public(store)
    apply(store, operator, Cloud(name="outside"))
    assert held(store) == set()
    clean(store)
    apply(store, operator, exported)  # the owner gets its address back at once
    assert public(store) == before
    clean(store)


def test_an_edge_keeps_its_pair(store: Store, operator: Caller) -> None:
    apply(store, operator, OUTSIDE)
    for other in (edge("e1", 21, "east"), msgspec.structs.replace(EDGES[0], pair="", uplink=None)):
        with refused("InvalidParameterValue", "has the pair west, which a file cannot change; netorch host update e1"):
            plan_cloud(store, operator, Cloud(hosts=[other]))
    tagged = msgspec.structs.replace(EDGES[0], tags={"rack": "7"})
    assert summary(apply(store, operator, Cloud(hosts=[tagged]))) == [("change", "host", "e1")]
    with refused("InvalidParameterValue", "pair west has two edges, e1 and e2"):
        plan_cloud(store, operator, Cloud(hosts=[edge("e9", 29, "west")]))
    clean(store)


def test_pools_change_their_ranges_but_not_their_pair(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, OUTSIDE)
    west, east = POOLS
    wide = msgspec.structs.replace(west, cidrs=["203.0.113.64/28", *west.cidrs], tags={"a": "b"})
    plan = apply(store, operator, Cloud(address_pools=[wide]))
    assert [(item.field, item.after) for item in plan.changes[0].differences] == [("tags", "a=b"), ("cidrs", "203.0.113.64/28")]
    exchanged = [west, msgspec.structs.replace(east, cidrs=["203.0.113.64/28"])]
    apply(store, operator, Cloud(address_pools=exchanged))
    assert read_inventory(store).pools["east"].record.cidrs == ("203.0.113.64/28",)
    with refused("InvalidParameterValue", "are routed to pair west, which cannot be changed"):
        plan_cloud(store, operator, Cloud(address_pools=[msgspec.structs.replace(west, pair="east")]))
    with refused("DependencyViolation", "in use"):
        plan_cloud(store, operator, Cloud(address_pools=[msgspec.structs.replace(west, cidrs=["203.0.113.96/28"])]))
    with refused("InvalidParameterValue", "overlaps 203.0.113.64/28 of address pool east"):
        plan_cloud(store, operator, Cloud(address_pools=[wide]))
    with refused("InvalidParameterValue", "pair north has no edges"):
        plan_cloud(store, operator, Cloud(address_pools=[AddressPoolDecl(name="n", pair="north", cidrs=["203.0.113.96/28"])]))
    with refused("UnauthorizedOperation", "only the operator may declare pools"):
        plan_cloud(store, acme, Cloud(address_pools=[wide]))
    clean(store)


def test_a_gateway_that_is_not_declared_ends_and_the_plan_says_what_that_cuts(store: Store, operator: Caller) -> None:
    apply(store, operator, OUTSIDE)
    without = cloud(
        internet_gateway=msgspec.UNSET,
        route_tables=[RouteTableDecl(name="public")],
        instances=instances(web_1={"elastic_ip": ""}),
    )
    plan = apply(store, operator, without)
    changes = {change.kind: change for change in plan.changes}
    assert "3 public address(es) lead nowhere" in changes["internet-gateway"].breaks
    assert {"e1", "e2", "hv1"} <= set(changes["internet-gateway"].hosts)
    assert changes["instance"].breaks.startswith("connections through 203.0.113.")
    assert public(store) == {"web-2": "*", "job": "*"}
    assert list(records(store, name="shop").each(GatewayMapping)) == []
    clean(store)
    apply(store, operator, OUTSIDE)
    assert public(store) == {"web-1": "web", "web-2": "*", "job": "*"}
    clean(store)


def test_a_gateways_tags_change_and_its_name_does_not(store: Store, operator: Caller) -> None:
    apply(store, operator, OUTSIDE)
    plan = apply(store, operator, cloud(internet_gateway=InternetGatewayDecl()))
    assert summary(plan) == [("change", "internet-gateway", "acme/shop/gw")]
    with refused("InvalidParameterValue", "has the name gw, which cannot be changed; write name: gw"):
        plan_cloud(store, operator, cloud(internet_gateway=InternetGatewayDecl(name="other")))


def test_an_elastic_ip_goes_from_instance_to_instance(store: Store, operator: Caller) -> None:
    apply(store, operator, OUTSIDE)
    plan = apply(store, operator, cloud(instances=instances(web_1={"elastic_ip": ""}, web_2={"elastic_ip": "web"})))
    shown = {
        change.path: ([(d.field, d.before != "", d.after) for d in change.differences], change.breaks) for change in plan.changes
    }
    assert shown["acme/shop/web-1"][0] == [("elastic_ip", True, "")]
    assert shown["acme/shop/web-2"][0] == [("elastic_ip", False, "web"), ("public_address", True, "")]
    assert all(breaks.startswith("connections through 203.0.113.") for _, breaks in shown.values())
    assert public(store) == {"web-2": "web", "job": "*"}
    clean(store)
    both = [WEB, ElasticIpDecl(name="spare", owner="acme")]
    apply(store, operator, cloud(both, instances=instances(web_1={"elastic_ip": "spare"}, web_2={"elastic_ip": "web"})))
    apply(store, operator, cloud(both, instances=instances(web_1={"elastic_ip": "web"}, web_2={"elastic_ip": "spare"})))
    assert public(store) == {"web-1": "web", "web-2": "spare", "job": "*"}
    clean(store)


def test_an_instance_gets_and_loses_an_ephemeral_address(store: Store, operator: Caller) -> None:
    apply(store, operator, OUTSIDE)
    changed = instances(web_2={"public_address": False}, db={"public_address": True}, job={"address": "10.0.2.77"})
    plan = apply(store, operator, cloud(instances=changed))
    assert ("replace", "instance", "acme/shop/job") in summary(plan)
    assert public(store) == {"web-1": "web", "db": "*", "job": "*"}
    clean(store)


def test_an_instance_that_is_made_again_gets_its_elastic_ip_again(store: Store, operator: Caller) -> None:
    apply(store, operator, OUTSIDE)
    before = held(store)
    again = cloud(instances=instances(web_1={"address": "10.0.1.99"}), vni=5555)
    apply(store, operator, again)
    assert public(store) == {"web-1": "web", "web-2": "*", "job": "*"}
    assert len(held(store) & before) == 1
    clean(store)


def test_an_elastic_ip_that_a_file_made_is_given_back_and_the_plan_says_so(store: Store, operator: Caller, acme: Caller) -> None:
    spare = ElasticIpDecl(name="spare", owner="acme", address="203.0.113.9")
    apply(store, operator, cloud([WEB, spare]))
    other = addresses.allocate_address(store, acme, name="others")
    plan = apply(store, operator, cloud())
    assert summary(plan) == [("delete", "elastic-ip", "acme/spare")]
    assert plan.changes[0].breaks == "203.0.113.9 is released"
    renamed = msgspec.structs.replace(WEB, name="www")
    plan = apply(store, operator, cloud([renamed], instances=instances(web_1={"elastic_ip": "www"})))
    assert ("delete", "elastic-ip", "acme/web") in summary(plan)
    assert public(store)["web-1"] == "www"
    assert other.address in held(store)  # no file made it
    clean(store)


def test_an_address_may_be_taken_that_the_same_plan_gives_back(store: Store, operator: Caller) -> None:
    own = msgspec.structs.replace(WEB, address="203.0.113.9")
    apply(store, operator, cloud([own]))
    renamed = msgspec.structs.replace(own, name="www")
    apply(store, operator, cloud([renamed], instances=instances(web_1={"elastic_ip": "www"})))
    assert (public(store)["web-1"], "203.0.113.9" in held(store)) == ("www", True)
    clean(store)


def test_an_elastic_ip_is_not_another_ones_address(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, cloud([msgspec.structs.replace(WEB, address="203.0.113.9")]))
    with refused("InvalidParameterValue", "its address is 203.0.113.9, which cannot be changed"):
        plan_cloud(store, operator, cloud([msgspec.structs.replace(WEB, address="203.0.113.8")]))
    with refused("InvalidParameterValue", "its pool is west, which cannot be changed"):
        plan_cloud(store, operator, cloud([msgspec.structs.replace(WEB, pool="east")]))
    with refused("InvalidIPAddress.InUse", "203.0.113.9"):
        plan_cloud(store, operator, cloud([WEB, ElasticIpDecl(name="b", owner="acme", address="203.0.113.9")]))
    with refused("InvalidPublicIpv4PoolID.NotFound", "north"):
        plan_cloud(store, operator, cloud([WEB, ElasticIpDecl(name="b", owner="acme", pool="north")]))
    set_quotas(store, "acme", {"elastic_ips": 1})
    with refused("AddressLimitExceeded", "owner acme"):
        plan_cloud(store, operator, cloud([WEB, ElasticIpDecl(name="b", owner="acme")]))
    with refused("UnauthorizedOperation", "globex/x: is not yours"):
        plan_cloud(store, acme, Cloud(elastic_ips=[ElasticIpDecl(name="x", owner="globex")]))


def test_an_address_of_another_pair_is_refused_and_decides_where_a_new_gateway_is(store: Store, operator: Caller) -> None:
    apply(store, operator, OUTSIDE)
    far = ElasticIpDecl(name="far", owner="acme", pool="east")
    moved = cloud([WEB, far], instances=instances(web_1={"elastic_ip": "far"}))
    plan = plan_cloud(store, operator, moved)
    assert [stuck.path for stuck in plan.stuck] == ["acme/shop"]
    assert "is in pool east, which is not routed to the VPC's internet gateway" in str(plan.stuck[0].error)
    beside = msgspec.structs.replace(SHOP, name="beside", cidrs=["10.1.0.0/16"], instances=[], subnets=[], route_tables=[])
    eastern = msgspec.structs.replace(SHOP, name="far", instances=[msgspec.structs.replace(SHOP.instances[0], elastic_ip="far")])
    apply(store, operator, msgspec.structs.replace(OUTSIDE, elastic_ips=[WEB, far], vpcs=[SHOP, beside, eastern]))
    (mapping,) = records(store, name="far").each(GatewayMapping)
    assert {seat.host for seat in mapping.seats} == {"e3"}
    clean(store)


def test_what_commands_made_without_a_name_stays(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, OUTSIDE)
    unnamed = addresses.allocate_address(store, acme, pool="west")
    db = next(i.id for i in records(store, name="shop").each(Instance) if i.name == "db")
    addresses.associate_address(store, acme, unnamed.id, instance=db)
    assert plan_cloud(store, operator, OUTSIDE).changes == ()
    assert plan_cloud(store, operator, export_cloud(store)).changes == ()
    assert list(unsaid(read_inventory(store), operator)) == [
        f"elastic IP addresses without a name are left out: {unnamed.address}"
    ]
    clean(store)


def test_a_gateway_that_a_command_made_in_a_files_vpc_ends(store: Store, operator: Caller, acme: Caller) -> None:
    plain = msgspec.structs.replace(SHOP, internet_gateway=msgspec.UNSET, instances=[], route_tables=[], subnets=[])
    bare = msgspec.structs.replace(OUTSIDE, vpcs=[plain])
    apply(store, operator, bare)
    gateways.create_internet_gateway(store, acme, records(store, name="shop").vpc.record.id)
    plan = plan_cloud(store, operator, bare)
    assert summary(plan) == [("delete", "internet-gateway", "acme/shop/igw")]
    apply_cloud(store, plan)
    assert plan_cloud(store, operator, bare).changes == ()


def test_a_vpc_without_edges_is_stuck(store: Store, operator: Caller) -> None:
    lone = msgspec.structs.replace(SHOP, name="lone", instances=[], subnets=[], route_tables=[])
    with refused("InsufficientInstanceCapacity", "there is no pair of edges"):
        plan_cloud(store, operator, Cloud(vpcs=[lone]))


def test_what_a_lost_file_made_is_named_and_what_another_file_changes_passes_to_it(store: Store, operator: Caller) -> None:
    alone = Cloud(hosts=OUTSIDE.hosts, address_pools=POOLS, elastic_ips=[WEB])
    apply(store, operator, alone, source="/srv/one.yaml")
    plan = plan_cloud(
        store, operator, Cloud(hosts=OUTSIDE.hosts), source="/srv/two.yaml", is_there=lambda path: path != "/srv/one.yaml"
    )
    assert [(left.kind, left.path, left.source, left.lost) for left in plan.left] == [
        ("elastic-ip", "acme/web", "/srv/one.yaml", True)
    ]
    tagged = msgspec.structs.replace(alone, elastic_ips=[msgspec.structs.replace(WEB, tags={"a": "b"})])
    plan = apply(store, operator, tagged, source="/srv/two.yaml")
    assert [(item.field, item.after) for item in plan.changes[0].differences] == [("tags", "a=b"), ("source", "/srv/two.yaml")]
    assert apply(store, operator, Cloud(), source="/srv/one.yaml").changes == ()
    assert summary(apply(store, operator, Cloud(), source="/srv/two.yaml")) == [("delete", "elastic-ip", "acme/web")]
    clean(store)


def test_most_of_a_files_elastic_ips_are_released_only_when_that_is_allowed(store: Store, operator: Caller) -> None:
    set_quotas(store, "acme", {"elastic_ips": 10})
    many = [ElasticIpDecl(name=f"ip-{n}", owner="acme") for n in range(10)]
    apply(store, operator, msgspec.structs.replace(OUTSIDE, vpcs=[], elastic_ips=many))
    plan = plan_cloud(store, operator, msgspec.structs.replace(OUTSIDE, vpcs=[], elastic_ips=many[:4]))
    with refused("OperationNotPermitted", "the plan deletes 6 of 10 elastic IP addresses"):
        apply_cloud(store, plan)


def test_an_association_in_between_is_noticed(store: Store, operator: Caller, acme: Caller) -> None:
    """A plan and a command associate the same elastic IP: the second writer detects the first."""
    spare = ElasticIpDecl(name="spare", owner="acme", pool="west")
    apply(store, operator, cloud([WEB, spare]))
    plan = plan_cloud(store, operator, cloud([WEB, spare], instances=instances(db={"elastic_ip": "spare"})))
    own = next(found.record for found in read_inventory(store).elastic_ips.values() if found.record.name == "spare")
    quiet = next(i.id for i in records(store, name="shop").each(Instance) if i.name == "quiet")
    addresses.associate_address(store, acme, own.id, instance=quiet)
    with pytest.raises(Conflict):
        apply_cloud(store, plan)
    apply(store, operator, cloud([WEB, spare], instances=instances(db={"elastic_ip": "spare"})))
    assert public(store) == {"web-1": "web", "web-2": "*", "job": "*", "db": "spare"}
    clean(store)


def test_a_public_address_in_between_is_noticed_by_who_deletes_the_gateway(store: Store, operator: Caller, acme: Caller) -> None:
    bare = {"instances": [], "route_tables": [], "subnets": SHOP.subnets[1:]}
    apply(store, operator, cloud([], **bare))
    plan = plan_cloud(store, operator, cloud([], internet_gateway=msgspec.UNSET, **bare))
    subnet = next(records(store, name="shop").each(Subnet))
    run_instance(store, acme, RunRequest(name="i", subnet=subnet.id, public_address=True))
    with pytest.raises(Conflict):
        apply_cloud(store, plan)


def test_an_elastic_ip_is_taken_from_an_instance_that_no_file_declares(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, OUTSIDE)
    others = vpcs.create_vpc(store, acme, name="others", cidrs=["10.9.0.0/16"])
    subnet = subnets.create_subnet(store, acme, others.id, name="a", cidr="10.9.0.0/24")
    placed = run_instance(store, acme, RunRequest(name="theirs", subnet=subnet.id))
    gateway = gateways.create_internet_gateway(store, acme, others.id)
    spare = addresses.allocate_address(store, acme, name="spare", pool=_pool_of(store, others.vni, gateway.id))
    addresses.associate_address(store, acme, spare.id, instance=placed.instance.id)
    wanted = ElasticIpDecl(name="spare", owner="acme")
    east = msgspec.structs.replace(
        SHOP,
        name="second",
        subnets=SHOP.subnets[1:],
        route_tables=[],
        instances=[msgspec.structs.replace(SHOP.instances[2], elastic_ip="spare")],
    )
    plan = apply(store, operator, msgspec.structs.replace(OUTSIDE, elastic_ips=[WEB, wanted], vpcs=[SHOP, east]))
    (moved,) = [change for change in plan.changes if change.kind == "elastic-ip"]
    assert [(d.field, d.before, d.after) for d in moved.differences] == [
        ("interface", f"{placed.eni.id} of VPC acme/others", "instance db")
    ]
    assert moved.breaks == f"connections through {spare.address} end"
    clean(store)


def _pool_of(store: Store, vni: int, gateway_id: str) -> str:
    """Return the name of the pool of a gateway's pair; in this test, the name of the pair."""
    inventory = read_inventory(store)
    mapping = inventory.vpcs[vni].of(GatewayMapping)[gateway_id].record
    return inventory.hosts[mapping.seats[0].host].host.pair


def test_instances_at_the_top_level_have_public_addresses_in_the_default_vpc(store: Store, operator: Caller) -> None:
    one, two = ElasticIpDecl(name="one"), ElasticIpDecl(name="two")
    base = Cloud(name="outside", hosts=OUTSIDE.hosts, address_pools=POOLS)
    apply(store, operator, base)
    run_instance(store, operator, RunRequest(name="theirs"))  # makes a default VPC with a route to the internet
    own = InstanceDecl(name="own", elastic_ip="one")
    plan = apply(store, operator, msgspec.structs.replace(base, elastic_ips=[one, two], instances=[own]))
    assert {kind for _, kind, _ in summary(plan)} == {"elastic-ip", "instance"}
    assert ("change", "instance", "default/default/theirs") not in summary(plan)
    default = records(store, "default", "default")
    theirs = next(i.id for i in default.each(Instance) if i.name == "theirs")
    held_two = next(e.record for e in read_inventory(store).elastic_ips.values() if e.record.name == "two")
    addresses.associate_address(store, operator, held_two.id, instance=theirs)
    plain = msgspec.structs.replace(base, elastic_ips=[one], instances=[own])
    assert apply(store, operator, plain).changes == ()  # the gateway of its route is not in the file
    plan = apply(store, operator, msgspec.structs.replace(base, instances=[InstanceDecl(name="own", public_address=True)]))
    assert [(kind, path) for action, kind, path in summary(plan)] == [
        ("elastic-ip", "default/one"),
        ("instance", "default/default/own"),
    ]
    clean(store)


def test_all_that_keeps_a_file_from_being_applied_is_said_at_once(store: Store, operator: Caller) -> None:
    apply(store, operator, OUTSIDE)
    set_quotas(store, "acme", {"elastic_ips": 1, "vpcs": 1})
    more = [ElasticIpDecl(name="b", owner="acme"), ElasticIpDecl(name="c", owner="acme")]
    wrong = ElasticIpDecl(name="web", owner="acme", pool="east")
    file = cloud([wrong, *more])
    second = msgspec.structs.replace(SHOP, name="second", instances=[])
    with refused("InvalidParameterValue") as caught:
        plan_cloud(store, operator, msgspec.structs.replace(file, vpcs=[*file.vpcs, second]))
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["InvalidParameterValue", "AddressLimitExceeded", "VPC acme/second"]
    assert "its pool is west, which cannot be changed" in lines[0]
    assert "VpcLimitExceeded" in lines[2]
