"""What it costs to commit the seed's configuration to the SQLite store, to apply it again unchanged, and to add one subnet.

Each commit is on the disk when it counts (write-ahead log, synchronous FULL), so seconds depend on the disk below TMPDIR; the
ratio is to sqlite3 alone, writing the same rows in as many transactions to the same directory.
"""

from __future__ import annotations

import itertools
import math
import sqlite3
import tempfile
import time
from pathlib import Path

import msgspec
from common import Figure, best_in_turns, growth, show, stopwatch
from spec import seed_cloud

from netorch.control.caller import Caller
from netorch.control.changes import CloudPlan
from netorch.control.cloud import apply_cloud, plan_cloud
from netorch.control.subnets import create_subnet, delete_subnet
from netorch.model.cloud import Cloud, SubnetDecl
from netorch.spec import load_cloud
from netorch.store.rules import MAX_OPS
from netorch.store.sqlite import SqliteStore

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
    """Write the rows with nothing but sqlite3: one table, as many rows in a transaction as the store allows."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
    for start in range(0, len(rows), MAX_OPS):
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO kv VALUES (?, ?)", rows[start : start + MAX_OPS])
        db.execute("COMMIT")
    db.close()


def commit_figures(directory: Path) -> list[Figure]:
    """Return what a first and a second application of the seed's configuration cost."""
    cloud = seed_cloud()
    text = msgspec.json.encode(cloud).decode()
    names = itertools.count()
    best = dict.fromkeys(("plan", "commit", "again", "raw"), math.inf)
    writes = transactions = rows = 0
    for _ in range(ROUNDS):
        store = SqliteStore(directory / f"{next(names)}.db")
        plans: list[CloudPlan] = []
        best["plan"] = min(best["plan"], stopwatch(lambda: plans.append(plan(store, cloud))))
        before = store.revision()
        best["commit"] = min(best["commit"], stopwatch(lambda: apply_cloud(store, plans[0])))
        after = store.revision()
        best["again"] = min(best["again"], stopwatch(lambda: apply_cloud(store, plan(store, cloud))))
        writes = max(writes, store.revision() - after)
        stored = [(kv.key, kv.value) for kv in store.list("").kvs]
        best["raw"] = min(best["raw"], stopwatch(lambda: raw_sqlite(directory / f"raw{next(names)}.db", stored)))
        transactions, rows = after - before, len(stored)
        store.close()
    load = best_in_turns({"load": lambda: load_cloud("vpc.json", text)}, ROUNDS)["load"]
    return [
        Figure(name="writes of the second application", value=writes, goal=0, digits=0),
        Figure(name="commit : sqlite3 alone", value=best["commit"] / best["raw"], unit="x", note=f"raw {best['raw']:.3f} s"),
        Figure(name="plan and commit : loading the JSON", value=(best["plan"] + best["commit"]) / load, unit="x"),
        Figure(
            name="load, plan and commit",
            value=load + best["plan"] + best["commit"],
            unit="s",
            goal=1.0,
            digits=3,
            note=f"{rows} records in {transactions} transactions",
        ),
        Figure(name="  load and check the JSON", value=load, unit="s", digits=3),
        Figure(name="  plan", value=best["plan"], unit="s", digits=3),
        Figure(name="  commit", value=best["commit"], unit="s", digits=3),
        Figure(name="plan and apply it again, unchanged", value=best["again"], unit="s", digits=3),
    ]


def addition(store: SqliteStore, vpc_id: str) -> tuple[float, float]:
    """Return the least CPU seconds and the median seconds of adding one subnet, which is taken away again each time."""
    cpu, seconds = [], []
    for _ in range(ADDITIONS):
        begin, began = time.process_time(), time.perf_counter()
        subnet = create_subnet(store, OPERATOR, vpc_id, name=SUBNET.name, cidr="10.44.15.0/24")
        cpu.append(time.process_time() - begin)
        seconds.append(time.perf_counter() - began)
        delete_subnet(store, OPERATOR, subnet.id)
    return min(cpu), sorted(seconds)[ADDITIONS // 2]


def with_one_more(cloud: Cloud) -> Cloud:
    """Return the cloud with one subnet more, in its middle."""
    middle = len(cloud.vpcs) // 2
    vpc = cloud.vpcs[middle]
    wider = msgspec.structs.replace(vpc, cidrs=["10.44.0.0/19"], subnets=[*vpc.subnets, SUBNET])
    return msgspec.structs.replace(cloud, vpcs=[*cloud.vpcs[:middle], wider, *cloud.vpcs[middle + 1 :]])


def growth_figures(directory: Path) -> list[Figure]:
    """Return what one subnet more costs in stores of several sizes: by an action of its own, and by the whole file."""
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
        files.append(best_in_turns({"plan": lambda: plan(store, wider)}, 3)["plan"])  # noqa: B023 - used up before the next turn
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
    with tempfile.TemporaryDirectory(prefix="netorch-bench-") as name:
        missed = show("2,000 VPCs of 4 subnets into an empty SQLite store", commit_figures(Path(name)))
        missed += show("one subnet more", growth_figures(Path(name)))
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
