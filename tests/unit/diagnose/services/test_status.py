"""`status`: problems of endpoints, services and mapped peers, and the counters of edges' proxies."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.store.base import Delete, Put
from netorch.store.sqlite.store import SqliteStore
from tests.rig.seats import let_run
from tests.unit.diagnose.services.conftest import Cloud

HOSTS = ("hv1", "hv2", "e1", "e2")
SERVED = {"connections": 12, "requests": 340, "denied": 7, "unavailable": 2, "reset": 1}


@pytest.fixture
def living(cloud: Cloud, tmp_path: Path) -> Cloud:
    """Return the command line for a cloud whose agents run without problems."""
    with closing(SqliteStore(tmp_path / "db")) as store:
        for name in HOSTS:
            let_run(store, name)
    say(tmp_path, "e1", served=SERVED)
    return cloud


def say(path: Path, host: str, served: dict[str, int] | None = None, unavailable_at: float = 0.0, not_ready: str = "") -> None:
    """Write an agent's status of its host."""
    status = AgentStatus(
        version="1", pid=1, started_at=0.0, served=served or {}, unavailable_at=unavailable_at, not_ready=not_ready
    )
    with closing(SqliteStore(path / "db")) as store:
        store.txn([], [Put(keys.agent_status(host), msgspec.json.encode(status))])


def problems(cloud: Cloud, *, code: int = 2) -> list[str]:
    """Return the problems in `status`."""
    return list(json.loads(cloud.run("status", "-o", "json", code=code).stdout)["problems"])


def test_all_is_well_and_the_proxys_counts_are_shown(living: Cloud) -> None:
    out = living.run("status").stdout
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.startswith("e1 ")}
    assert rows["e1"] == ["e1", "1", "12", "of", "4000", "340", "7", "0", "2", "0", "1"]
    assert out.splitlines()[-1] == "all is well"
    proxies = {
        host["name"]: host["edge"] and host["edge"]["proxy"]
        for host in json.loads(living.run("status", "-o", "json").stdout)["hosts"]
    }
    assert proxies["e1"] == {
        "endpoints": 1,
        "connections": 12,
        "limit": 4000,
        "requests": 340,
        "denied": 7,
        "malformed": 0,
        "unavailable": 2,
        "broken": 0,
        "reset": 1,
    }
    assert proxies["hv1"] is None


def test_a_server_that_does_not_answer_and_a_full_proxy_are_problems(living: Cloud, tmp_path: Path) -> None:
    say(tmp_path, "e2", served={"unavailable": 3, "connections": 3900}, unavailable_at=time.time() - 5)
    found = problems(living)
    assert [text.partition(";")[0] for text in found] == [
        "host e2: a server behind a gateway service does not answer (3 requests so far)",
        "host e2: the proxy of gateway endpoints has 3900 of 4000 connections",
    ]
    say(tmp_path, "e2", served={"unavailable": 3}, unavailable_at=time.time() - 3600)
    assert problems(living, code=0) == []


def test_what_no_living_edge_carries_is_named(living: Cloud, tmp_path: Path) -> None:
    say(tmp_path, "e1", not_ready="no route to the border")
    assert not any("reaches nothing" in text for text in problems(living))
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn([], [Delete(keys.host_live("e2"))])
    found = [text.partition(":")[0] for text in problems(living) if "its edges, e1 and e2" in text]
    assert sorted(found) == [
        "endpoint acme/acme/ledger reaches nothing",
        "endpoint acme/acme/s3 reaches nothing",
        "mapped peering connection acme/acme/to-globex carries nothing",
    ]


def test_a_service_without_a_target_and_an_endpoint_that_waits_are_named(living: Cloud) -> None:
    living.run("instance", "terminate", "bank/bank/one", "bank/bank/two")
    (found,) = (text for text in problems(living) if "endpoint service" in text)
    assert found.startswith("endpoint service bank/bank/ledger has no target that is attached to an instance, so 1 endpoint(s)")
    living.run("--owner", "acme", "endpoint", "delete", "acme/acme/ledger")
    assert not any("endpoint service" in text for text in problems(living, code=0))
    living.run(
        *("--owner", "acme", "endpoint", "create", "again", "--vpc", "acme", "--type", "Interface"),
        *("--service", living.service, "--subnet", "link", "--security-group", "front"),
    )
    notes = json.loads(living.run("status", "-o", "json").stdout)["notes"]
    assert any(note.startswith("endpoint acme/acme/again waits until the provider accepts it: netorch ") for note in notes)
