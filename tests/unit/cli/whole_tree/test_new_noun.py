"""A kind of resource that exists only in this test: a table entry and one noun make a complete command."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import click
import msgspec
import pytest
from click.shell_completion import ShellComplete

from netorch.cli import words
from netorch.cli.main import cli
from netorch.cli.nouns import Actions, Noun, add_common
from netorch.cli.output import Columns
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.base.structure import create_part, delete_part
from netorch.control.base.writes import Writes, attempt
from netorch.model.cloud import Cloud, VpcDecl
from netorch.model.record import Record
from netorch.model.vpc import Tags, Vpc
from netorch.records import keys, kinds
from netorch.records.caller import Caller
from netorch.records.kind import Kind
from netorch.records.read import read, read_all, read_vpc
from netorch.store.base import Put, Store
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run


class Beacon(Record, frozen=True):
    """A resource in a VPC."""

    id: str
    vni: int
    name: str
    tags: Tags = {}  # noqa: RUF012 - a struct copies it


class BeaconInfo(NamedTuple):
    """A beacon with its VPC."""

    beacon: Beacon
    vpc: Vpc


def _check(_key: str, _beacon: Beacon) -> None:
    pass


BEACON = Kind(
    type=Beacon,
    prefix="beacon",
    noun="beacon",
    command="beacon",
    not_found="InvalidBeaconID.NotFound",
    limit="SubnetLimitExceeded",
    check=_check,
)


def create(store: Store, caller: Caller, vpc_id: str, name: str) -> Beacon:
    def make(vpc: Vpc, _others: list[Beacon]) -> Beacon:
        return Beacon(id=caller.new_id("beacon", vpc.vni), vni=vpc.vni, name=name)

    return create_part(store, caller, vpc_id, Beacon, name, make)


def delete(store: Store, caller: Caller, beacon_id: str) -> None:
    def decide() -> tuple[Writes, None]:
        vpc, beacon = read(store, caller, Beacon, beacon_id)
        writes = Writes()
        delete_part(writes, vpc, beacon)
        return writes, None

    attempt(store, decide)


def every(store: Store, caller: Caller, vpc_id: str) -> list[BeaconInfo]:
    vpc = read_vpc(store, caller, vpc_id).record
    return [BeaconInfo(stored.record, vpc) for stored in read_all(store, Beacon, vpc.vni).values()]


def one(store: Store, caller: Caller, beacon_id: str) -> BeaconInfo:
    vpc, beacon = read(store, caller, Beacon, beacon_id)
    return BeaconInfo(beacon.record, vpc.record)


def row(info: BeaconInfo) -> dict[str, Any]:
    return {**msgspec.structs.asdict(info.beacon), "vpc": f"{info.vpc.owner}/{info.vpc.name}"}


@click.group()
def command() -> None:
    """Beacons."""


NOUN = Noun("beacon", "beacon", Columns(("name", "vpc"), ("tags", "id")), row, lambda: Actions(every, one, delete))
add_common(command, NOUN, "Delete a beacon.")


@pytest.fixture
def lit(quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a command line with beacons: two of one name in two VPCs, and a third."""
    monkeypatch.setitem(kinds.BY_PREFIX, "beacon", BEACON)
    monkeypatch.setitem(kinds.BY_TYPE, Beacon, BEACON)
    monkeypatch.setitem(words.COMMANDS, "beacon", ("beacon", "Beacons."))
    module = ModuleType("netorch.cli.commands.beacon")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    operator = Caller(operator=True)
    vpcs = [VpcDecl(name=name, owner=name, cidrs=["10.0.0.0/16"]) for name in ("acme", "globex")]
    with closing(SqliteStore(tmp_path / "db", create=True)) as store:
        apply_cloud(store, plan_cloud(store, operator, Cloud(vpcs=vpcs)))
        for vpc_kv in [kv for kv in store.list("vpc/").kvs if kv.key.endswith("/vpc")]:
            vpc_id = json.loads(vpc_kv.value)["id"]
            create(store, operator, vpc_id, "light")
        create(store, operator, vpc_id, "fire")
    return quick


def test_it_is_listed_shown_tagged_filtered_and_deleted(lit: Run) -> None:
    paths = ["acme/acme/light", "globex/globex/fire", "globex/globex/light"]
    assert sorted(lit("beacon", "list", "-o", "name").stdout.split()) == paths
    assert lit("--owner", "acme", "beacon", "list", "-o", "name").stdout.split() == ["acme/acme/light"]
    assert json.loads(lit("beacon", "show", "acme/light", "-o", "json").stdout)["vpc"] == "acme/acme"
    assert "several have this name" in lit("beacon", "show", "light", code=1).stderr
    assert "light" in lit("--owner", "acme", "beacon", "show", "light").stdout
    lit("beacon", "tag", "acme/light", "fire", "colour=red")
    lit("beacon", "untag", "fire", "colour")
    found = lit("beacon", "list", "--filter", "tag:colour=r*", "--filter", "name=light", "-o", "name").stdout.split()
    assert found == ["acme/acme/light"]
    assert "DryRunOperation" in lit("beacon", "delete", "fire", "--dry-run").stdout
    lit("beacon", "delete", "fire")
    assert "InvalidBeaconID.NotFound: beacon 'fire'" in lit("beacon", "show", "fire", code=1).stderr


def test_its_names_are_completed(lit: Run) -> None:
    completed = ShellComplete(cli, {}, "netorch", "_NETORCH_COMPLETE").get_completions(["beacon", "show"], "acme/")
    assert [item.value for item in completed] == ["acme/light"]


def test_a_record_of_a_newer_schema_isolates_its_vpc(lit: Run, tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "db")) as store:
        (kv,) = [kv for kv in store.list("vpc/").kvs if b'"fire"' in kv.value]
        assert kv.key.startswith("vpc/")
        assert keys.resource(json.loads(kv.value)["id"]) == kv.key
        store.txn((), [Put(kv.key, b'{"schema":7,' + kv.value[1:])])
    assert "upgrade netorch here" in lit("beacon", "show", "fire", code=1).stderr
    done = lit("beacon", "list", "-o", "name")
    assert done.stdout.split() == ["acme/acme/light"]
    assert "globex/globex is left out" in done.stderr
