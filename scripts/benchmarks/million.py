"""The control plane with a million VPCs of 4 subnets: bytes of disk and RAM a VPC, reads, restart, and the growth of commands.

Every owner has five VPCs. The store gets the records that `apply` writes for one of them, with other numbers and names; `control`
measures `apply` itself. Commands run in this process, in a store of a thousandth of the size and in the whole one. The exponents
of their growth are of CPU time, which hardly depends on what else the machine does, and the keys that they read are counted.
etcd is one member, and gets a quarter of the VPCs: as many as one cell (docs/design/scale.md). Its RAM is the anonymous part: the
rest is its mapped file, which the kernel can drop. Every run starts from nothing in the directory for temporary files (TMPDIR),
needs 8 KB there for each VPC, shows its progress on stderr, and removes everything, also when it is interrupted.
Arguments: `sqlite` or `etcd` for one back end; another number of VPCs, e.g. 10000 for a minute.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
from click.testing import CliRunner
from common import Figure, anonymous_bytes, growth, show

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests, whose cluster is used

from netorch.cli.main import cli
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.store import open_store
from netorch.store.base import Put, Range, Store
from netorch.store.etcd.store import EtcdStore
from netorch.store.memory import MemoryStore
from netorch.store.rules import MAX_OPS
from netorch.store.sqlite.store import SqliteStore
from tests.rig.etcd.cluster import Cluster, Member

VPCS: Final = 1_000_000
CELL: Final = 4  # etcd gets a quarter
SMALL: Final = 1_000  # the small store's share
FIRST_VNI: Final = 0x10000
ROUNDS: Final = 15
WRITERS: Final = 8
DISK_BYTES: Final = 2.2 * 1024
RAM_BYTES: Final = 1024
QUOTA_BYTES: Final = 8 << 30
ROOM_BYTES: Final = 8_000  # of the disk, for a VPC with its history
TELL_S: Final = 10.0  # between two reports of progress
RESTART_S: Final = 600.0  # patience
SUBNETS: Final = ("web", "app", "db", "mgmt")
OPERATOR: Final = Caller(operator=True)
_TEMPLATE: Final = (0xABCDEF, "owner-template", "vpc-template")


def template() -> list[tuple[str, str]]:
    """Return the keys and values that `apply` writes for one VPC."""
    vni, owner, name = _TEMPLATE
    subnets = [SubnetDecl(name=each, cidr=f"10.44.{4 * index}.0/22") for index, each in enumerate(SUBNETS)]
    store = MemoryStore()
    cloud = Cloud(vpcs=[VpcDecl(name=name, owner=owner, vni=vni, cidrs=["10.44.0.0/20"], subnets=subnets)])
    apply_cloud(store, plan_cloud(store, OPERATOR, cloud))
    return [(kv.key, kv.value.decode()) for kv in store.list("").kvs]


def records(number: int, known: Sequence[tuple[str, str]]) -> Iterator[Put]:
    """Yield the records of one VPC."""
    vni, owner, name = _TEMPLATE
    own = FIRST_VNI + number
    for pair in known:
        key, value = (
            text.replace(f"{vni:06x}", f"{own:06x}").replace(owner, owner_of(number)).replace(name, name_of(number))
            for text in pair
        )
        yield Put(key, value.replace(f'"vni":{vni}', f'"vni":{own}').encode())


def owner_of(number: int) -> str:
    """Return the owner of a VPC."""
    return f"customer-{number // 5:06d}"


def name_of(number: int) -> str:
    """Return the name of a VPC."""
    return f"vpc-{number:07d}"


def fill(store: Store, vpcs: int) -> float:
    """Write the VPCs and two hosts; return the seconds."""
    known = template()
    each = MAX_OPS // len(known)
    hosts = [HostDecl(name=f"hv{number}", underlay=f"192.0.2.{number}") for number in (1, 2)]
    apply_cloud(store, plan_cloud(store, OPERATOR, Cloud(hosts=hosts)))

    def write(first: int) -> None:
        assert store.txn((), [put for one in range(first, min(first + each, vpcs)) for put in records(one, known)]).succeeded

    begin = told = time.monotonic()
    with ThreadPoolExecutor(WRITERS if isinstance(store, EtcdStore) else 1) as pool:
        for number, _ in enumerate(pool.map(write, range(0, vpcs, each))):
            if (now := time.monotonic()) >= told + TELL_S:
                told = now
                tell(f"{number * each:,} of {vpcs:,} VPCs written in {now - begin:.0f} s")
    return time.monotonic() - begin


def tell(what: str) -> None:
    """Show progress."""
    print(f"million: {what}", file=sys.stderr, flush=True)


def few_of(vpcs: int) -> int:
    """Return the number of VPCs in the small store."""
    return max(vpcs // SMALL, 100)


class Reads:
    """Counts the keys that commands read from any store."""

    def __init__(self) -> None:
        self.keys = 0
        for of in (SqliteStore, EtcdStore):
            of.get = self._counted(of.get)  # type: ignore[method-assign]
            of.list = self._counted(of.list)  # type: ignore[method-assign]

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: object) -> object:
            found = method(*arguments)
            self.keys += 1 + (len(found.kvs) if isinstance(found, Range) else 0)
            return found

        return counted


class Measured(msgspec.Struct, kw_only=True):
    """Commands in one store: the CPU milliseconds of the quickest run, and the most keys that a run reads."""

    vpcs: int
    cpu_ms: dict[str, float] = {}
    keys: dict[str, int] = {}


def commands(url: str, vpcs: int, reads: Reads, directory: Path) -> Measured:
    """Run each command several times in a VPC in the middle of the store."""
    middle = vpcs // 2
    path = f"{owner_of(middle)}/{name_of(middle)}"
    file = directory / "one.yaml"
    subnet = SubnetDecl(name="one", cidr="10.7.0.0/24")
    instance = InstanceDecl(name="a", host="hv1")
    decl = VpcDecl(name="one-more", owner=owner_of(middle), cidrs=["10.7.0.0/16"], subnets=[subnet], instances=[instance])
    file.write_text(msgspec.json.encode(Cloud(vpcs=[decl])).decode())
    found = Measured(vpcs=vpcs)
    lines = {
        "vpc show": ["vpc", "show", path],
        "instance run": ["instance", "run", "one", "--subnet", f"{path}/web", "--host", "hv1", "--dry-run"],
        "plan": ["plan", "-f", str(file)],
    }
    for name, words in lines.items():
        for _ in range(ROUNDS):
            before, begin = reads.keys, time.process_time()
            done = CliRunner().invoke(cli, ["--store", url, *words])
            taken = (time.process_time() - begin) * 1e3
            assert done.exit_code == (2 if name == "plan" else 0), f"{words}: {done.output} {done.exception!r}"
            found.cpu_ms[name] = min(found.cpu_ms.get(name, taken), taken)
            found.keys[name] = max(found.keys.get(name, 0), reads.keys - before)
    return found


def growths(few: Measured, many: Measured) -> list[Figure]:
    """Return the growth of each command."""
    figures = []
    for name in many.cpu_ms:
        sizes = (few.vpcs, many.vpcs)
        note = f"{few.cpu_ms[name]:.1f} ms and {many.cpu_ms[name]:.1f} ms of CPU with {few.vpcs:,} and {many.vpcs:,} VPCs"
        exponent = growth(sizes, (few.cpu_ms[name], many.cpu_ms[name]))
        figures.append(Figure(name=f"{name}: exponent", value=exponent, goal=0.1, note=note))
        more = many.keys[name] - few.keys[name]
        figures.append(Figure(name="  keys read, more", value=more, goal=0, digits=0, note=f"{many.keys[name]} keys"))
    return figures


def list_ms(store: Store, vpcs: int) -> float:
    """Return the milliseconds of the median listing of one VPC."""
    taken = []
    for number in range(200):
        prefix, begin = keys.vpc_prefix(FIRST_VNI + number * vpcs // 200), time.perf_counter()
        assert len(store.list(prefix).kvs) == 4 + len(SUBNETS)
        taken.append(time.perf_counter() - begin)
    return sorted(taken)[100] * 1e3


def served_s(url: str) -> float:
    """Return the seconds in which another process opens the store and lists a VPC, less those of starting Python."""
    listing = "import sys; from netorch.store import open_store; assert open_store(sys.argv[1]).list(sys.argv[2]).kvs"
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", listing, url, keys.vpc_prefix(FIRST_VNI)], check=True)
    return time.monotonic() - begin


def mapped_bytes(pid: int) -> int:
    """Return the resident pages of mapped files of a process. proc_pid_status(5)."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssFile:"))
    return int(line.split()[1]) << 10


def raw_figures(vpcs: int) -> list[Figure]:
    """Return the size of a VPC's records."""
    puts = list(records(vpcs // 2, template()))
    size = sum(len(put.key) + len(put.value) for put in puts)
    return [Figure(name="keys and values of a VPC", value=size, unit="B", digits=0, note=f"{len(puts)} keys")]


def sqlite(vpcs: int, reads: Reads, directory: Path) -> int:
    """Measure a SQLite store; return the number of missed goals."""
    small, path = directory / "small.db", directory / "whole.db"
    with closing(SqliteStore(small)) as store:
        fill(store, few_of(vpcs))
    before = anonymous_bytes("self")
    with closing(SqliteStore(path)) as store:
        seconds = fill(store, vpcs)
        ram = anonymous_bytes("self") - before
        listing = list_ms(store, vpcs)
        with_history = path.stat().st_size
        tell("removing the history")
        store.compact(store.revision())
        page, pages, free = (
            store._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
        )
    figures = [
        Figure(name="disk a VPC", value=page * (pages - free) / vpcs, unit="B", goal=DISK_BYTES, digits=0),
        Figure(name="  with the history", value=with_history / vpcs, unit="B", digits=0, note="of 100,000 revisions"),
        Figure(name="RAM a VPC", value=max(ram, 0) / vpcs, unit="B", goal=RAM_BYTES, digits=0),
        Figure(name="written in", value=seconds, unit="s", digits=0, note=f"{vpcs / seconds:,.0f} VPCs/s"),
        Figure(name="listing of one VPC", value=listing, unit="ms", goal=1.0, digits=3),
        Figure(name="another process serves after", value=served_s(str(path)), unit="s", goal=10.0),
    ]
    tell("running commands")
    few = commands(str(small), few_of(vpcs), reads, directory)
    figures += growths(few, commands(str(path), vpcs, reads, directory))
    return show(f"SQLite with {vpcs:,} VPCs", raw_figures(vpcs) + figures)


def etcd(vpcs: int, reads: Reads, directory: Path) -> int:
    """Measure one member of etcd; return the number of missed goals."""
    options = ["--quota-backend-bytes", str(QUOTA_BYTES), "--snapshot-count", "10000"]
    cluster = Cluster(directory, 1, options, 40)
    member = cluster.members[0]
    try:
        cluster.leader()
        with closing(open_store(cluster.url("small"), create=True)) as store:
            fill(store, few_of(vpcs))
        with closing(open_store(cluster.url("whole"), create=True)) as store:
            seconds = fill(store, vpcs)
            listing = list_ms(store, vpcs)
            ram, mapped = anonymous_bytes(member.pid), mapped_bytes(member.pid)
            disk = (member.directory / "member/snap/db").stat().st_blocks * 512
        tell("running commands")
        few = commands(cluster.url("small"), few_of(vpcs), reads, directory)
        many = commands(cluster.url("whole"), vpcs, reads, directory)
        member.kill()
        begin = time.monotonic()
        cluster.start(member)
        await_leader(member)
        served = time.monotonic() - begin + served_s(cluster.url("whole"))
        figures = [
            Figure(name="disk a VPC", value=disk / vpcs, unit="B", goal=DISK_BYTES, digits=0),
            Figure(name="RAM a VPC", value=ram / vpcs, unit="B", goal=RAM_BYTES, digits=0, note="after writing, anonymous"),
            Figure(name="  mapped file", value=mapped / vpcs, unit="B", digits=0, note="resident pages"),
            Figure(name="  after a restart", value=anonymous_bytes(member.pid) / vpcs, unit="B", digits=0, note="anonymous"),
            Figure(name="  mapped file", value=mapped_bytes(member.pid) / vpcs, unit="B", digits=0, note="resident pages"),
            Figure(name="written in", value=seconds, unit="s", digits=0, note=f"{vpcs / seconds:,.0f} VPCs/s, {WRITERS} writers"),
            Figure(name="listing of one VPC", value=listing, unit="ms", goal=1.0, digits=3),
            Figure(name="restart to serving", value=served, unit="s"),
        ]
        return show(f"one member of etcd with {vpcs:,} VPCs", figures + growths(few, many))
    finally:
        cluster.close()


def await_leader(member: Member) -> None:
    """Wait until a lone member serves; it reads all of its file first."""
    tell("waiting for etcd to start again")
    give_up = time.monotonic() + RESTART_S
    while (status := member.status()) is None or not status.leader:
        assert time.monotonic() < give_up, f"etcd does not serve {RESTART_S:.0f} s after its start"
        time.sleep(0.05)


def main(arguments: Sequence[str]) -> int:
    """Print all figures; return 1 when a goal is missed."""
    numbers = [int(word) for word in arguments if word.isdigit()]
    chosen = [word for word in arguments if word in ("sqlite", "etcd")]
    if len(numbers) + len(chosen) < len(arguments):
        raise SystemExit("million: give sqlite or etcd, and a number of VPCs")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is removed
    reads, missed = Reads(), 0
    sizes = {"sqlite": numbers[0] if numbers else VPCS, "etcd": numbers[0] if numbers else VPCS // CELL}
    for name, measure in (("sqlite", sqlite), ("etcd", etcd)):
        if name in (chosen or sizes):
            with tempfile.TemporaryDirectory(prefix="netorch-bench-") as directory:
                if shutil.disk_usage(directory).free < (needed := sizes[name] * ROOM_BYTES):
                    raise SystemExit(f"million: {directory} has less than {needed >> 20:,} MiB; set TMPDIR to a larger disk")
                missed += measure(sizes[name], reads, Path(directory))
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
