"""`netorch store copy` from one file to another, and its output."""

from __future__ import annotations

from pathlib import Path

from netorch.store import open_store
from tests.unit.cli.conftest import Run


def test_a_cloud_is_the_same_in_a_copy_of_its_store(quick: Run, tmp_path: Path) -> None:
    quick("apply", "-f", "vpc.yaml", "--no-wait")
    store = open_store(str(tmp_path / "db"))
    records, revision = len(store.list("").kvs), store.revision()
    store.close()
    done = quick("store", "copy", str(tmp_path / "db"), str(tmp_path / "copy"))
    assert done.stdout == f"copied {records} records of revision {revision} and read each back\n"
    for words in (("plan", "-f", "vpc.yaml"), ("store", "check")):
        quick("--store", str(tmp_path / "copy"), *words)
    listed = [quick("--store", str(tmp_path / place), "instance", "list", "-o", "json").stdout for place in ("db", "copy")]
    assert listed[0] == listed[1]


def test_what_cannot_be_copied_is_refused_with_the_reason(quick: Run, tmp_path: Path) -> None:
    quick("host", "create", "hv1", "--underlay", "192.0.2.11")
    assert "exists; give a path" in quick("store", "copy", "db", "db", code=1).stderr
    assert "does not exist" in quick("store", "copy", "missing", "copy", code=1).stderr
    assert "is not a store address" in quick("store", "copy", "db", "ftp://x", code=1).stderr
    assert "only the operator may do this" in quick("--owner", "acme", "store", "copy", "db", "copy", code=1).stderr
    assert {path.name for path in tmp_path.iterdir() if "copy" in path.name} == set()
