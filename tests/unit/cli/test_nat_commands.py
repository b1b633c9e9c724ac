"""`netorch nat`: what a gateway has counted."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from netorch.model.status import NatUse
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.base import Put
from netorch.store.sqlite import SqliteStore
from tests.unit.cli.conftest import Run

UPLINK = "eth2,198.18.0.{0}/24,198.18.0.254"


def test_show_and_status_tell_what_gateways_have_counted(quick: Run, tmp_path: Path) -> None:
    quick("apply", "--yes", "--no-wait")
    for number in (21, 22):
        words = ("--role", "edge", "--pair", "west", "--uplink", UPLINK.format(number))
        quick("host", "create", f"e{number}", "--underlay", f"192.0.2.{number}", *words)
    quick("address", "pool", "create", "p", "--pair", "west", "--cidr", "198.51.100.0/28")
    quick("igw", "create", "out", "--vpc", "acme")
    quick("--owner", "acme", "address", "allocate", "--name", "shared")
    made = json.loads(
        quick("--owner", "acme", "nat", "create", "gw", "--subnet", "acme/app", "--elastic-ip", "shared", "-o", "json").stdout
    )
    metrics = {"ActiveConnectionCount": 12, "ErrorPortAllocation": 3, "IdleTimeoutCount": 4}
    with closing(SqliteStore(tmp_path / "db")) as store:
        for edge in ("e21", "e22"):
            store.txn((), [Put(keys.nat_use(edge, made["id"]), encode(NatUse(metrics=metrics, dropped={"no_port": 3})))])
    shown = quick("nat", "show", "acme/gw").stdout
    values = dict(line.rsplit(None, 1) for line in shown.splitlines() if line.count(" "))
    assert (values["ActiveConnectionCount"], values["IdleTimeoutCount"], values["PacketsDropCount"]) == ("24", "8", "0")
    assert values["dropped: no port was free for that destination"] == "6"
    found = json.loads(quick("nat", "show", "acme/gw", "-o", "json").stdout)
    assert (found["metrics"]["ErrorPortAllocation"], found["dropped"]) == (6, {"no_port": 6})
    assert "12 (3 without a port)" in quick("status", code=2).stdout
