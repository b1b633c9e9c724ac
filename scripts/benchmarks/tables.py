"""1,000 VPCs with three route tables each on one host of the lab kernel: cost of one route, association and mapping.

Each VPC has a tap in four subnets, two of which use the same table, and a mapping to another host. The agent is the real one,
in its own process. Changes are made one after the other in VPCs from the first to the last; each is timed from the commit to
the store until the kernel has it. Arguments: other numbers of VPCs in place of 10 and 1,000.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from _agent import AgentProcess, Applied
from common import Figure, lab_underlay, percentile, show
from host_parts.cloud import HOSTS
from scale import OPERATOR

from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.drivers import netns
from netorch.lab.kernel import run_in_kernel
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, RouteTableDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Attachment
from netorch.model.mapping import Mapping
from netorch.model.vpc import RouteTable, Subnet, VpcRoute
from netorch.records import keys
from netorch.records.codec import decode, encode
from netorch.state.owner import overlay_netns
from netorch.store import open_store
from netorch.store.base import Put, Store

VPCS = (10, 1_000)
CHANGES = 40
MEMORY_MB = 3_000
MOVING = "moving"  # the subnet whose table changes
TABLES = {"of-main": "", "of-t1": "t1", "of-t2": "t2", MOVING: "t1"}  # route table by subnet


def cloud(vpcs: int) -> Cloud:
    """Return VPCs with the same CIDR, each with a tap in every subnet on hv1, and one on hv2."""
    subnets = [
        SubnetDecl(name=name, cidr=f"10.44.{number}.0/24", route_table=table)
        for number, (name, table) in enumerate(TABLES.items())
    ]
    taps = [(name, "hv1", f"10.44.{number}.4") for number, name in enumerate(TABLES)] + [("of-main", "hv2", "10.44.0.5")]
    return Cloud(
        hosts=[HostDecl(name=name, underlay=vtep) for name, vtep in HOSTS.items()],
        vpcs=[
            VpcDecl(
                name=f"vpc-{number:05d}",
                owner=f"customer-{number % 500:03d}",
                cidrs=["10.44.0.0/16"],
                route_tables=[RouteTableDecl(name=name) for name in ("t1", "t2")],
                subnets=subnets,
                instances=[
                    InstanceDecl(name=f"{name}-{host}", subnet=name, host=host, address=address, attachment=Attachment.TAP)
                    for name, host, address in taps
                ],
            )
            for number in range(vpcs)
        ],
    )


def _changes(store: Store) -> Iterator[tuple[str, str, msgspec.Struct]]:
    """Yield a kind of change, a key and the new record.

    A route is one operation. An association changes the port's master, its neighbour, and its route in three tables. When a
    mapping moves from one host, as its only address, to another, its route changes in three tables; a neighbour, an FDB entry and
    two elements of verification are made for the new host and deleted for the old.
    """
    vpcs = [int(kv.key.split("/")[1], 16) for kv in store.list("vpc/").kvs if kv.key.endswith("/vpc")]
    for turn in range(CHANGES):
        vni = vpcs[turn // 2 * len(vpcs) // CHANGES]
        found = {kv.key: kv for kv in store.list(keys.vpc_prefix(vni)).kvs}
        tables = {each.name: each for each in (decode(kv, RouteTable) for key, kv in found.items() if "/rtb/" in key)}
        subnet = next(
            each for each in (decode(kv, Subnet) for key, kv in found.items() if "/subnet/" in key) if each.name == MOVING
        )
        there = turn % 2 == 0
        routes = (VpcRoute(destination="192.0.2.0/24", target="blackhole"),) if there else ()
        table = msgspec.structs.replace(tables["t1"], routes=routes)
        yield "route", keys.resource(table.id), table
        yield (
            "association",
            keys.resource(subnet.id),
            msgspec.structs.replace(subnet, route_table=tables["t2" if there else "t1"].id),
        )
        known = store.get(keys.mapping(vni, "10.44.0.5"))
        assert known is not None
        host = "hv3" if there else "hv2"
        yield "mapping", known.key, msgspec.structs.replace(decode(known, Mapping), host=host, vtep=HOSTS[host])


class Measured(msgspec.Struct, kw_only=True):
    """The cost of each kind of change: seconds and numbers of operations."""

    build: float
    objects: int
    seconds: dict[str, list[float]] = msgspec.field(default_factory=dict)
    writes: dict[str, set[int]] = msgspec.field(default_factory=dict)


def measure(vpcs: int, directory: Path) -> Measured:
    """Build a host with so many VPCs, and change them."""
    directory.mkdir()
    path = directory / "netorch.db"
    store = open_store(str(path), create=True)
    apply_cloud(store, plan_cloud(store, OPERATOR, cloud(vpcs)))
    agent = AgentProcess(lab_underlay("hv1", HOSTS["hv1"]), path, directory)
    measured = Measured(build=agent.started.seconds, objects=agent.started.objects)
    for kind, key, record in _changes(store):
        begin = time.monotonic()
        store.txn((), [Put(key, encode(record))])
        applied = agent.hear(Applied)
        measured.seconds.setdefault(kind, []).append(applied.at - begin)
        measured.writes.setdefault(kind, set()).add(applied.writes)
    agent.end()
    store.close()
    for name in ("u-hv1", overlay_netns("hv1")):
        netns.remove(name)
    return measured


def figures(found: Measured) -> list[Figure]:
    """Return the cost of the changes."""
    table = [Figure(name="build, store to kernel", value=found.build, unit="s", note=f"{found.objects:,} objects")]
    for kind, seconds in found.seconds.items():
        writes = found.writes[kind]
        table.append(Figure(name=f"operations of one {kind}", value=max(writes), digits=0, note=f"at least {min(writes)}"))
        table.append(Figure(name=f"one {kind}, commit to kernel, p50", value=percentile(seconds, 50) * 1e3, unit="ms"))
        table.append(Figure(name="  p90", value=percentile(seconds, 90) * 1e3, unit="ms"))
    return table


def growth_figures(few: Measured, many: Measured) -> list[Figure]:
    """Return how much more a change costs with many VPCs than with few.

    The time of an association grows because of Linux: when a device goes down, the kernel searches every routing table of its
    namespace (fib_flush).
    """
    table = []
    for kind in few.seconds:
        time_ratio = percentile(many.seconds[kind], 50) / percentile(few.seconds[kind], 50)
        table.append(Figure(name=f"time of one {kind}", value=time_ratio, unit="x"))
        operations = max(many.writes[kind]) / max(few.writes[kind])
        table.append(Figure(name=f"operations of one {kind}", value=operations, unit="x", goal=1.0))
    return table


def inside(sizes: Sequence[int]) -> int:
    """Measure; this process runs in the lab kernel. Return 1 when a goal is missed."""
    missed, found = 0, []
    with tempfile.TemporaryDirectory() as name:
        for vpcs in sizes:
            found.append(measure(vpcs, Path(name, str(vpcs))))
            missed += show(f"{vpcs:,} VPCs with three route tables each", figures(found[-1]))
    missed += show(f"{sizes[-1]:,} VPCs : {sizes[0]:,}", growth_figures(found[0], found[-1]))
    return int(missed > 0)


def main(arguments: Sequence[str]) -> int:
    """Run this file in the lab kernel, or the part for this process."""
    if arguments[:1] == ["--inside"]:
        return inside([int(word) for word in arguments[1:]] or VPCS)
    unknown = [word for word in arguments if not word.isdigit()]
    if unknown:
        raise SystemExit(f"tables: {unknown[0]} is no number of VPCs; give numbers")
    return run_in_kernel([sys.executable, __file__, "--inside", *arguments], memory_mb=MEMORY_MB)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
