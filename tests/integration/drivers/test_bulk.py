"""Many objects at once: they are created and read back. Rates are printed beside those of `ip -batch`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from netorch.drivers.base import Lost
from netorch.drivers.linux import LinuxKernel
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import Neighbour, Route
from netorch.state.link import AdminUp
from netorch.state.op import Create, Delete
from tests.rig.hosts import (
    ROUTER,
    VNI,
    VRF,
    VXLAN,
    create,
    host,
)

pytestmark = pytest.mark.root

OVERLAY_NETNS = "netorch-hv1"


@pytest.fixture
def kernel() -> Iterator[LinuxKernel]:
    with host("hv1") as kernel:
        yield kernel


@pytest.mark.slow
def test_bulk_is_as_fast_as_ip_batch(kernel: LinuxKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The test only prints rates; it asserts that 60,000 objects are created and read back."""
    create(kernel, VRF, AdminUp(vni=5000, ifname="vrf5000"))
    devices = [msgspec.structs.replace(VXLAN, ifname=f"vx{vni}", vni=vni) for vni in range(5000, 5020)]
    create(kernel, *devices, *(AdminUp(vni=VNI, ifname=vxlan.ifname) for vxlan in devices))
    count = 20_000
    dsts = [f"10.1.{i >> 8}.{i & 255}" for i in range(count)]
    bulk: dict[str, list[KernelObject]] = {
        "route": [Route(vni=VNI, table=VNI, dst=f"{dst}/32", ifname="vx5000", via="192.0.2.12") for dst in dsts],
        "neigh": [Neighbour(vni=5000, ifname="vx5000", dst=dst, lladdr=ROUTER) for dst in dsts],
        "fdb": [
            Fdb(vni=VNI, ifname=f"vx{5000 + i % 20}", lladdr=f"02:4e:00:00:{i >> 8:02x}:{i & 255:02x}", dst="192.0.2.12")
            for i in range(count)
        ],
    }
    lines = {
        "route": [f"route add table 5000 {dst}/32 via 192.0.2.12 dev vx5000 onlink proto 200" for dst in dsts],
        "neigh": [f"neigh add {dst} lladdr {ROUTER} dev vx5000 nud permanent protocol 200" for dst in dsts],
        "fdb": [
            f"fdb add {obj.lladdr} dev {obj.ifname} dst 192.0.2.12 self permanent" for obj in bulk["fdb"] if isinstance(obj, Fdb)
        ],
    }
    for kind, objects in bulk.items():
        ops = [Create(obj) for obj in objects]
        start = time.perf_counter()
        assert kernel.apply(ops) == []
        ours = count / (time.perf_counter() - start)
        start = time.perf_counter()
        assert sum(key[0] == kind for key in kernel.dump()) >= count
        reading = count / (time.perf_counter() - start)
        start = time.perf_counter()
        assert kernel.apply([Delete(obj) for obj in objects]) == []
        gone = count / (time.perf_counter() - start)
        tool = "bridge" if kind == "fdb" else "ip"
        batch = tmp_path / kind
        batch.write_text("\n".join(lines[kind][:2000]) + "\n")
        start = time.perf_counter()
        subprocess.run([tool, "-n", OVERLAY_NETNS, "-batch", str(batch)], check=True)
        theirs = 2000 / (time.perf_counter() - start)
        with capsys.disabled():
            print(
                f"\n{kind}: create {ours:,.0f}/s, dump {reading:,.0f}/s, delete {gone:,.0f}/s; {tool} -batch {theirs:,.0f}/s",
                end="",
            )
    assert kernel.events()[:1] != [Lost()]
