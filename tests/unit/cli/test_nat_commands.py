"""`netorch nat`: a gateway's counters, its addresses and their status."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path

import pytest

from netorch.model.status import NatUse
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run

UPLINK = "eth2,198.18.0.{0}/24,198.18.0.254"


@pytest.fixture
def cloud(quick: Run) -> Run:
    """Return a command line for a VPC with an internet gateway."""
    quick("apply", "--yes", "--no-wait")
    for number in (21, 22):
        words = ("--role", "edge", "--pair", "west", "--uplink", UPLINK.format(number))
        quick("host", "create", f"e{number}", "--underlay", f"192.0.2.{number}", *words)
    quick("address", "pool", "create", "p", "--pair", "west", "--cidr", "198.51.100.0/28")
    quick("igw", "create", "out", "--vpc", "acme")
    return quick


def test_a_table_shows_which_of_several_addresses_is_draining(cloud: Run) -> None:
    acme = ("--owner", "acme")
    named = {name: f"198.51.100.{number}" for number, name in enumerate(("n1", "n2", "n3"), 4)}
    for name, address in named.items():
        cloud(*acme, "address", "allocate", "--name", name, "--address", address)
    several = ("--elastic-ip", "n2", "--elastic-ip", "n1", "--elastic-ip", named["n3"])
    cloud(*acme, "nat", "create", "gw", "--subnet", "app", *several)

    def shown(*words: str) -> list[list[str]]:
        lines = cloud(*acme, "nat", *words).stdout.splitlines()
        return [[line.split()[0], *line.split()[2:]] for line in lines if line.startswith("198.51.100.")]

    first, last = [named["n2"], "yes", "succeeded"], [named["n3"], "no", "succeeded"]
    assert shown("show", "gw") == [first, [named["n1"], "no", "succeeded"], last]
    assert shown("disassociate-address", "gw", "n1") == [first, [named["n1"], "no", "disassociating"], last]
    again = cloud(*acme, "nat", "disassociate-address", "gw", "n1", "n3", "--max-drain-duration", "40").stderr
    assert re.fullmatch(rf"{named['n1']} is draining already, and ends within \d{{1,2}} s\n", again)
    said = cloud(*acme, "address", "release", "n2", code=1).stderr
    assert "first: netorch --owner acme nat delete nat-" in said


def test_show_and_status_tell_what_gateways_have_counted(cloud: Run, tmp_path: Path) -> None:
    cloud("--owner", "acme", "address", "allocate", "--name", "shared")
    made = json.loads(
        cloud("--owner", "acme", "nat", "create", "gw", "--subnet", "acme/app", "--elastic-ip", "shared", "-o", "json").stdout
    )
    metrics = {"ActiveConnectionCount": 12, "ErrorPortAllocation": 3, "IdleTimeoutCount": 4}
    with closing(SqliteStore(tmp_path / "db")) as store:
        for edge in ("e21", "e22"):
            store.txn((), [Put(keys.nat_use(edge, made["id"]), encode(NatUse(metrics=metrics, dropped={"no_port": 3})))])
    shown = cloud("nat", "show", "acme/gw").stdout
    values = dict(line.rsplit(None, 1) for line in shown.splitlines() if line.count(" "))
    assert (values["ActiveConnectionCount"], values["IdleTimeoutCount"], values["PacketsDropCount"]) == ("24", "8", "0")
    assert values["dropped: no port was free for that destination"] == "6"
    found = json.loads(cloud("nat", "show", "acme/gw", "-o", "json").stdout)
    assert (found["metrics"]["ErrorPortAllocation"], found["dropped"]) == (6, {"no_port": 6})
    assert "12 (3 without a port)" in cloud("status", code=2).stdout
