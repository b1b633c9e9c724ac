"""Private zones: actions, their copies in VPCs, and refused domains and records."""

from __future__ import annotations

import pytest

from netorch.control.actions import vpcs
from netorch.control.actions.services.zones import (
    associate_zone,
    create_zone,
    delete_record,
    delete_zone,
    describe_zones,
    disassociate_zone,
    put_record,
)
from netorch.control.base.quotas import set_quotas
from netorch.errors import ApiError
from netorch.model.services.zones import PrivateZone, RecordSet, RecordType, VpcZone, master_text
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.names import wrong_names
from netorch.store.base import Store

ACME = Caller(owner="acme")


def vpc(store: Store, name: str, caller: Caller = ACME) -> Vpc:
    return vpcs.create_vpc(store, caller, name=name, cidrs=["10.0.0.0/16"])


def clean(store: Store) -> dict[str, list[VpcZone]]:
    """Check that all records can be read, that copies equal zones, and that uses belong to copies; return the copies."""
    inventory = read_inventory(store)
    assert [str(error) for error in inventory.unreadable] == []
    assert list(map(str, wrong_names(inventory))) == []
    found: dict[str, list[VpcZone]] = {}
    uses = set()
    for records in inventory.vpcs.values():
        of = records.vpc.record
        for copy in records.each(VpcZone):
            zone = inventory.zones[copy.zone].record
            assert (copy.domain, copy.records, zone.owner) == (zone.domain, zone.records, of.owner)
            found.setdefault(of.name, []).append(copy)
            uses.add(f"alloc/zone/{zone.owner}/{zone.id}/{of.id}")
    assert {kv.key for kv in store.list("alloc/zone/").kvs} == uses
    return found


def a(name: str, *values: str, type: RecordType = RecordType.A) -> RecordSet:
    return RecordSet(name=name, type=type, values=values)


def test_a_zone_is_answered_in_the_vpcs_that_are_associated_with_it(store: Store) -> None:
    web, db = vpc(store, "web"), vpc(store, "db")
    zone = create_zone(store, ACME, web.id, name="Corp.Example.")
    assert (zone.name, zone.domain) == ("Corp.Example.", "corp.example")
    put_record(store, ACME, zone.id, a("DB", "10.0.0.9", "10.0.0.5", "10.0.0.5"))
    associate_zone(store, ACME, zone.id, db.id)
    put_record(store, ACME, zone.id, a("corp.example", "10 Mail.Corp.Example.", type=RecordType.MX))
    copies = clean(store)
    assert sorted(copies) == ["db", "web"]
    assert [(one.name, one.values) for one in copies["db"][0].records] == [
        ("@", ("10 mail.corp.example",)),
        ("db", ("10.0.0.5", "10.0.0.9")),
    ]
    disassociate_zone(store, ACME, zone.id, web.id)
    delete_record(store, ACME, zone.id, "db.corp.example", RecordType.A)
    assert {name: len(found[0].records) for name, found in clean(store).items()} == {"db": 1}


def test_a_name_stays_as_it_is_when_another_one_changes(store: Store) -> None:
    zone = create_zone(store, ACME, vpc(store, "web").id, name="corp.example")
    for twice in ("db.corp.example.corp.example", "corp.example.corp.example."):
        with pytest.raises(ApiError, match="has the domain twice") as refused:
            put_record(store, ACME, zone.id, a(twice, "10.0.0.9"))
        assert refused.value.code == "InvalidChangeBatch"
    put_record(store, ACME, zone.id, a("db.corp.example", "10.0.0.9"))
    assert [one.name for one in put_record(store, ACME, zone.id, a("web", "10.0.0.5")).records] == ["db", "web"]


def test_an_association_that_is_there_writes_nothing(store: Store) -> None:
    web = vpc(store, "web")
    zone = create_zone(store, ACME, web.id, name="corp.example")
    put_record(store, ACME, zone.id, a("db", "10.0.0.9"))
    revision = store.revision()
    associate_zone(store, ACME, zone.id, web.id)
    put_record(store, ACME, zone.id, a("db", "10.0.0.9"))
    assert store.revision() == revision


def test_the_last_vpc_and_a_zone_with_record_sets_stay(store: Store) -> None:
    web = vpc(store, "web")
    zone = create_zone(store, ACME, web.id, name="corp.example")
    put_record(store, ACME, zone.id, a("db", "10.0.0.9"))
    with pytest.raises(ApiError, match="LastVPCAssociation"):
        disassociate_zone(store, ACME, zone.id, web.id)
    with pytest.raises(ApiError, match="VPCAssociationNotFound"):
        disassociate_zone(store, ACME, zone.id, vpc(store, "other").id)
    with pytest.raises(ApiError, match="HostedZoneNotEmpty"):
        delete_zone(store, ACME, zone.id)
    delete_record(store, ACME, zone.id, "db", RecordType.A)
    delete_zone(store, ACME, zone.id)
    assert (clean(store), describe_zones(store, ACME)) == ({}, [])
    assert store.list("alloc/use/zone/").kvs == ()


def test_a_vpc_takes_its_associations_along(store: Store) -> None:
    web = vpc(store, "web")
    zone = create_zone(store, ACME, web.id, name="corp.example")
    vpcs.delete_vpc(store, ACME, web.id)
    assert clean(store) == {}
    put_record(store, ACME, zone.id, a("db", "10.0.0.9"))
    again = vpc(store, "again")
    associate_zone(store, ACME, zone.id, again.id)
    assert [one.name for one in clean(store)["again"][0].records] == ["db"]


def test_nothing_of_another_owner_is_there(store: Store, operator: Caller) -> None:
    web, other = vpc(store, "web"), vpc(store, "web", Caller(owner="globex"))
    zone = create_zone(store, ACME, web.id, name="corp.example")
    for caller in (ACME, operator):
        with pytest.raises(ApiError, match=r"InvalidVpcID\.NotFound"):
            associate_zone(store, caller, zone.id, other.id)
    with pytest.raises(ApiError, match="NoSuchHostedZone"):
        put_record(store, Caller(owner="globex"), zone.id, a("db", "10.0.0.9"))
    assert describe_zones(store, Caller(owner="globex")) == []
    create_zone(store, Caller(owner="globex"), other.id, name="corp.example")
    assert len(clean(store)) == 1


def test_a_vpc_has_one_zone_of_a_domain_and_an_owner_one_of_a_name(store: Store) -> None:
    web, db = vpc(store, "web"), vpc(store, "db")
    create_zone(store, ACME, web.id, name="corp.example")
    with pytest.raises(ApiError, match="HostedZoneAlreadyExists"):
        create_zone(store, ACME, db.id, name="corp.example")
    with pytest.raises(ApiError, match="ConflictingDomainExists"):
        create_zone(store, ACME, web.id, name="other", domain="corp.example")
    second = create_zone(store, ACME, db.id, name="other", domain="corp.example")
    with pytest.raises(ApiError, match="ConflictingDomainExists"):
        associate_zone(store, ACME, second.id, web.id)
    create_zone(store, ACME, web.id, name="a.corp.example")
    clean(store)


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ("-a.example", "is not a domain name"),
        ("a..example", "is not a domain name"),
        ("a" * 64 + ".example", "is not a domain name"),
        ("a.compute.internal", "whose names netorch generates"),
        ("netorch.internal", "whose names netorch generates"),
    ],
)
def test_a_domain_that_no_zone_can_have_is_refused(store: Store, domain: str, said: str) -> None:
    with pytest.raises(ApiError, match="InvalidDomainName") as caught:
        create_zone(store, ACME, vpc(store, "web").id, name="corp", domain=domain)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (a("db", "10.0.0.300"), "is not an IPv4 address"),
        (a("db", "10.0.0.1", type=RecordType.AAAA), "is not an IPv6 address"),
        (a("db"), "the record has no values"),
        (a("d b", "10.0.0.1"), "is not a name"),
        (a("a.*", "10.0.0.1"), "is not a name"),
        (a("@", "db.example", type=RecordType.CNAME), "cannot be an alias"),
        (a("db", "a.example", "b.example", type=RecordType.CNAME), "has 2 targets"),
        (a("www", "a.example", type=RecordType.CNAME), "is an alias"),
        (a("db", "mail.example", type=RecordType.MX), "is not a value of such a record"),
        (a("db", "70000 mail.example", type=RecordType.MX), "is not a value of such a record"),
        (a("db", "0 5 5432", type=RecordType.SRV), "is not a value of such a record"),
        (a("db", 'say "hi"', type=RecordType.TXT), "is not a text"),
        (a("db", "caf\u00e9", type=RecordType.TXT), "is not a text"),
        (a("db", *(f"10.1.{k // 256}.{k % 256}" for k in range(600))), "bytes of an answer"),
        (a("db", *("\\" * 3990 + f"{k}" for k in range(4)), type=RecordType.TXT), "bytes of an answer"),
        (RecordSet(name="db", type=RecordType.A, ttl=-1, values=("10.0.0.1",)), "TTL -1 is out of range"),
    ],
)
def test_a_record_set_that_nobody_can_be_answered_with_is_refused(store: Store, record: RecordSet, said: str) -> None:
    zone = create_zone(store, ACME, vpc(store, "web").id, name="corp.example")
    put_record(store, ACME, zone.id, a("www", "10.0.0.1"))
    with pytest.raises(ApiError, match="InvalidChangeBatch") as caught:
        put_record(store, ACME, zone.id, record)
    assert said in str(caught.value)
    with pytest.raises(ApiError, match="InvalidChangeBatch"):
        delete_record(store, ACME, zone.id, "nothing", RecordType.A)


def test_limits_hold(store: Store) -> None:
    set_quotas(store, "acme", {"private_zones": 1, "vpcs_per_zone": 1, "record_sets_per_zone": 1})
    web, db = vpc(store, "web"), vpc(store, "db")
    zone = create_zone(store, ACME, web.id, name="corp.example")
    put_record(store, ACME, zone.id, a("db", "10.0.0.9"))
    put_record(store, ACME, zone.id, a("db", "10.0.0.8"))
    with pytest.raises(ApiError, match="TooManyHostedZones"):
        create_zone(store, ACME, db.id, name="other.example")
    with pytest.raises(ApiError, match="LimitsExceeded"):
        associate_zone(store, ACME, zone.id, db.id)
    with pytest.raises(ApiError, match="LimitsExceeded"):
        put_record(store, ACME, zone.id, a("web", "10.0.0.9"))


def test_a_zone_with_all_that_it_may_have_fits_into_one_transaction_with_all_its_vpcs(store: Store) -> None:
    all_vpcs = [vpc(store, f"v{k}") for k in range(20)]
    zone: PrivateZone = create_zone(store, ACME, all_vpcs[0].id, name="corp.example")
    for each in all_vpcs[1:]:
        associate_zone(store, ACME, zone.id, each.id)
    for k in range(3):
        put_record(store, ACME, zone.id, a(f"text{k}", *(f"{n}{'x' * 3900}" for n in range(4)), type=RecordType.TXT))
    put_record(store, ACME, zone.id, a("text3", *(f"{n}{'x' * 3200}" for n in range(3)), type=RecordType.TXT))
    with pytest.raises(ApiError, match="57344"):
        put_record(store, ACME, zone.id, a("text4", "x" * 4000, type=RecordType.TXT))
    assert len(clean(store)) == 20


def test_a_long_text_is_several_strings() -> None:
    (text,) = master_text(a("t", "x" * 300 + "\\", type=RecordType.TXT))
    assert text == f'"{"x" * 255}" "{"x" * 45}\\\\"'
