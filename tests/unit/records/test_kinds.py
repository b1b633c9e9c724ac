"""A kind of resource is one entry in the table: an entry in this test alone gives a kind all common behaviour."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netorch.agent.records import Records
from netorch.compiler.registry import check_coverage, load_compilers
from netorch.control.actions import subnets, vpcs
from netorch.control.actions.repair import damaged
from netorch.control.actions.tags import set_tags
from netorch.control.base.named import add_name
from netorch.control.base.writes import Writes
from netorch.control.views.describe import names_by_id, resolve, resource_names
from netorch.errors import ApiError, CompileError
from netorch.model.record import Record
from netorch.model.vpc import Subnet, Tags, Vpc
from netorch.records import keys, kinds
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.kind import Kind
from netorch.records.read import read, read_all
from netorch.records.valid.needs import Invalid
from netorch.records.valid.refers import Reference
from netorch.store.base import Delete, Put
from netorch.store.memory import MemoryStore


class Beacon(Record, frozen=True):
    """A resource in a subnet."""

    id: str
    vni: int
    name: str
    subnet: str
    tags: Tags = {}  # noqa: RUF012 - a struct copies it


def _refers(beacon: Beacon) -> Iterator[Reference]:
    yield Subnet, beacon.subnet


def _check(key: str, beacon: Beacon) -> None:
    if key != keys.resource(beacon.id):
        raise Invalid("it is another one's")


BEACON = Kind(
    type=Beacon,
    prefix="beacon",
    noun="beacon",
    command="beacon",
    not_found="InvalidBeaconID.NotFound",
    check=_check,
    refers=_refers,
)


def store_beacon(store: MemoryStore, vpc: Vpc, beacon: Beacon) -> None:
    writes = Writes()
    writes.create(keys.resource(beacon.id), beacon)
    add_name(writes, vpc, beacon)
    assert writes.commit(store)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryStore, Caller, Vpc, Subnet, Beacon]:
    """Return a store with a resource of the new kind."""
    monkeypatch.setitem(kinds.BY_PREFIX, "beacon", BEACON)
    monkeypatch.setitem(kinds.BY_TYPE, Beacon, BEACON)
    store, caller = MemoryStore(), Caller(operator=True)
    vpc = vpcs.create_vpc(store, caller, name="web", cidrs=["10.0.0.0/16"])
    subnet = subnets.create_subnet(store, caller, vpc.id, name="a", cidr="10.0.0.0/24")
    beacon = Beacon(id=caller.new_id("beacon", vpc.vni), vni=vpc.vni, name="light", subnet=subnet.id)
    store_beacon(store, vpc, beacon)
    return store, caller, vpc, subnet, beacon


Made = tuple[MemoryStore, Caller, Vpc, Subnet, Beacon]


def test_it_is_read_listed_and_found_by_name(made: Made) -> None:
    store, caller, vpc, _, beacon = made
    assert read(store, caller, Beacon, beacon.id)[1].record == beacon
    assert list(read_all(store, Beacon, vpc.vni)) == [beacon.id]
    inventory = read_inventory(store)
    assert list(inventory.vpcs[vpc.vni].each(Beacon)) == [beacon]
    assert resolve(inventory, caller, "beacon", "web/light")[1] == beacon
    assert resource_names(inventory, caller, "beacon") == ["web/light"]
    assert names_by_id(inventory, caller)[beacon.id] == "light"
    with pytest.raises(ApiError, match=r"InvalidBeaconID.NotFound: beacon .* `netorch beacon list`"):
        read(store, caller, Beacon, keys.resource(beacon.id))


def test_what_it_refers_to_must_exist_and_names_are_unique(made: Made) -> None:
    store, caller, vpc, subnet, beacon = made
    twin = Beacon(id=caller.new_id("beacon", vpc.vni), vni=vpc.vni, name="light", subnet=subnet.id)
    store_beacon(store, vpc, twin)
    assert {keys.resource(beacon.id), keys.resource(twin.id)} == set(damaged(store))
    store.txn((), [Delete(keys.resource(twin.id)), Delete(keys.resource(subnet.id))])
    assert set(damaged(store)) == {keys.resource(subnet.id)}
    assert vpc.vni in read_inventory(store).isolated


def test_it_is_tagged_and_keeps_its_vpc(made: Made) -> None:
    store, caller, vpc, subnet, beacon = made
    set_tags(store, caller, "beacon", beacon.id, {"colour": "red"})
    assert read(store, caller, Beacon, beacon.id)[1].record.tags == {"colour": "red"}
    store.txn((), [Delete(keys.resource(subnet.id))])
    with pytest.raises(ApiError, match=r"DependencyViolation: .* 1 beacon\(s\); delete its beacons first"):
        vpcs.delete_vpc(store, caller, vpc.id)


def test_a_damaged_one_isolates_its_vpc(made: Made) -> None:
    store, _, vpc, _, beacon = made
    store.txn((), [Put(keys.resource(beacon.id), b"{")])
    assert list(damaged(store)) == [keys.resource(beacon.id)]
    assert vpc.vni in read_inventory(store).isolated


def test_an_agent_follows_it(made: Made) -> None:
    store, _, vpc, _, beacon = made
    records = Records("hv1")
    known = store.get(keys.resource(beacon.id))
    assert known is not None
    records.put(known.key, known.value, known.mod_revision)
    assert records.vpcs[vpc.vni].one(Beacon, beacon.id) == beacon
    assert records.take_dirty().kinds == {vpc.vni: {Beacon}}
    records.put(known.key, b"{", known.mod_revision + 1)
    assert known.key in records.vpcs[vpc.vni].problem()
    records.drop(known.key, known.mod_revision + 2)
    assert records.vpcs[vpc.vni].one(Beacon, beacon.id) is None
    assert records.take_dirty().kinds == {vpc.vni: {Beacon}}


def test_a_kind_that_no_compiler_reads_is_an_error(made: Made) -> None:
    assert made
    with pytest.raises(CompileError, match="Beacon"):
        check_coverage(load_compilers(), kinds.compiled())


def test_every_kind_of_today_is_compiled() -> None:
    check_coverage(load_compilers(), kinds.compiled())
