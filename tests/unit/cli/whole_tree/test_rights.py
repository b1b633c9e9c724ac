"""The rights of hosts in a cloud with something of every kind: what their agents read and write, and not a VPC more."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.control.identities.rights import vni_of_right
from netorch.control.identities.roles import GrantingStore, role_of, sweep
from netorch.drivers.fake.kernel import FakeKernel
from netorch.model.ids import is_id, vni_of
from netorch.records import keys
from netorch.store.base import Delete, Store
from netorch.store.sqlite.store import SqliteStore
from tests.rig.etcd.rights import Guarded, MemoryAccess
from tests.unit.cli.conftest import Run


def hosts_of(store: Store) -> list[str]:
    return sorted({kv.key.split("/")[1] for kv in store.list("host/").kvs})


@pytest.mark.slow
def test_an_agent_has_the_rights_that_it_needs_and_no_other_vpc_s(busy: Run, tmp_path: Path) -> None:
    access, carried = MemoryAccess(), 0
    with closing(SqliteStore(tmp_path / "db")) as store:
        for name in hosts_of(store):
            access.add_role(role_of(name))
            sweep(store, access, name)
            guarded = cast(Store, Guarded(store, access, role_of(name)))
            snapshot = SnapshotFile(tmp_path / f"{name}.snapshot")
            agent = Agent(name, FakeKernel(), lambda guarded=guarded: guarded, snapshot, load_compilers())  # type: ignore[misc]
            agent.start()
            for _ in range(5):
                agent.step(0.0)
            assert agent.follower.in_sync, (name, agent.follower.trouble)
            held = access.rights(role_of(name)) or frozenset()
            followed = {int(prefix[4:10], 16) for prefix in agent.records.prefixes if prefix.startswith("vpc/")}
            assert {vni_of_right(right) for right in held if right.place.startswith(("vpc/", "map/"))} == followed, name
            carried += len(followed)
            agent.follower.unwatch()
            agent.kernel.close()
    assert carried > 5


def test_what_a_command_grants_is_what_a_sweep_grants(busy: Run, tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "db")) as store:
        access = MemoryAccess()
        granting = GrantingStore(store, access)
        for name in hosts_of(store):
            access.add_role(role_of(name))
            sweep(store, access, name)
        before = {name: access.rights(role_of(name)) for name in hosts_of(store)}
        placements = [kv.key for kv in store.list("host/").kvs if "/placement/" in kv.key]
        for key in placements:
            granting.txn((), [Delete(key)])
        for name in hosts_of(store):
            left = access.rights(role_of(name)) or frozenset()
            assert not [right for right in left if right.place.startswith(("vpc/", "map/"))]
            sweep(store, access, name)
            assert access.rights(role_of(name)) == left
        assert before != {name: access.rights(role_of(name)) for name in hosts_of(store)}
        assert all(is_id(key.split("/")[3]) and vni_of(key.split("/")[3]) for key in placements)
        gone = hosts_of(store)[0]
        granting.txn((), [Delete(keys.host_spec(gone))])
        assert access.rights(role_of(gone)) is None
