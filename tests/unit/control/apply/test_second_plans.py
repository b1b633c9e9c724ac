"""The cloud changes between a plan and its apply: when the apply plans again, and when it is refused."""

from __future__ import annotations

from functools import partial

import pytest

from netorch.control.actions import enis, instances
from netorch.control.actions.instances import RunRequest
from netorch.control.actions.permissions import Permission, authorize
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.describe import describe_vpcs
from netorch.errors import Conflict
from netorch.model.cloud import (
    Cloud,
    IngressDecl,
    InstanceDecl,
    SecurityGroupDecl,
    SubnetDecl,
)
from netorch.model.eni import Instance
from netorch.model.security import Direction, SecurityGroup
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Store
from tests.unit.control.apply.clouds import (
    CLOUD,
    HOSTS,
    INSTANCES,
    SOURCE,
    SUBNETS,
    acme,
    apply,
    records,
    small,
)


def test_a_cloud_that_changed_after_the_plan_is_left_alone(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    plan = plan_cloud(store, operator, acme(instances=[], subnets=SUBNETS[:1]))
    subnet = next(stored.record for stored in records(store).of(Subnet).values() if stored.record.name == "b")
    enis.create_network_interface(store, operator, subnet.id)
    before = store.revision()
    with pytest.raises(Conflict, match="plan again"):
        apply_cloud(store, plan, allow_mass_delete=True)
    assert store.revision() == before


def test_applies_of_different_things_at_the_same_moment_do_not_refuse_each_other(
    store: Store, operator: Caller, acme: Caller
) -> None:
    apply(store, operator, Cloud(hosts=HOSTS))
    fill = {"subnets": [SubnetDecl(name="s", cidr="10.0.0.0/24")], "instances": [InstanceDecl(name="i")]}
    clouds = [Cloud(vpcs=[small(f"v{n}", owner=owner, **fill)]) for n, owner in enumerate(("default", "acme", "globex"))]
    plans = [plan_cloud(store, operator, cloud, source=f"/srv/{n}.yaml") for n, cloud in enumerate(clouds)]
    apply_cloud(store, plans[0])
    with pytest.raises(Conflict):
        apply_cloud(store, plans[1])  # without permission to plan again, only the first plan may be applied
    for n in (1, 2):
        apply_cloud(store, plans[n], again=partial(plan_cloud, store, operator, clouds[n], source=f"/srv/{n}.yaml"))
    assert {vpc.name for vpc in describe_vpcs(read_inventory(store), operator)} == {"v0", "v1", "v2"}
    assert read_inventory(store).unreadable == []


def test_a_second_plan_that_does_more_than_was_shown_is_not_carried_out(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    wanted = acme(instances=INSTANCES[:1])
    plan = plan_cloud(store, operator, wanted, source=SOURCE)
    subnet = next(stored.record for stored in records(store).of(Subnet).values() if stored.record.name == "a")
    instances.run_instance(
        store, operator, RunRequest(name="new", subnet=subnet.id, host="hv1")
    )  # the file would end this instance, too
    gone = next(stored.record for stored in records(store).of(Instance).values() if stored.record.name == "w2")
    instances.terminate_instance(store, operator, gone.id)
    before = store.revision()
    with pytest.raises(Conflict):
        apply_cloud(store, plan, again=lambda: plan_cloud(store, operator, wanted, source=SOURCE))
    assert store.revision() == before


def test_a_second_plan_that_takes_back_what_somebody_else_did_is_not_carried_out(store: Store, operator: Caller) -> None:
    group = SecurityGroupDecl(name="g", ingress=[IngressDecl(protocol="tcp", ports="443", source="10.0.0.0/8")])
    apply(store, operator, Cloud(vpcs=[small("web", security_groups=[SecurityGroupDecl(name="g")])]))
    wanted = Cloud(vpcs=[small("web", security_groups=[group])])
    plan = plan_cloud(store, operator, wanted, source=SOURCE)
    (found,) = read_inventory(store).vpcs.values()
    group_id = next(stored.record.id for stored in found.of(SecurityGroup).values() if stored.record.name == "g")
    authorize(store, operator, group_id, Direction.INGRESS, [Permission(protocol="tcp", ports="22", peer="10.0.0.0/8")])
    before = store.revision()
    with pytest.raises(Conflict):  # the file would close port 22 again, which the first plan did not show
        apply_cloud(store, plan, again=lambda: plan_cloud(store, operator, wanted, source=SOURCE))
    assert store.revision() == before
