"""A record of a newer version isolates its VPC from every command; other VPCs are not affected."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path

import pytest

from netorch.records import keys
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run
from tests.unit.cli.whole_tree.test_names import NAMING
from tests.unit.cli.whole_tree.tree import ACTIONS, READERS

ON_OTHERS = {  # commands whose arguments name nothing in the VPC
    words
    for words, arguments in (ACTIONS | READERS).items()
    if "acme/acme" not in arguments and words not in ("plan", "diff", "apply")
}
ABOUT_IT = sorted(NAMING.keys() - ON_OTHERS - {"quota show"})


@pytest.fixture(params=["record", "kind"])
def newer(request: pytest.FixtureRequest, busy: Run, tmp_path: Path) -> Run:
    with closing(SqliteStore(tmp_path / "db")) as store:
        (kv,) = [kv for kv in store.list("vpc/").kvs if "/subnet/" in kv.key and b'"empty"' in kv.value]
        vni = int(kv.key.split("/")[1], 16)
        if request.param == "record":
            store.txn((), [Put(kv.key, b'{"schema":99,' + kv.value[1:])])
        else:
            store.txn((), [Put(keys.resources(vni, "tgw") + f"tgw-{vni:06x}00000000001", b"{}")])
    return busy


@pytest.mark.parametrize("words", ABOUT_IT)
def test_no_command_touches_the_vpc_or_shows_it_in_part(newer: Run, tmp_path: Path, words: str) -> None:
    with closing(SqliteStore(tmp_path / "db")) as store:
        before = store.list("").kvs
    done = newer(*words.split(), *shlex.split(NAMING[words]), code=1)
    assert "upgrade netorch here" in done.stderr
    with closing(SqliteStore(tmp_path / "db")) as store:
        assert store.list("").kvs == before


def test_lists_exports_and_reach_leave_it_out_and_say_so(newer: Run) -> None:
    for words, code in (("vpc list", 0), ("subnet list", 0), ("instance list", 0), ("export", 2), ("reach --matrix", 2)):
        done = newer(*words.split(), code=code)
        assert "VPC acme/acme is left out" in done.stderr
        assert "upgrade netorch here" in done.stderr
        assert "10.44" not in done.stdout
    assert "upgrade netorch here" in newer("store", "check", code=2).stdout
    assert "upgrade netorch here" in newer("status", code=2).stdout
    assert "upgrade netorch here" in newer("plan", code=1).stderr
    assert "upgrade netorch here" in newer("destroy", "acme/acme", "--yes", code=1).stderr


def test_other_vpcs_go_on(newer: Run) -> None:
    newer("subnet", "create", "a", "--vpc", "bare", "--cidr", "10.0.1.0/24")
    assert "10.0.1.0/24" in newer("subnet", "show", "bare/a").stdout
