"""`netorch map`: the commands agree with each other, and `verify` finds what disagrees."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from netorch.cli.commands.map import event_rows
from netorch.records import keys
from netorch.store.base import Delete, Event, Put, Store
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run

UPLINK = "eth2,198.18.0.{0}/24,198.18.0.254"
WEB = "10.44.12.4"  # acme/acme/web-1, on hv1


def as_json(run: Run, *words: str, code: int = 0) -> Any:  # noqa: ANN401 - JSON
    return json.loads(run(*words, "-o", "json", code=code).stdout)


@pytest.fixture
def cloud(quick: Run) -> Run:
    """Return a command line for the file's cloud, with an internet gateway and a public address."""
    quick("apply", "--yes", "--no-wait")
    for number in (21, 22):
        words = ("--role", "edge", "--pair", "west", "--uplink", UPLINK.format(number))
        quick("host", "create", f"e{number}", "--underlay", f"192.0.2.{number}", *words)
    quick("address", "pool", "create", "p", "--pair", "west", "--cidr", "198.51.100.0/28")
    quick("--owner", "acme", "igw", "create", "out", "--vpc", "acme")
    quick("--owner", "acme", "address", "allocate", "--name", "eip")
    quick("--owner", "acme", "address", "associate", "eip", "--instance", "acme/web-1")
    return quick


def changed(store: Store, key: str, **fields: object) -> Put:
    """Return the write that changes some fields of a record."""
    kv = store.get(key)
    assert kv is not None, key
    return Put(key, json.dumps({**json.loads(kv.value), **fields}).encode())


class Cloud:
    """The keys of the cloud's records."""

    def __init__(self, store: Store) -> None:
        self.store = store
        lookups = {kv.key: json.loads(kv.value) for kv in store.list("map/").kvs}
        self.gateway = next(key for key in lookups if "/igw-" in key)
        self.public = next(key for key in lookups if "/eip/" in key)
        self.eni, self.vni = lookups[self.public]["eni"], lookups[self.public]["vni"]
        self.map = keys.mapping(self.vni, WEB)
        self.placement = keys.placement("hv1", self.eni)


Damage = Callable[[Cloud], list[Put | Delete]]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "another host": (
        lambda c: [changed(c.store, c.map, host="hv2", vtep="192.0.2.12")],
        "acme/acme: {eni}: hv1 has a placement of it, and no mapping leads there\n"
        "acme/acme: {eni}: is mapped to hv2, which has no placement of it",
    ),
    "a host that is not there": (
        lambda c: [changed(c.store, c.map, host="hv9")],
        f"acme/acme: {WEB}: names host hv9, which is not there",
    ),
    "an edge": (
        lambda c: [changed(c.store, c.map, host="e21", vtep="192.0.2.21")],
        f"acme/acme: {WEB}: names host e21, which is no hypervisor",
    ),
    "another VTEP": (
        lambda c: [changed(c.store, c.map, vtep="192.0.2.77")],
        f"acme/acme: {WEB}: names the VTEP 192.0.2.77 for hv1, which has 192.0.2.11",
    ),
    "a move to a host that is not there": (
        lambda c: [changed(c.store, c.map, move={"direction": "to", "host": "hv8", "vtep": "192.0.2.18"})],
        f"acme/acme: {WEB}: names host hv8, which is not there",
    ),
    "no interface": (
        lambda c: [changed(c.store, c.map, eni=f"{c.eni[:-1]}f" if c.eni[-1] != "f" else f"{c.eni[:-1]}0")],
        rf"acme/acme: {WEB}: leads to interface eni-\S+, which is not there",
    ),
    "another MAC": (
        lambda c: [changed(c.store, c.map, mac="02:00:00:00:00:77")],
        rf"acme/acme: {WEB}: has the MAC 02:00:00:00:00:77, and interface {{eni}} has \S+:\S+",
    ),
    "no groups": (
        lambda c: [changed(c.store, c.map, groups=[])],
        rf"acme/acme: {WEB}: has the groups none, and interface {{eni}} has sg-\S+",
    ),
    "an address of nobody": (
        lambda c: [Put(keys.mapping(c.vni, "10.44.12.99"), changed(c.store, c.map, address="10.44.12.99").value)],
        f"acme/acme: 10.44.12.99: leads to interface {{eni}}, which has {WEB}",
    ),
    "no mapping": (lambda c: [Delete(c.map)], f"acme/acme: {WEB}: is not mapped, and {{eni}} has it"),
    "no placement": (lambda c: [Delete(c.placement)], "acme/acme: {eni}: is mapped to hv1, which has no placement of it"),
    "a placement too many": (
        lambda c: [Put(keys.placement("hv2", c.eni), b'{"id":"%s"}' % c.eni.encode())],
        "acme/acme: {eni}: hv2 has a placement of it, and no mapping leads there",
    ),
    "a placement of no VPC": (
        lambda c: [Put(keys.placement("hv2", "eni-00ffff00000000001"), b'{"id":"eni-00ffff00000000001"}')],
        "VNI 65535: eni-00ffff00000000001: hv2 has a placement of it, and its VPC is not there",
    ),
    "a gateway that is not mapped": (lambda c: [Delete(c.gateway)], r"acme/acme: igw-\S+: is not mapped"),
    "a gateway's mapping without the gateway": (
        lambda c: [Delete(keys.resource(c.gateway.rpartition("/")[2]))],
        r"acme/acme: igw-\S+: is mapped to edges, and there is no such internet gateway",
    ),
    "a gateway on a hypervisor": (
        lambda c: [changed(c.store, c.gateway, seats=[{"host": "hv1", "vtep": "192.0.2.11"}])],
        r"acme/acme: igw-\S+: names host hv1, which is no edge",
    ),
    "a public address of another private one": (
        lambda c: [changed(c.store, c.public, private_address="10.44.12.77")],
        r"acme/acme: 198\.51\.100\.\d+: is mapped to 10\.44\.12\.77, which {eni} does not have",
    ),
}


def test_list_lookup_and_watch_show_a_mapping_alike(cloud: Run, tmp_path: Path) -> None:
    cloud("instance", "move", "acme/web-1", "hv2", "--no-wait")
    rows = as_json(cloud, "map", "list", "--vpc", "acme/acme")
    with closing(SqliteStore(tmp_path / "db")) as store:
        known = Cloud(store)
        kvs = store.list(keys.map_prefix(known.vni)).kvs
    seen = [found for kv in kvs for found in event_rows("acme/acme", Event(kv.key, kv.value, kv.mod_revision, 1))]
    assert sorted(map(json.dumps, seen)) == sorted(map(json.dumps, rows))
    assert len(rows) == 5  # two instances, a gateway at two edges, a public address
    (web,) = [found for found in rows if found["address"] == WEB]
    assert as_json(cloud, "map", "lookup", "acme/acme", WEB) == web
    assert web["move"] == "to hv2"
    for kv in kvs:
        (gone,) = event_rows("acme/acme", Event(kv.key, None, 99, 0))
        assert gone.keys() == rows[0].keys()
        assert (gone["address"], gone["host"], gone["generation"]) == (kv.key.rpartition("/")[2], None, 99)
    (left,) = event_rows("acme/acme", Event(keys.reach(known.vni, "vgw-1", "e21"), None, 7, 0))
    assert (left["address"], left["host"]) == ("vgw-1", None)


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_says_what_disagrees(cloud: Run, tmp_path: Path, damage: str) -> None:
    act, expected = DAMAGES[damage]
    assert cloud("map", "verify").stdout == "3 mappings of 2 VPCs agree with each other, with interfaces and with hosts\n"
    assert as_json(cloud, "map", "verify") == []
    with closing(SqliteStore(tmp_path / "db")) as store:
        known = Cloud(store)
        store.txn([], act(known))
    said = cloud("map", "verify", code=2).stdout
    for line in expected.split("\n"):
        assert re.search(f"^{line.format(eni=known.eni)}", said, re.MULTILINE), said
    for row in as_json(cloud, "map", "verify", code=2):
        assert list(row) == ["vpc", "vni", "address", "finding"]


def test_verify_is_the_operators(cloud: Run) -> None:
    assert "UnauthorizedOperation" in cloud("--owner", "acme", "map", "verify", code=1).stderr


def test_verify_checks_what_is_readable_of_a_damaged_vpc(cloud: Run, tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "db")) as store:
        known = Cloud(store)
        store.txn([], [Put(known.public, b"{"), changed(store, known.map, vtep="192.0.2.77")])
    done = cloud("map", "verify", code=2)
    assert "VPC acme/acme is left out" in done.stderr
    assert f"acme/acme: {WEB}: names the VTEP 192.0.2.77" in done.stdout
    assert "globex" not in done.stdout


def test_the_cache_of_a_host_that_is_not_here_is_an_error_that_says_where_to_ask(cloud: Run) -> None:
    for host, node, found in (
        ("hv9", "HOST", "host 'hv9': does not exist; choose one of `netorch host list`"),
        ("hv1", "hv1", "its namespace netorch-hv1 is not on this machine"),
    ):
        said = cloud("map", "cache", host, code=1).stderr
        assert found in said
        assert f"run this on the host; in a lab: netorch lab exec --node {node} LAB -- netorch map cache {host}" in said
    assert not Path("/run/netns/netorch-hv1").exists()
