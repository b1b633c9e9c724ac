"""Records that are unreadable, invalid or harmful to a terminal: found, reported, and restored."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import yaml

from netorch.records import keys
from netorch.store.base import Delete, Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run


def test_a_damaged_record_is_told_found_and_put_back(run: Run, tmp_path: Path) -> None:
    run("apply", "--yes", "--no-wait")
    subnet = json.loads(run("subnet", "show", "acme/app", "-o", "json").stdout)
    key, store = f"vpc/{subnet['vni']:06x}/subnet/{subnet['id']}", SqliteStore(tmp_path / "db")
    store.txn([], [Put(key, b'{"id": 7}')])
    revision = store.revision()
    store.close()
    listed = run("subnet", "list")
    assert "globex/globex" in listed.stdout
    assert "acme/acme" not in listed.stdout
    assert f"warning: VPC acme/acme is left out: {key}: the record cannot be read" in listed.stderr
    assert run("--owner", "globex", "instance", "list").stderr == ""
    for command in (("vpc", "show", "acme"), ("subnet", "show", subnet["id"]), ("plan",), ("apply", "--yes")):
        assert key in run(*command, code=1).stderr
    assert f"problem: {key}: the record cannot be read" in run("status", code=2).stdout
    assert "name: acme" not in run("export", code=2).stdout
    found = run("store", "check", code=2).stdout
    assert key in found
    assert "netorch store put KEY --revision N" in found
    assert "the file cannot be read: No such file" in run("store", "put", key, "-f", "nowhere", code=65).stderr
    assert run("store", "get", key).stdout == '{"id": 7}\n'
    assert "UnauthorizedOperation" in run("--owner", "globex", "store", "get", key, code=1).stderr
    assert json.loads(run("store", "get", key, "--revision", str(revision - 1)).stdout)["name"] == subnet["name"]
    assert "DependencyViolation" in run("store", "delete", key, code=1).stderr
    run("store", "put", key, "--revision", str(revision - 1))
    assert run("store", "check").stdout == "all records are present and readable\n"
    assert "No changes" in run("plan").stdout


def test_an_owner_is_told_why_a_vpc_is_degraded(run: Run, tmp_path: Path) -> None:
    run("apply", "--yes", "--no-wait")
    shown = json.loads(run("--owner", "acme", "vpc", "show", "acme", "-o", "json").stdout)
    assert shown["degraded"] == []
    store = SqliteStore(tmp_path / "db")
    store.txn([], [Put(keys.vpc_status("hv1", shown["vni"]), b'{"reason": "too many entries"}')])
    store.close()
    assert "hv1: too many entries" in run("--owner", "acme", "vpc", "show", "acme").stdout
    assert "too many" not in run("--owner", "globex", "vpc", "show", "globex").stdout


def test_a_record_that_makes_no_sense_leaves_its_vpc_out_everywhere(run: Run, tmp_path: Path) -> None:
    run("apply", "--yes", "--no-wait")
    subnet = json.loads(run("subnet", "show", "acme/app", "-o", "json").stdout)
    key, store = f"vpc/{subnet['vni']:06x}/subnet/{subnet['id']}", SqliteStore(tmp_path / "db")
    known = store.get(key)
    assert known is not None
    store.txn([], [Put(key, known.value.replace(b"10.44.12.0/24", b"10.44.12.0/64"))])
    store.close()
    for command in (("export",), ("reach", "--matrix")):
        done = run(*command, code=2)
        assert key in done.stderr
        assert "acme" not in done.stdout
    assert key in run("store", "check", code=2).stdout
    assert f"problem: {key}: the record makes no sense: cidr" in run("status", code=2).stdout
    assert run("--owner", "globex", "export").stderr == ""


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\x1b[8m"


def test_nothing_that_stands_in_the_store_reaches_the_terminal_raw(run: Run, tmp_path: Path) -> None:
    run("apply", "--yes", "--no-wait")
    vpc = json.loads(run("vpc", "show", "acme", "-o", "json").stdout)
    store = SqliteStore(tmp_path / "db")
    known = store.get(keys.vpc(vpc["vni"]))
    assert known is not None
    bad = msgspec.json.encode(HOSTILE)
    store.txn(
        [],
        [
            Put(keys.vpc(vpc["vni"]), known.value.replace(b'"name":"acme"', b'"name":' + bad)),
            Put(keys.vpc_status("hv1", vpc["vni"]), b'{"reason":' + bad + b"}"),
            Put(keys.agent_status("hv1"), b'{"version":"1","pid":1,"started_at":0,"trouble":' + bad + b"}"),
            Put(f"hoststat/{HOSTILE}/agent", b'{"version":7}'),
            Put(f"vpc/{vpc['vni']:06x}/sg/{HOSTILE}", b'{"id":' + bad + b"}"),
            Put(f"name/acme/vpc/{HOSTILE}", b'{"holder":"' + vpc["id"].encode() + b'"}'),
        ],
    )
    store.close()
    commands = ["status", "status -o json", "status -o yaml", "store check", "store check -o json", "export", "vpc list", "plan"]
    for words in commands:
        done = subprocess.run(
            [sys.executable, "-m", "netorch", *words.split()],
            cwd=tmp_path,
            env={"NETORCH_STORE": str(tmp_path / "db"), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr
        shown = done.stdout + done.stderr
        assert shown.isprintable() or set(filter(lambda char: not char.isprintable(), shown)) == {"\n"}, words
    assert "\\x1b]0;owned" in run("status", code=2).stdout
    for read, form in ((json.loads, "json"), (yaml.safe_load, "yaml")):
        problems = read(run("status", "-o", form, code=2).stdout)["problems"]
        assert f"host hv1: {HOSTILE}" in problems


@pytest.mark.parametrize("lost", ["a subnet", "the VPC", "the VPC and who has its name"])
def test_an_owner_all_of_whose_vpcs_are_damaged_exports_no_empty_cloud(quick: Run, tmp_path: Path, lost: str) -> None:
    quick("apply", "--yes", "--no-wait")
    vpc = json.loads(quick("vpc", "show", "acme", "-o", "json").stdout)
    subnet = json.loads(quick("subnet", "show", "acme/acme/app", "-o", "json").stdout)
    with closing(SqliteStore(tmp_path / "db")) as store:
        key = keys.resource(subnet["id"] if lost == "a subnet" else vpc["id"])
        ops: list[Put | Delete] = [Put(key, b"{")]
        ops += [Delete(keys.name("acme", "vpc", "acme"))] if lost.endswith("name") else []
        store.txn((), ops)
    done = quick("--owner", "acme", "export", code=2)
    assert key in done.stderr
    assert quick("--owner", "globex", "export").stderr == ""


def test_hints_stand_on_stderr_where_json_is_asked_for(quick: Run) -> None:
    done = quick("apply", "--yes", "-o", "json", "--timeout", "0.1")
    assert json.loads(done.stdout)["silent_hosts"] == ["hv1", "hv2"]
    assert "No agent is running on hv1 hv2" in done.stderr


@pytest.mark.parametrize("key", ["host/hv1/placement/nonsense", "hoststat/hv1/agent"])
def test_what_a_host_writes_wrongly_stops_no_command(quick: Run, tmp_path: Path, key: str) -> None:
    quick("apply", "--yes", "--no-wait")
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn((), [Put(key, b"{")])
    is_placement = "placement" in key
    assert is_placement or key in quick("status", code=2).stdout
    assert not is_placement or "nonsense" in quick("map", "verify", code=2).stdout
    for command in (("host", "list"), ("host", "show", "hv1")):
        assert "hv1" in quick(*command).stdout
    quick("--owner", "acme", "instance", "run", "more", "--vpc", "acme", "--subnet", "app", "--no-wait")
