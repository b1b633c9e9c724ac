"""Finding a resource by name reads a few keys, and a command reads only its own VPC, whatever else the store holds."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path

import click
import pytest

from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.base.quotas import set_quotas
from netorch.control.views.describe import resolve
from netorch.errors import ApiError
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SecurityGroupDecl, SubnetDecl, VpcDecl
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory, read_inventory
from netorch.records.kinds import of_vpc
from netorch.records.names import vnis_of
from netorch.records.part import read_part
from netorch.store.base import Delete, Put, Range
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run
from tests.unit.cli.whole_tree.tree import ACTIONS, READERS, leaves

FEW, MANY = 10, 1000
# Commands about the whole cloud, or that plan its changes.
EVERYTHING = {
    "apply",
    "plan",
    "diff",
    "export",
    "status",
    "store check",
    "store put",
    "store delete",
    "destroy",
    "address audit",
    "map verify",
}
# Commands that read all VPCs of an owner, whose number is limited, and name no VPC.
OWNERS = {
    "vpc create",
    "vpc create-default",
    "vpc list",
    "host list",
    "address list",
    "cgw list",
    "dhcp-options list",
    "zone list",
}
LISTS = {words for words in READERS if words.endswith(" list") and words.count(" ") == 1} - OWNERS
NAMING = {
    **{words: arguments for words, arguments in (ACTIONS | READERS).items() if words not in EVERYTHING | OWNERS},
    **dict.fromkeys(LISTS, "--vpc acme/acme"),
    "dx vif list": "--vpc acme/acme",
    "endpoint-service connection list": "--vpc acme/acme",
    "reach": "--matrix --vpc acme/acme",
    "trace": "acme/acme/web-1 acme/acme/web-2",
    "ping": "acme/acme/web-1 acme/acme/web-2",
    "history": "acme/acme",
    "flows": "--vpc acme/acme --instance acme/acme/web-1",
    "instance exec": "acme/acme/web-1 -- true",
}
CODES = {"ping": 2, "flows": 1, "instance exec": 1, "vpn status": 2, "vpn doctor": 2}  # this machine is none of the hosts
# The first finds its VPC like all others and then waits; the second finds it like `vpn create` and reads a file; the others
# take only a host.
UNMEASURED = {
    "map watch",
    "map cache",
    "vpn import",
    "drift",
    "agent run",
    "agent restore",
    "bugreport",
    "host token",
    "host revoke",
}
BARE = {
    "vpc show": "acme",
    "subnet show": "empty",
    "route-table show": "other",
    "sg show": "sg-web",
    "nacl show": "strict",
    "prefix-list show": "offices",
    "eni show": "spare",
    "instance show": "web-2",
    "flow-log show": "all",
    "eni list": "--vpc acme -o wide",
}
ONE_VPC = """
vpcs:
- name: one
  owner: newcomer
  vni: 9000000  # to choose one is one listing of up to 256 others
  cidrs: [10.9.0.0/16]
  subnets: [{name: app, cidr: 10.9.0.0/24}]
  instances: [{name: a, host: far}]
  peerings: [{name: other, peer: owner-2/other-2}]
"""


def add_others(path: Path, count: int) -> None:
    """Add VPCs with resources, half of them of the same owner, on a separate host."""
    vpcs = [
        VpcDecl(
            name=f"other-{number}",
            owner="acme" if number % 2 else f"owner-{number}",
            cidrs=["10.0.0.0/16"],
            subnets=[SubnetDecl(name="other", cidr="10.0.0.0/24")],
            security_groups=[SecurityGroupDecl(name="other")],
            instances=[InstanceDecl(name="other", host="far")],
        )
        for number in range(count)
    ]
    operator = Caller(operator=True)
    with closing(SqliteStore(path)) as store:
        set_quotas(store, "acme", {"vpcs": 5000})
        cloud = Cloud(hosts=[HostDecl(name="far", underlay="192.0.2.99")], vpcs=vpcs)
        plan = plan_cloud(store, operator, cloud, source="/others")
        assert not plan.stuck
        apply_cloud(store, plan)


class Reads:
    """Counts the keys that are requested from a store or returned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys = 0
        get, listing = SqliteStore.get, SqliteStore.list

        def counted_get(store: SqliteStore, key: str) -> object:
            self.keys += 1
            return get(store, key)

        def counted_list(store: SqliteStore, prefix: str, revision: int = 0) -> Range:
            found = listing(store, prefix, revision)
            self.keys += 1 + len(found.kvs)
            return found

        monkeypatch.setattr(SqliteStore, "get", counted_get)
        monkeypatch.setattr(SqliteStore, "list", counted_list)


@pytest.fixture(scope="session")
def sizes(made: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """Return the same store with few other VPCs and with many."""
    found = {}
    for count in (FEW, MANY):
        path = tmp_path_factory.mktemp("sizes") / "db"
        path.write_bytes(made)
        add_others(path, count)
        found[count] = path.read_bytes()
    return found


def takes_names(command: click.Command) -> bool:
    completions = (getattr(parameter, "_custom_shell_complete", None) for parameter in command.params)
    return any(found is not None and found.__qualname__.startswith("complete.") for found in completions)


def test_every_command_that_takes_a_name_is_measured() -> None:
    assert {words for words, command in leaves() if takes_names(command)} <= NAMING.keys() | OWNERS | EVERYTHING | UNMEASURED


@pytest.mark.parametrize(
    ("words", "arguments"), [*NAMING.items(), *BARE.items()], ids=lambda value: value if value in NAMING else None
)
def test_a_command_reads_as_much_beside_10_vpcs_as_beside_1000(
    busy: Run, sizes: dict[int, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, arguments: str
) -> None:
    reads = Reads(monkeypatch)
    counts = []
    for store in sizes.values():
        (tmp_path / "db").write_bytes(store)
        before = reads.keys
        busy(*words.split(), *shlex.split(arguments), code=CODES.get(words, 0))
        counts.append(reads.keys - before)
    assert counts[0] == counts[1]
    assert 0 < counts[0] < MANY


def test_a_plan_of_one_vpc_reads_as_much_beside_10_vpcs_as_beside_1000(
    busy: Run, sizes: dict[int, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.yaml").write_text(ONE_VPC)
    reads = Reads(monkeypatch)
    counts = []
    for store in sizes.values():
        (tmp_path / "db").write_bytes(store)
        for words in (("plan", "-f", "one.yaml"), ("destroy", "owner-2/other-2")):
            before = reads.keys
            busy(*words, code=2 if words[0] == "plan" else 0)
            counts.append(reads.keys - before)
    assert counts[:2] == counts[2:]
    assert max(counts) < MANY


@pytest.mark.parametrize("kind", ["vpc", *sorted(kind.prefix for kind in of_vpc())])
def test_a_name_is_found_by_a_handful_of_keys(sizes: dict[int, bytes], tmp_path: Path, kind: str) -> None:
    (tmp_path / "db").write_bytes(sizes[MANY])
    with closing(SqliteStore(tmp_path / "db")) as store, pytest.MonkeyPatch.context() as patch:
        reads, operator = Reads(patch), Caller(operator=True)
        for text in ("acme/acme/web-1", "acme/web-1", "web-1", "spare", "acme/acme", "acme", "nothing"):
            before = reads.keys
            vnis_of(store, operator, kind, text)
            assert reads.keys - before <= 4


def outcome(inventory: Inventory, caller: Caller, kind: str, text: str) -> str:
    try:
        found: str = resolve(inventory, caller, kind, text)[1].id
    except ApiError as error:
        return error.code
    return found


@pytest.mark.parametrize("owner", ["", "acme", "owner-2", "nobody"])
def test_a_name_means_the_same_as_if_everything_were_read(sizes: dict[int, bytes], tmp_path: Path, owner: str) -> None:
    (tmp_path / "db").write_bytes(sizes[FEW])
    caller = Caller(owner=owner) if owner else Caller(operator=True)
    with closing(SqliteStore(tmp_path / "db")) as store:
        inventory = read_inventory(store)
        for kind, texts in names_of(inventory).items():
            for text in texts:
                part = read_part(store, vnis_of(store, caller, kind, text))
                assert outcome(part, caller, kind, text) == outcome(inventory, caller, kind, text)


def names_of(inventory: Inventory) -> dict[str, set[str]]:
    """Return all names and ids of resources by kind, and some that do not exist."""
    found: dict[str, set[str]] = {}
    for records in inventory.vpcs.values():
        vpc = records.vpc.record
        found.setdefault("vpc", {"nothing", ""}).update({vpc.id, vpc.name, f"{vpc.owner}/{vpc.name}", f"x/{vpc.name}"})
        for kind in of_vpc():
            texts = found.setdefault(kind.prefix, {"nothing", "acme/acme/nothing", "a/b/c/d", "sg-web", "pl-offices"})
            for record in records.each(kind.type):
                name = record.name or "web-1"
                texts |= {record.id} | ({name} if kind.shared_with is None else set())
                texts |= {f"{vpc.name}/{name}", f"{vpc.owner}/{vpc.name}/{name}", f"x/{vpc.name}/{name}"}
    return found


def test_a_lost_or_stray_key_of_a_name_is_found_and_repaired(busy: Run, tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "db")) as store:
        (lost,) = store.list("named/sg/web/acme/").kvs
        stray = keys.named("sg", "gone", "acme", lost.key.rpartition("/")[2])
        store.txn((), [Delete(lost.key), Put(stray, b"true")])
    said = busy("store", "check", code=2).stdout
    assert lost.key in said
    assert stray in said
    assert "web" in busy("sg", "show", "acme/acme/web").stdout  # by the VPC's name
    assert "web" in busy("sg", "show", "web").stdout  # by reading all records
    busy("sg", "show", "gone", code=1)
    busy("store", "put", lost.key, "--revision", str(lost.mod_revision))
    busy("store", "delete", stray)
    assert "named/" not in busy("store", "check", code=2).stdout


def test_what_every_vpc_is_made_with_has_no_key_and_one_of_an_older_version_goes_with_it(busy: Run, tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "db")) as store:
        operator = Caller(operator=True)
        plan = plan_cloud(store, operator, Cloud(vpcs=[VpcDecl(name="young", owner="young", cidrs=["10.0.0.0/16"])]))
        apply_cloud(store, plan)
        assert [kv.key.split("/")[1] for kv in store.list("named/").kvs if "/young/" in kv.key] == ["vpc"]
        (vni,) = vnis_of(store, operator, "vpc", "young")
        for kind in ("sg", "acl", "rtb"):
            (found,) = store.list(keys.resources(vni, kind)).kvs
            name = "main" if kind == "rtb" else "default"
            store.txn((), [Put(keys.named(kind, name, "young", found.key.rpartition("/")[2]), b"true")])
            assert vnis_of(store, Caller(owner="young"), kind, name) == {vni}
            assert vni in vnis_of(store, operator, kind, name)
    assert "named/" not in busy("store", "check", code=2).stdout
    busy("vpc", "delete", "young/young")
    assert "named/" not in busy("store", "check", code=2).stdout
