"""Speed of creating devices, FDB entries, neighbours and routes in the lab kernel, against `ip -batch` and `bridge -batch`.

The same 10,000 objects in the same devices of the same kernel, in turns: through LinuxKernel.apply as the agent does it, by
netlink messages packed before the clock runs, and by iproute2 from a file. Devices come in pairs of a VRF and its VXLAN
device with everything that the agent sets: MAC, MTU, VRF, mark, up.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from common import Figure, show, stopwatch

from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.netlink import Channel, Message
from netorch.drivers.rtnl import encode
from netorch.drivers.rtnl.uapi import RTM
from netorch.lab.kernel import run_in_kernel
from netorch.state import base
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import Neighbour, Route, Rule
from netorch.state.link import AdminUp, Vrf, Vxlan
from netorch.state.nft import NftElement, NftTable
from netorch.state.op import Create, Delete
from netorch.state.owner import PROTOCOL, altname, overlay_netns
from netorch.state.sysctls import namespace_sysctls

MEMORY_MB = 1024
OBJECTS = 10_000
PAIRS = 300
ROUNDS = 4
LINK_ROUNDS = 3
HOST = "bench"
UNDERLAY = "u-bench"
VTEP = "192.0.2.11"
REMOTE = "192.0.2.12"
ROUTER_MAC = "02:4e:c0:00:02:0b"
MTU = 1450
VNI = 5000


def address(number: int) -> str:
    """Return one of 65,536 addresses."""
    return f"10.44.{number >> 8 & 255}.{number & 255}"


def mac(number: int) -> str:
    """Return a MAC."""
    return f"02:4e:0a:00:{number >> 8 & 255:02x}:{number & 255:02x}"


def pair(vni: int) -> list[KernelObject]:
    """Return the objects of a VPC's two devices."""
    return [
        Vrf(vni=vni, ifname=f"vrf{vni}", table=vni),
        AdminUp(ifname=f"vrf{vni}"),
        Vxlan(ifname=f"vx{vni}", vni=vni, local=VTEP, lladdr=ROUTER_MAC, mtu=MTU, vrf=f"vrf{vni}"),
        AdminUp(ifname=f"vx{vni}"),
    ]


class Bench:
    """A host's kernel, and iproute2 in the same namespaces."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.overlay = overlay_netns(HOST)
        underlay = netns.make(UNDERLAY)
        with netns.inside(underlay):
            self.kernel = LinuxKernel(HOST)
        os.close(underlay)
        self.create([*namespace_sysctls(), *(Rule(version=version, priority=32765, table=255) for version in (4, 6))])
        descriptor = netns.find(self.overlay)
        self.channel = Channel(descriptor)
        os.close(descriptor)

    def create(self, objects: Sequence[KernelObject]) -> None:
        """Create objects as the agent does. Fails when the kernel refuses one."""
        assert [str(failure.error) for failure in self.kernel.apply([Create(obj) for obj in objects])] == []

    def delete(self, objects: Sequence[KernelObject]) -> None:
        """Delete objects as the agent does. Fails when the kernel refuses one."""
        assert [str(failure.error) for failure in self.kernel.apply([Delete(obj) for obj in reversed(objects)])] == []

    def index_of(self, ifname: str) -> int:
        """Return a device's interface index."""
        data = self.channel.get(RTM.GETLINK, encode.get_link(ifname))
        assert data is not None, ifname
        return int.from_bytes(data[4:8], sys.byteorder)

    def send(self, messages: Sequence[Message]) -> None:
        """Send packed messages. Fails when the kernel refuses one."""
        assert self.channel.batch(messages) == {}

    def batch(self, lines: Sequence[str], tool: str = "ip", where: str = "") -> Callable[[], object]:
        """Return a function that runs `ip -batch`, `bridge -batch` or `nft -f` on lines in a namespace (default: overlay)."""
        file = self.directory / f"{tool}{len(os.listdir(self.directory))}"
        file.write_text("".join(f"{line}\n" for line in lines))
        if tool == "nft":
            command = ["ip", "netns", "exec", where or self.overlay, "nft", "-f", str(file)]
        else:
            command = [tool, "-n", where or self.overlay, "-batch", str(file)]
        return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def race(bench: Bench, objects: Sequence[KernelObject], tool: Callable[[], object]) -> dict[str, float]:
    """Return the best seconds of each way to create the objects, and of deleting them after each turn."""
    indexes = {name: bench.index_of(name) for name in {str(getattr(obj, "ifname", "")) for obj in objects}}

    def pack() -> list[Message]:
        return [message for obj in objects for message in encode.pack(obj, indexes.__getitem__)]

    messages = pack()
    ways: dict[str, Callable[[], object]] = {
        "agent": lambda: bench.create(objects),
        "packed": lambda: bench.send(messages),
        "tool": tool,
        "packing": pack,
    }
    best = dict.fromkeys((*ways, "delete"), math.inf)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            best[name] = min(best[name], stopwatch(way))
            if name != "packing":
                best["delete"] = min(best["delete"], stopwatch(lambda: bench.delete(objects)))
    return best


def rate(seconds: float, count: int = OBJECTS) -> str:
    """Return a rate as text."""
    return f"{count / seconds:,.0f}/s"


def entry_figures(bench: Bench) -> list[Figure]:
    """Return how the three kinds of entries compare."""
    vx = f"vx{VNI}"
    numbers = range(OBJECTS)
    routes = [Route(vni=VNI, table=VNI, dst=f"{address(i)}/32", via=REMOTE, ifname=vx) for i in numbers]
    neighbours = [Neighbour(ifname=vx, dst=address(i), lladdr=mac(i)) for i in numbers]
    fdb = [Fdb(ifname=vx, lladdr=mac(i), dst=REMOTE) for i in numbers]
    proto = f"proto {PROTOCOL}"
    cases: list[tuple[str, Sequence[KernelObject], Callable[[], object]]] = [
        ("route", routes, bench.batch([f"route add table {VNI} {r.dst} via {r.via} dev {vx} onlink {proto}" for r in routes])),
        (
            "neighbour",
            neighbours,
            bench.batch([f"neigh add {n.dst} lladdr {n.lladdr} dev {vx} nud permanent {proto}" for n in neighbours]),
        ),
        ("FDB", fdb, bench.batch([f"fdb add {f.lladdr} dev {vx} dst {f.dst} self permanent" for f in fdb], "bridge")),
    ]
    ratios, rates = [], []
    for name, objects, tool in cases:
        best = race(bench, objects, tool)
        note = f"agent {rate(best['agent'])}, iproute2 {rate(best['tool'])}, deleted at {rate(best['delete'])}"
        ratios.append(
            Figure(name=f"{name}: agent's way : iproute2", value=best["tool"] / best["agent"], goal=1.0, at_least=True, note=note)
        )
        note = f"packed before {rate(best['packed'])}, packing alone {rate(best['packing'])}"
        rates.append(Figure(name=f"  {name}: agent's way : packed before", value=best["packed"] / best["agent"], note=note))
    return ratios + rates


def element_figures(bench: Bench) -> list[Figure]:
    """Return how elements of a set compare with `nft -f`."""
    table = NftTable(netns=base.UNDERLAY, family="inet", body="set peers { type ipv4_addr . mark . ipv4_addr; }")
    elements = [
        NftElement(netns=base.UNDERLAY, family="inet", set="peers", items=(REMOTE, hex(VNI), address(i)), vni=VNI)
        for i in range(OBJECTS)
    ]
    bench.create([table])
    body = ", ".join(" . ".join(element.items) for element in elements)
    tool = bench.batch([f"add element inet netorch peers {{ {body} }}"], "nft", UNDERLAY)
    best = dict.fromkeys(("agent", "tool", "delete"), math.inf)
    for _ in range(ROUNDS):
        for name, way in (("agent", lambda: bench.create(elements)), ("tool", tool)):
            best[name] = min(best[name], stopwatch(way))
            best["delete"] = min(best["delete"], stopwatch(lambda: bench.delete(elements)))
    note = f"agent {rate(best['agent'])}, nft {rate(best['tool'])}, deleted at {rate(best['delete'])}"
    return [
        Figure(name="set element: agent's way : nft -f", value=best["tool"] / best["agent"], goal=1.0, at_least=True, note=note)
    ]


def pairs_by_iproute2(bench: Bench, vnis: range) -> Callable[[], None]:
    """Return a function that makes the pairs by three runs of `ip -batch`: a VXLAN device gets its VRF only in the overlay."""
    vrfs, vxlans, rest = [], [], []
    for vni in vnis:
        vrfs += [
            f"link add vrf{vni} type vrf table {vni}",
            f"link property add dev vrf{vni} altname {altname(f'vrf{vni}')}",
            f"link set vrf{vni} up",
        ]
        vxlans.append(
            f"link add vx{vni} netns {bench.overlay} address {ROUTER_MAC} mtu {MTU} "
            f"type vxlan id {vni} local {VTEP} dstport 4789 nolearning"
        )
        rest += [
            f"link set vx{vni} master vrf{vni}",
            f"link property add dev vx{vni} altname {altname(f'vx{vni}')}",
            f"link set vx{vni} up",
        ]
    runs = bench.batch(vrfs), bench.batch(vxlans, where=UNDERLAY), bench.batch(rest)

    def run() -> None:
        for each in runs:
            each()

    return run


def pair_figures(bench: Bench) -> list[Figure]:
    """Return how devices compare. Only some hundreds: the kernel's own cost per device grows with their number."""
    vnis = range(VNI + 1, VNI + 1 + PAIRS)
    objects = sorted((obj for vni in vnis for obj in pair(vni)), key=lambda obj: obj.order)
    devices = [obj for obj in objects if isinstance(obj, Vrf | Vxlan)]
    tool = pairs_by_iproute2(bench, vnis)
    best = dict.fromkeys(("agent", "tool", "delete"), math.inf)
    for _ in range(LINK_ROUNDS):
        for name, way in (("agent", lambda: bench.create(objects)), ("tool", tool)):
            best[name] = min(best[name], stopwatch(way))
            best["delete"] = min(best["delete"], stopwatch(lambda: bench.delete(devices)))
    note = f"agent {rate(best['agent'], PAIRS)}, iproute2 {rate(best['tool'], PAIRS)}, deleted at {rate(best['delete'], PAIRS)}"
    return [
        Figure(
            name="VRF and VXLAN pair: agent's way : iproute2",
            value=best["tool"] / best["agent"],
            goal=0.5,
            at_least=True,
            note=note,
        )
    ]


def inside() -> int:
    """Measure; this process runs in the lab kernel. Return 1 when a goal is missed."""
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        missed = show(f"{PAIRS} pairs of devices", pair_figures(bench))
        bench.create(sorted(pair(VNI), key=lambda obj: obj.order))
        missed += show(f"{OBJECTS:,} entries in one VPC", entry_figures(bench))
        missed += show(f"{OBJECTS:,} elements of an nftables set", element_figures(bench))
    return int(missed > 0)


def main() -> int:
    """Run this file in the lab kernel."""
    return run_in_kernel([sys.executable, __file__, "--inside"], memory_mb=MEMORY_MB)


if __name__ == "__main__":
    raise SystemExit(inside() if sys.argv[1:] == ["--inside"] else main())
