"""A cluster restored from a backup, and a cluster that speaks only TLS."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from netorch.agent.following.history import History
from netorch.errors import FutureRevision, OtherHistory, StoreUnavailable
from netorch.store import open_store
from netorch.store.base import Put
from netorch.store.replay import events_until
from tests.rig.etcd.cluster import running_cluster
from tests.rig.services.authority import Authority


def test_a_cluster_that_was_put_back_is_refused_by_watches_and_agents(tmp_path: Path) -> None:
    with running_cluster(1) as cluster:
        member = cluster.members[0]
        store = open_store(cluster.url("s"), create=True)
        store.txn([], [Put("k", b"old")])
        member.kill()
        shutil.copytree(member.directory, tmp_path / "backup")
        cluster.start(member)
        store.txn([], [Put("k", b"1")])
        store.txn([], [Put("k", b"2")])
        end = store.revision()
        behind = store.watch(["k"], 2)
        events_until(behind, end)
        seen = History()
        seen.saw(store, behind.revision, behind.mark)
        seen.check(store)

        member.kill()
        shutil.rmtree(member.directory)
        shutil.copytree(tmp_path / "backup", member.directory)
        cluster.start(member)
        with pytest.raises(FutureRevision, match=f"was at {end} before"):
            events_until(behind, end + 1)
        with pytest.raises(OtherHistory, match="an older store"):
            seen.check(store)
        while store.revision() <= end:
            store.txn([], [Put("k", b"another")])
        with pytest.raises(OtherHistory, match="a copy that was changed on its own"):
            seen.check(store)
        resumed = store.watch(["k"], end + 1, seen.mark)
        with pytest.raises(OtherHistory, match=f"revision {end} differs from this store's"):
            resumed.poll()
        resumed.close()
        behind.close()
        store.close()


def test_members_and_clients_prove_who_they_are(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    certificate, key = ours.issue("member")
    mine, my_key = ours.issue("client")
    strange, strange_key = theirs.issue("stranger")
    files = ("--cert-file", str(certificate), "--key-file", str(key), "--trusted-ca-file", str(ours.file), "--client-cert-auth")
    with running_cluster(1, files=files) as cluster:
        place = cluster.url("s")
        store = open_store(f"{place}?ca={ours.file}&cert={mine}&key={my_key}", create=True)
        assert store.txn([], [Put("k", b"")]).succeeded
        watch = store.watch(["k"], 2)
        assert [event.key for event in events_until(watch, 2)] == ["k"]
        watch.close()
        store.close()
        for wrong in (
            place,
            f"{place}?ca={ours.file}",
            f"{place}?ca={theirs.file}&cert={mine}&key={my_key}",
            f"{place}?ca={ours.file}&cert={strange}&key={strange_key}",
        ):
            with pytest.raises(StoreUnavailable, match="no member of the cluster answers"):
                open_store(wrong, patience_s=0.1)
        with pytest.raises(StoreUnavailable, match="No such file"):
            open_store(f"{place}?ca={tmp_path}/missing.pem")
