"""A plan reads the records of the file's owners only, and forgets nothing that the file once made."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from netorch.control.apply.base.reading import cover
from netorch.control.apply.changes import Action
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.model.cloud import Cloud, SubnetDecl, VpcDecl
from netorch.records.caller import Caller
from netorch.store.memory import MemoryStore


@given(st.sets(st.integers(0, 0xFFFFFF) | st.integers(5000, 5400), min_size=1, max_size=300))
def test_prefixes_cover_all_vnis_and_few_others(vnis: set[int]) -> None:
    found = cover(vnis)
    assert len(found) <= len(vnis)
    assert all(sum(f"{vni:06x}".startswith(prefix) for prefix in found) == 1 for vni in vnis)
    assert sum(16 ** (6 - len(prefix)) for prefix in found) <= 4 * len(vnis)


def test_vnis_in_a_row_are_one_listing() -> None:
    assert cover(range(0x001300, 0x001400)) == ["0013"]
    assert cover([]) == []


def test_a_file_deletes_the_vpc_of_an_owner_that_it_no_longer_names() -> None:
    store, operator = MemoryStore(), Caller(operator=True)
    one, other = (VpcDecl(name="web", owner=owner, cidrs=["10.0.0.0/16"]) for owner in ("acme", "globex"))
    both = Cloud(name="all", vpcs=[one, other])
    apply_cloud(store, plan_cloud(store, operator, both))
    assert not plan_cloud(store, operator, both).steps
    for vpcs in ([one], []):
        plan = plan_cloud(store, operator, msgspec.structs.replace(both, vpcs=vpcs))
        assert [(change.action, change.owner) for change in plan.changes if change.kind == "vpc"] == [
            (Action.DELETE, "globex" if vpcs else "acme")
        ]
        apply_cloud(store, plan)


def test_a_file_knows_the_owners_of_its_path_after_it_gets_a_name() -> None:
    store, operator = MemoryStore(), Caller(operator=True)
    decl = VpcDecl(name="web", owner="acme", cidrs=["10.0.0.0/16"])
    apply_cloud(store, plan_cloud(store, operator, Cloud(vpcs=[decl]), source="/srv/vpc.yaml"))
    plan = plan_cloud(store, operator, Cloud(name="all"), source="/srv/vpc.yaml")
    assert [change.action for change in plan.changes] == [Action.DELETE]


def test_a_vpc_of_four_subnets_is_15_keys_and_1700_bytes() -> None:
    store, operator = MemoryStore(), Caller(operator=True)
    subnets = [SubnetDecl(name=name, cidr=f"10.44.{4 * k}.0/22") for k, name in enumerate(("web", "app", "db", "mgmt"))]
    decl = VpcDecl(name="vpc-00001", owner="customer-001", vni=5000, cidrs=["10.44.0.0/20"], subnets=subnets)
    apply_cloud(store, plan_cloud(store, operator, Cloud(vpcs=[decl])))
    found = store.list("").kvs
    assert len(found) == 15
    assert sum(len(kv.key) + len(kv.value) for kv in found) < 1700
