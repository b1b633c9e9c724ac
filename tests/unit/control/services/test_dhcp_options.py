"""DHCP options sets: actions, files, and the copies in VPCs."""

from __future__ import annotations

import pytest

from netorch.control.actions import vpcs
from netorch.control.actions.services.dhcp_options import (
    associate_dhcp_options,
    create_dhcp_options,
    delete_dhcp_options,
    describe_dhcp_options,
)
from netorch.control.apply.changes import CloudPlan
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.control.views.export import export_inventory
from netorch.errors import ApiError
from netorch.model.services.dhcp_options import DEFAULT_OPTIONS, DhcpOptions
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.names import wrong_names
from netorch.spec import load_cloud
from netorch.spec.export import to_yaml
from netorch.store.base import Store

CORP = DhcpOptions(domain_name="corp.example.com", domain_name_servers=("10.0.0.9",))
ACME = Caller(owner="acme")
FILE = """
name: told
dhcp_options:
- {name: corp, owner: acme, domain_name: Corp.example.com, domain_name_servers: [AmazonProvidedDNS], ntp_servers: [10.0.0.7]}
vpcs:
- {name: web, owner: acme, cidrs: [10.0.0.0/16], dhcp_options: corp}
"""


def planned(store: Store, caller: Caller, text: str) -> CloudPlan:
    return plan_cloud(store, caller, load_cloud("vpc.yaml", text), source="/vpc.yaml", is_there=lambda _: True)


def applied(store: Store, caller: Caller, text: str) -> list[tuple[str, str, str]]:
    plan = planned(store, caller, text)
    assert [str(stuck.error) for stuck in plan.stuck] == []
    apply_cloud(store, plan)
    assert planned(store, caller, text).changes == ()
    clean(store)
    return [(change.action.value, change.kind, change.name) for change in plan.changes]


def clean(store: Store) -> None:
    """Check that all records can be read, and that each use belongs to a VPC."""
    inventory = read_inventory(store)
    assert [str(error) for error in inventory.unreadable] == []
    assert list(map(str, wrong_names(inventory))) == []
    found = (records.vpc.record for records in inventory.vpcs.values())
    assert {kv.key for kv in store.list("alloc/dopt/").kvs} == {
        f"alloc/dopt/{vpc.owner}/{vpc.dhcp_options}/{vpc.id}" for vpc in found if vpc.dhcp_options
    }


def only_vpc(store: Store) -> Vpc:
    (records,) = read_inventory(store).vpcs.values()
    return records.vpc.record


def test_a_vpc_has_the_default_set_or_a_copy_of_another(store: Store) -> None:
    vpc = vpcs.create_vpc(store, ACME, name="web", cidrs=["10.0.0.0/16"])
    assert (vpc.dhcp_options, vpc.dhcp) == ("", DEFAULT_OPTIONS)
    made = create_dhcp_options(store, ACME, name="corp", options=CORP)
    changed = associate_dhcp_options(store, ACME, made.id, vpc.id)
    assert (changed.dhcp_options, changed.dhcp) == (made.id, CORP)
    assert describe_dhcp_options(store, ACME)[0].vpcs == (vpc.id,)
    with pytest.raises(ApiError, match="DependencyViolation"):
        delete_dhcp_options(store, ACME, made.id)
    assert associate_dhcp_options(store, ACME, "", vpc.id) == vpc
    delete_dhcp_options(store, ACME, made.id)
    clean(store)
    assert describe_dhcp_options(store, ACME) == []
    assert store.list("alloc/use/dopt/").kvs == ()


def test_a_vpc_takes_its_association_along(store: Store) -> None:
    vpc = vpcs.create_vpc(store, ACME, name="web", cidrs=["10.0.0.0/16"])
    made = create_dhcp_options(store, ACME, options=CORP)
    associate_dhcp_options(store, ACME, made.id, vpc.id)
    vpcs.delete_vpc(store, ACME, vpc.id)
    delete_dhcp_options(store, ACME, made.id)
    clean(store)


def test_a_set_of_another_owner_is_not_there(store: Store, operator: Caller) -> None:
    vpc = vpcs.create_vpc(store, ACME, name="web", cidrs=["10.0.0.0/16"])
    other = create_dhcp_options(store, Caller(owner="globex"), name="corp", options=CORP)
    for caller in (ACME, operator):
        with pytest.raises(ApiError, match=r"InvalidDhcpOptionID\.NotFound"):
            associate_dhcp_options(store, caller, other.id, vpc.id)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (DhcpOptions(), "the set has no options"),
        (DhcpOptions(domain_name="-a.example"), "is not a domain name"),
        (DhcpOptions(domain_name="a b"), "is not a domain name"),
        (DhcpOptions(domain_name="a." * 127 + "example"), "is not a domain name"),
        (DhcpOptions(domain_name_servers=("10.0.0.1", "provided")), "provided is listed with other servers"),
        (DhcpOptions(domain_name_servers=("fd00::1",)), "is not an IPv4 address"),
        (DhcpOptions(domain_name_servers=("10.0.0.01",)), "is not an IPv4 address"),
        (DhcpOptions(domain_name_servers=("127.0.0.1",)), "is not a host address"),
        (DhcpOptions(ntp_servers=("255.255.255.255",)), "is not a host address"),
        (DhcpOptions(ntp_servers=("provided",)), "is not an IPv4 address"),
        (DhcpOptions(ntp_servers=("10.0.0.1", "10.0.0.1")), "is listed twice"),
        (DhcpOptions(ntp_servers=tuple(f"10.0.0.{k}" for k in range(1, 6))), "there are 5 servers"),
        (DhcpOptions(netbios_node_type=3), "3 is not a type of NetBIOS nodes"),
    ],
)
def test_what_nobody_can_be_told_is_refused(store: Store, options: DhcpOptions, said: str) -> None:
    with pytest.raises(ApiError, match="InvalidParameterValue") as caught:
        create_dhcp_options(store, ACME, name="corp", options=options)
    assert said in str(caught.value)


def test_a_name_is_an_owners_only_one(store: Store) -> None:
    create_dhcp_options(store, ACME, name="corp", options=CORP)
    create_dhcp_options(store, Caller(owner="globex"), name="corp", options=CORP)
    for name in ("corp", "default"):
        with pytest.raises(ApiError, match="InvalidParameterValue"):
            create_dhcp_options(store, ACME, name=name, options=CORP)


def test_a_file_declares_sets_and_associations(store: Store, operator: Caller) -> None:
    assert applied(store, operator, FILE) == [("add", "dhcp-options", "corp"), ("add", "vpc", "web")]
    told = only_vpc(store).dhcp
    assert (told.domain_name, told.domain_name_servers, told.ntp_servers) == ("corp.example.com", ("provided",), ("10.0.0.7",))
    exported = to_yaml(export_inventory(read_inventory(store), operator))
    assert planned(store, operator, "name: told\n" + exported).changes == ()
    without = FILE.replace(", dhcp_options: corp", "")
    assert applied(store, operator, without) == [("change", "vpc", "web")]
    assert only_vpc(store).dhcp == DEFAULT_OPTIONS
    assert applied(store, operator, FILE) == [("change", "vpc", "web")]
    gone = "\n".join(line for line in without.splitlines() if "corp" not in line and "dhcp_options" not in line)
    assert applied(store, operator, gone) == [("change", "vpc", "web"), ("delete", "dhcp-options", "corp")]


def test_a_set_stays_that_is_in_use_by_another_file(store: Store, operator: Caller) -> None:
    applied(store, operator, FILE)
    other = vpcs.create_vpc(store, ACME, name="other", cidrs=["10.1.0.0/16"])
    (found,) = describe_dhcp_options(store, ACME)
    associate_dhcp_options(store, ACME, found.found.id, other.id)
    assert applied(store, operator, "name: told\nvpcs:\n- {name: web, owner: acme, cidrs: [10.0.0.0/16]}\n") == [
        ("change", "vpc", "web")
    ]
    apply_cloud(store, plan_destruction(store, operator, [other.id]))
    clean(store)


def test_a_set_that_says_something_else_needs_another_name(store: Store, operator: Caller) -> None:
    applied(store, operator, FILE)
    with pytest.raises(ApiError, match="cannot be changed"):
        planned(store, operator, FILE.replace("10.0.0.7", "10.0.0.8"))


def test_a_vpc_that_names_what_is_not_there_is_left_out(store: Store, operator: Caller) -> None:
    plan = planned(store, operator, FILE.replace("dhcp_options: corp", "dhcp_options: other"))
    assert [stuck.path for stuck in plan.stuck] == ["acme/web"]
    assert "InvalidDhcpOptionID.NotFound" in str(plan.stuck[0].error)
