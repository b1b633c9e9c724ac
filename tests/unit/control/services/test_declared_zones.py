"""Private zones in files: planned, exported, adopted, deleted."""

from __future__ import annotations

import pytest

from netorch.control.actions import vpcs
from netorch.control.actions.services.zones import associate_zone, describe_zones, put_record
from netorch.control.apply.changes import Action
from netorch.control.apply.cloud import apply_cloud, plan_destruction
from netorch.control.views.export import export_inventory
from netorch.errors import ApiError, SpecError
from netorch.model.services.zones import RecordSet, RecordType
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.spec.export import to_yaml
from netorch.store.base import Store
from tests.unit.control.services.test_dhcp_options import planned
from tests.unit.control.services.test_zones import ACME, clean

VPCS = """
name: named
vpcs:
- {name: web, owner: acme, cidrs: [10.0.0.0/16], enable_dns_hostnames: true}
- {name: db, owner: acme, cidrs: [10.0.0.0/16]}
"""
ZONE = """
private_zones:
- name: Corp.example
  owner: acme
  vpcs: [web, db]
  records:
  - {name: db.corp.example, type: A, values: [10.0.0.9, 10.0.0.5]}
  - {name: "@", type: MX, ttl: 60, values: [10 Mail.corp.example.]}
"""


def applied(store: Store, caller: Caller, text: str) -> list[tuple[str, str, str]]:
    plan = planned(store, caller, text)
    assert [str(stuck.error) for stuck in plan.stuck] == []
    apply_cloud(store, plan)
    assert planned(store, caller, text).changes == ()
    clean(store)
    return [(change.action.value, change.kind, change.name) for change in plan.changes]


def associated(store: Store) -> dict[str, list[str]]:
    return {name: [copy.domain for copy in copies] for name, copies in clean(store).items()}


def test_a_file_declares_zones_with_their_vpcs_and_records(store: Store, operator: Caller) -> None:
    assert applied(store, operator, VPCS + ZONE)[-1] == ("add", "private-zone", "Corp.example")
    assert associated(store) == {"web": ["corp.example"], "db": ["corp.example"]}
    exported = to_yaml(export_inventory(read_inventory(store), operator))
    assert planned(store, operator, "name: named\n" + exported).changes == ()
    other = ZONE.replace("[web, db]", "[web]").replace(", 10.0.0.5", "")
    (change,) = planned(store, operator, VPCS + other).changes
    assert [(one.field, one.before, one.after) for one in change.differences] == [
        ("records", "db 300 A 10.0.0.5, 10.0.0.9", ""),
        ("records", "", "db 300 A 10.0.0.9"),
        ("vpcs", "db", ""),
    ]
    assert applied(store, operator, VPCS + other) == [("change", "private-zone", "Corp.example")]
    assert associated(store) == {"web": ["corp.example"]}
    assert applied(store, operator, VPCS) == [("delete", "private-zone", "Corp.example")]
    assert (associated(store), describe_zones(store, operator)) == ({}, [])


def test_zones_of_one_domain_change_places(store: Store, operator: Caller) -> None:
    both = "private_zones:\n- {name: a, owner: acme, domain: corp.example, vpcs: [%s]}\n"
    both += "- {name: b, owner: acme, domain: corp.example, vpcs: [%s]}\n"
    applied(store, operator, VPCS + both % ("web", "db"))
    assert applied(store, operator, VPCS + both % ("db", "web")) == [
        ("change", "private-zone", "a"),
        ("change", "private-zone", "b"),
    ]
    assert associated(store) == {"web": ["corp.example"], "db": ["corp.example"]}


def test_a_vpc_that_a_file_deletes_or_makes_again_is_left_or_joined(store: Store, operator: Caller) -> None:
    applied(store, operator, VPCS + ZONE)
    applied(store, operator, VPCS.replace("name: web, owner: acme,", "name: web, owner: acme, vni: 7777,") + ZONE)
    assert associated(store) == {"web": ["corp.example"], "db": ["corp.example"]}
    less = VPCS.replace("- {name: db, owner: acme, cidrs: [10.0.0.0/16]}\n", "")
    applied(store, operator, less + ZONE.replace("[web, db]", "[web]"))
    assert associated(store) == {"web": ["corp.example"]}
    (web,) = (records.vpc.record.id for records in read_inventory(store).vpcs.values())
    apply_cloud(store, plan_destruction(store, operator, [web]))
    assert associated(store) == {}


def test_what_commands_made_is_no_files_but_may_be_declared(store: Store, operator: Caller) -> None:
    applied(store, operator, VPCS + ZONE)
    (info,) = describe_zones(store, ACME)
    third = vpcs.create_vpc(store, ACME, name="third", cidrs=["10.0.0.0/16"])
    associate_zone(store, ACME, info.found.id, third.id)
    put_record(store, ACME, info.found.id, RecordSet(name="by-hand", type=RecordType.A, values=("10.0.0.7",)))
    assert applied(store, operator, VPCS + ZONE) == [("change", "private-zone", "Corp.example")]
    assert sorted(associated(store)) == ["db", "web"]
    with pytest.raises(ApiError, match=r"InvalidVpcID\.NotFound.*nobody"):
        planned(store, operator, VPCS + ZONE.replace("[web, db]", "[nobody]"))
    with pytest.raises(ApiError, match="cannot be changed"):
        planned(store, operator, VPCS + ZONE.replace("name: Corp.example", "name: Corp.example\n  domain: other.example"))
    assert [change.action for change in planned(store, Caller(owner="acme"), VPCS + ZONE).changes] == []
    with pytest.raises(ApiError, match="UnauthorizedOperation"):
        planned(store, Caller(owner="globex"), ZONE)
    assert Action.DELETE not in {change.action for change in planned(store, operator, "name: another\n").changes}


def test_a_file_that_changes_anothers_zone_owns_it_from_then_on(store: Store, operator: Caller) -> None:
    applied(store, operator, VPCS + ZONE)
    other = VPCS.replace("name: named", "name: other") + ZONE
    assert planned(store, operator, other).changes == ()
    assert applied(store, operator, other.replace(", 10.0.0.5", "")) == [("change", "private-zone", "Corp.example")]
    assert applied(store, operator, VPCS) == []
    assert applied(store, operator, VPCS.replace("name: named", "name: other")) == [("delete", "private-zone", "Corp.example")]


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ("10.0.0.9,", "10.0.0.900,", "$.private_zones[0].records[0].values"),
        ('"@", type: MX', '"@", type: CNAME', "$.private_zones[0].records[1].values"),
        ("name: db.corp.example", 'name: "d b"', "$.private_zones[0].records[0]"),
        ("name: Corp.example", "name: compute.internal", "$.private_zones[0].name"),
        ("vpcs: [web, db]", "vpcs: []", "$.private_zones[0].vpcs"),
        ("type: A", "type: NS", "$.private_zones[0].records[0].type"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(store: Store, operator: Caller, before: str, after: str, where: str) -> None:
    with pytest.raises(SpecError) as caught:
        planned(store, operator, VPCS + ZONE.replace(before, after))
    assert where in str(caught.value)
