"""Planning and applying peering connections."""

from __future__ import annotations

import pytest

from netorch.control.actions import peerings, vpcs
from netorch.control.apply.cloud import plan_cloud, plan_destruction
from netorch.control.views.export import export_cloud
from netorch.errors import ApiError
from netorch.model.cloud import Cloud, PeeringDecl, VpcDecl
from netorch.model.routing.peering import REQUEST_S, PeeringConnection, PeeringStatus
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Store
from tests.unit.control.apply.clouds import apply, summary
from tests.unit.control.conftest import Clock, refused

TO_DATA = PeeringDecl(name="to-data", peer="globex/data")


def cloud(
    web: list[PeeringDecl], data: list[PeeringDecl] | None = None, cidr: str = "10.1.0.0/16", vni: int | None = None
) -> Cloud:
    return Cloud(
        name="both",
        vpcs=[
            VpcDecl(name="web", owner="acme", cidrs=["10.0.0.0/16"], peerings=web),
            VpcDecl(name="data", owner="globex", cidrs=[cidr], peerings=data or [], vni=vni),
        ],
    )


def found(store: Store) -> dict[str, list[PeeringConnection]]:
    """Return the connections of each VPC by its name."""
    inventory = read_inventory(store)
    assert inventory.unreadable == []
    return {records.vpc.record.name: list(records.each(PeeringConnection)) for records in inventory.vpcs.values()}


def test_a_connection_in_one_file_is_active_at_once(store: Store, operator: Caller) -> None:
    plan = apply(store, operator, cloud([TO_DATA]))
    assert ("add", "peering", "acme/web/to-data") in summary(plan)
    (own,), (theirs,) = found(store)["web"], found(store)["data"]
    assert (own.status, own.name, own.requested_here) == (PeeringStatus.ACTIVE, "to-data", True)
    assert (theirs.id, theirs.status, theirs.name) == (own.id, PeeringStatus.ACTIVE, "")
    assert plan_cloud(store, operator, cloud([TO_DATA])).changes == ()


def test_what_is_exported_is_found_unchanged(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud([PeeringDecl(name="to-data", peer="globex/data", tags={"a": "b"})]))
    exported = export_cloud(store)
    assert [vpc.peerings for vpc in exported.vpcs] == [[PeeringDecl(name="to-data", peer="globex/data", tags={"a": "b"})], []]
    assert plan_cloud(store, operator, exported).changes == ()


def test_both_vpcs_may_declare_it_each_with_a_name_of_its_own(store: Store, operator: Caller) -> None:
    both = cloud([TO_DATA], [PeeringDecl(name="to-web", peer="acme/web", tags={"x": "y"})])
    apply(store, operator, both)
    (own,), (theirs,) = found(store)["web"], found(store)["data"]
    assert (own.id, own.name, theirs.name, theirs.tags) == (theirs.id, "to-data", "to-web", {"x": "y"})
    assert plan_cloud(store, operator, both).changes == ()
    assert plan_cloud(store, operator, export_cloud(store)).changes == ()


def test_another_owners_vpc_is_asked_by_its_id_and_answers_by_declaring_it_too(
    store: Store, acme: Caller, globex: Caller
) -> None:
    data = vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])
    asking = Cloud(
        vpcs=[VpcDecl(name="web", owner="acme", cidrs=["10.0.0.0/16"], peerings=[PeeringDecl(name="d", peer=data.id)])]
    )
    apply(store, acme, asking)
    (own,) = found(store)["web"]
    assert own.status is PeeringStatus.PENDING
    answer = PeeringDecl(name="w", peer=own.requester.id)
    answering = Cloud(vpcs=[VpcDecl(name="data", owner="globex", cidrs=["10.1.0.0/16"], peerings=[answer])])
    plan = apply(store, globex, answering)
    assert ("change", "peering", "globex/data/w") in summary(plan)
    assert [difference.field for difference in plan.changes[0].differences] == ["status", "name"]
    assert {half.status for halves in found(store).values() for half in halves} == {PeeringStatus.ACTIVE}
    assert plan_cloud(store, acme, asking).changes == ()


def test_anothers_vpc_is_not_found_by_its_name(store: Store, acme: Caller, globex: Caller) -> None:
    vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])
    with refused("InvalidVpcID.NotFound", "globex/data"):
        plan_cloud(store, acme, Cloud(vpcs=[VpcDecl(name="web", owner="acme", cidrs=["10.0.0.0/16"], peerings=[TO_DATA])]))


def test_what_is_no_longer_declared_ends_and_what_others_requested_stays(store: Store, acme: Caller, operator: Caller) -> None:
    apply(store, operator, cloud([TO_DATA]))
    third = vpcs.create_vpc(store, acme, name="third", cidrs=["10.3.0.0/16"])
    web = next(records for records in read_inventory(store).vpcs.values() if records.vpc.record.name == "web").vpc.record
    asked = peerings.request_peering(store, acme, third.id, web.id, name="to-web")
    plan = apply(store, operator, cloud([]))
    assert summary(plan) == [("delete", "peering", "acme/web/to-data")]
    assert plan.changes[0].breaks == "packets between the VPCs are dropped"
    statuses = {half.id: half.status for half in found(store)["web"]}
    assert statuses.pop(asked.id) is PeeringStatus.PENDING
    assert list(statuses.values()) == [PeeringStatus.DELETED]
    assert plan_cloud(store, operator, cloud([])).changes == ()


@pytest.mark.parametrize("moved", ["10.0.3.0/24", "10.0.0.0/16"])
def test_ranges_that_would_overlap_are_refused(store: Store, operator: Caller, moved: str) -> None:
    apply(store, operator, cloud([TO_DATA]))
    with refused("InvalidVpc.Range", f"{moved} overlaps 10.0.0.0/16"):
        plan_cloud(store, operator, cloud([TO_DATA], cidr=moved))


def test_a_declared_connection_that_would_fail_is_an_error_of_the_plan(store: Store, acme: Caller, globex: Caller) -> None:
    """A command makes a failed connection, as in EC2; a file that declares one cannot be applied."""
    data = vpcs.create_vpc(store, globex, name="data", cidrs=["10.0.128.0/20"])
    before = store.revision
    web = VpcDecl(name="web", owner="acme", cidrs=["10.0.0.0/16"], peerings=[PeeringDecl(name="d", peer=data.id)])
    with refused("InvalidParameterValue", "10.0.0.0/16 of acme/web overlaps a range of vpc-"):
        plan_cloud(store, acme, Cloud(vpcs=[web]))
    beside = VpcDecl(name="beside", owner="acme", cidrs=["10.9.0.0/16"])
    plan = plan_cloud(store, acme, Cloud(vpcs=[web, beside]))
    assert [stuck.path for stuck in plan.stuck] == ["acme/web"]
    assert summary(plan) == [("add", "vpc", "acme/beside")]
    assert store.revision == before


def test_who_answers_reads_his_own_name_of_the_connection_in_an_error(store: Store, acme: Caller, globex: Caller) -> None:
    data = vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])
    web = vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])
    peerings.request_peering(store, acme, web.id, data.id, name="d")
    answer = [PeeringDecl(name="w", peer=web.id)]
    answering = VpcDecl(name="data", owner="globex", cidrs=["10.1.0.0/16", "10.0.128.0/20"], peerings=answer)
    with refused("InvalidParameterValue", "peering connection 'w': 10.0.128.0/20 of globex/data overlaps a range of vpc-"):
        plan_cloud(store, globex, Cloud(vpcs=[answering]))


def test_of_two_requests_of_a_pair_a_file_names_the_active_one(store: Store, clock: Clock, acme: Caller, globex: Caller) -> None:
    data = vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])
    web = vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])
    first = peerings.request_peering(store, acme, web.id, data.id, name="d")
    clock.now += REQUEST_S
    second = peerings.request_peering(store, acme, web.id, data.id, name="d")
    clock.now -= REQUEST_S
    answer = VpcDecl(name="data", owner="globex", cidrs=["10.1.0.0/16"], peerings=[PeeringDecl(name="w", peer=web.id)])
    for active in (second, first):
        peerings.accept_peering(store, globex, active.id)
        plan = plan_cloud(store, globex, Cloud(vpcs=[answer]))
        assert [change.resource_id for change in plan.changes] == [active.id]
        peerings.delete_peering(store, globex, active.id)


def test_a_vpc_that_gets_another_vni_gets_its_connection_again(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud([TO_DATA], vni=6000))
    (before,) = found(store)["web"]
    apply(store, operator, cloud([TO_DATA], vni=6001))
    (own,), (theirs,) = found(store)["web"], found(store)["data"]
    assert own.id == theirs.id != before.id
    assert own.peer_vni == 6001


def test_a_destroyed_vpc_takes_its_connections_along(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud([TO_DATA]))
    data = next(records for records in read_inventory(store).vpcs.values() if records.vpc.record.name == "data").vpc.record
    plan = plan_destruction(store, operator, [data.id])
    for step in plan.steps:
        assert step.commit(store)
    assert found(store) == {"web": []}


def test_too_many_are_refused(store: Store, operator: Caller) -> None:
    spokes = [VpcDecl(name=f"s{i}", owner="acme", cidrs=[f"10.{i}.0.0/16"]) for i in range(51)]
    wanted = [PeeringDecl(name=f"s{i}", peer=f"s{i}") for i in range(51)]
    hub = VpcDecl(name="hub", owner="acme", cidrs=["10.200.0.0/16"], peerings=wanted)
    plan = plan_cloud(store, operator, Cloud(vpcs=[*spokes, hub]))
    (stuck,) = plan.stuck
    assert stuck.path == "acme/hub"
    assert isinstance(stuck.error, ApiError)
    assert stuck.error.code == "ActiveVpcPeeringConnectionPerVpcLimitExceeded"
