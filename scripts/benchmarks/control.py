"""Cost of committing the seed's configuration to the SQLite store, of applying it again unchanged, and of adding one subnet.

A commit counts once it is on the disk (write-ahead log, synchronous FULL), so seconds depend on the disk below TMPDIR; the
ratio is to sqlite3 alone, which writes the same rows in as many transactions to the same directory.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from pathlib import Path

import msgspec
from common import Figure, best_in_turns, growth, show, stopwatch
from spec import seed_cloud

from netorch.control.actions.subnets import create_subnet, delete_subnet
from netorch.control.apply.changes import CloudPlan
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.model.cloud import Cloud, SubnetDecl
from netorch.records.caller import Caller
from netorch.spec import load_cloud
from netorch.store.rules import MAX_OPS
from netorch.store.sqlite.store import SqliteStore

ROUNDS = 5
SIZES = (10, 100, 2_000)
ADDITIONS = 40
OPERATOR = Caller(operator=True)
SOURCE = "seed.yaml"
SUBNET = SubnetDecl(name="one-more", cidr="10.44.16.0/22")


def plan(store: SqliteStore, cloud: Cloud) -> CloudPlan:
    """Return the plan that `netorch apply` makes."""
    return plan_cloud(store, OPERATOR, cloud, source=SOURCE)


def raw_sqlite(path: Path, rows: list[tuple[str, bytes]]) -> None:
    """Write the rows with sqlite3 alone: one table, as many rows in a transaction as the store allows."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
    for start in range(0, len(rows), MAX_OPS):
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO kv VALUES (?, ?)", rows[start : start + MAX_OPS])
        db.execute("COMMIT")
    db.close()


class Round(msgspec.Struct, kw_only=True):
    """One application of the seed's configuration to an empty store, in seconds."""

    plan: float
    commit: float
    again: float
    raw: float
    writes_again: int
    transactions: int
    records: int


def apply_twice(directory: Path, cloud: Cloud) -> Round:
    """Return the cost of a first and a second application, and of writing the same rows with sqlite3 alone."""
    store = SqliteStore(directory / "seed.db")
    plans: list[CloudPlan] = []
    planning = stopwatch(lambda: plans.append(plan(store, cloud)))
    before = store.revision()
    committing = stopwatch(lambda: apply_cloud(store, plans[0]))
    after = store.revision()
    again = stopwatch(lambda: apply_cloud(store, plan(store, cloud)))
    rows = [(kv.key, kv.value) for kv in store.list("").kvs]
    found = Round(
        plan=planning,
        commit=committing,
        again=again,
        raw=stopwatch(lambda: raw_sqlite(directory / "raw.db", rows)),
        writes_again=store.revision() - after,
        transactions=after - before,
        records=len(rows),
    )
    store.close()
    return found


def commit_figures() -> list[Figure]:
    """Return the cost of the seed's configuration; the best of each part."""
    cloud = seed_cloud()
    text = msgspec.json.encode(cloud).decode()
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="netorch-bench-") as name:
            rounds.append(apply_twice(Path(name), cloud))
    load = best_in_turns({"load": lambda: load_cloud("vpc.json", text)}, ROUNDS)["load"]
    planning, commit = min(one.plan for one in rounds), min(one.commit for one in rounds)
    raw = min(one.raw for one in rounds)
    size = f"{rounds[0].records} records in {rounds[0].transactions} transactions"
    return [
        Figure(name="writes of the second application", value=max(one.writes_again for one in rounds), goal=0, digits=0),
        Figure(name="commit : sqlite3 alone", value=commit / raw, unit="x", note=f"sqlite3 {raw:.3f} s"),
        Figure(name="plan and commit : loading the JSON", value=(planning + commit) / load, unit="x"),
        Figure(name="load, plan and commit", value=load + planning + commit, unit="s", goal=1.0, digits=3, note=size),
        Figure(name="  load and check the JSON", value=load, unit="s", digits=3),
        Figure(name="  plan", value=planning, unit="s", digits=3),
        Figure(name="  commit", value=commit, unit="s", digits=3),
        Figure(name="plan and apply it again, unchanged", value=min(one.again for one in rounds), unit="s", digits=3),
    ]


def addition(store: SqliteStore, vpc_id: str) -> tuple[float, float]:
    """Return the least CPU seconds and the median seconds of adding one subnet; each is deleted again."""
    cpu, seconds = [], []
    for _ in range(ADDITIONS):
        begin, began = time.process_time(), time.perf_counter()
        subnet = create_subnet(store, OPERATOR, vpc_id, name=SUBNET.name, cidr="10.44.15.0/24")
        cpu.append(time.process_time() - begin)
        seconds.append(time.perf_counter() - began)
        delete_subnet(store, OPERATOR, subnet.id)
    return min(cpu), sorted(seconds)[ADDITIONS // 2]


def with_one_more(cloud: Cloud) -> Cloud:
    """Return the cloud with an additional subnet in its middle VPC."""
    middle = len(cloud.vpcs) // 2
    vpc = cloud.vpcs[middle]
    wider = msgspec.structs.replace(vpc, cidrs=["10.44.0.0/19"], subnets=[*vpc.subnets, SUBNET])
    return msgspec.structs.replace(cloud, vpcs=[*cloud.vpcs[:middle], wider, *cloud.vpcs[middle + 1 :]])


def growth_figures(directory: Path) -> list[Figure]:
    """Return the cost of an additional subnet in stores of several sizes: by its own action, and by the whole file."""
    actions, files, medians, commits = [], [], [], []
    for size in SIZES:
        store = SqliteStore(directory / f"growth{size}.db")
        cloud = seed_cloud(size)
        for decl in cloud.vpcs:
            decl.subnets[3] = msgspec.structs.replace(decl.subnets[3], cidr="10.44.12.0/23")  # room for one more
        apply_cloud(store, plan(store, cloud))
        vpc = next(kv for kv in store.list("vpc/").kvs if kv.key.endswith("/vpc"))
        cpu, median = addition(store, msgspec.json.decode(vpc.value)["id"])
        actions.append(cpu)
        medians.append(median)
        wider = with_one_more(cloud)
        files.append(best_in_turns({"plan": lambda: plan(store, wider)}, 3)["plan"])  # noqa: B023 - called before the next turn
        before = store.revision()
        apply_cloud(store, plan(store, wider))
        commits.append(store.revision() - before)
        store.close()
    found = [
        Figure(name="subnet create: exponent, 10 to 2,000 VPCs", value=growth(SIZES, actions), goal=0.1, note="of CPU time"),
        Figure(name="same by the whole file: transactions", value=max(commits), goal=1, digits=0),
        Figure(name="  exponent of its plan", value=growth(SIZES, files), note="the whole file is compared"),
    ]
    for size, cpu, median, file in zip(SIZES, actions, medians, files, strict=True):
        note = f"median {median * 1e3:.2f} ms on this disk; plan of the file {file * 1e3:.1f} ms"
        found.append(Figure(name=f"  {size:,} VPCs: subnet create, CPU", value=cpu * 1e3, unit="ms", note=note))
    return found


def main() -> int:
    """Print all figures; return 1 when a goal is missed."""
    missed = show("2,000 VPCs of 4 subnets into an empty SQLite store", commit_figures())
    with tempfile.TemporaryDirectory(prefix="netorch-bench-") as name:
        missed += show("one subnet more", growth_figures(Path(name)))
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
