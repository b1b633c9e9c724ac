"""A LinuxKernel for each test, objects for it, and an operator who changes things behind the agent's back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from netorch.drivers import netns
from netorch.drivers.bird.control import BirdError, Control
from netorch.drivers.bird.driver import border_directory, customers_directory
from netorch.drivers.charon import control as vici
from netorch.drivers.charon import driver as charon
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.services import control as services
from netorch.drivers.services.driver import services_directory
from netorch.state.base import OUTSIDE, UNDERLAY, KernelObject, Key
from netorch.state.l2 import Fdb
from netorch.state.l3 import IPV6_METRIC, UNREACHABLE, UNREACHABLE_METRIC, Address, Neighbour, Route, Rule
from netorch.state.link import AdminUp, Gro, Inside, Settings, TapPort, VethPort, Vrf, Vxlan
from netorch.state.op import Create
from netorch.state.owner import label_of, overlay_netns
from netorch.state.sysctls import PORT_V4, PORT_V6, VRF_V6, VXLAN_V4, VXLAN_V6, device_sysctls, namespace_sysctls

VNI = 5000
RULES = ((1000, 0), (32765, 255))  # of the VRFs' tables; of the local table
PORT = "v-0013880000001"
TAP = "v-0013880000002"
INSTANCE = "i-00138800000000001"
PORT_MAC = "02:4e:54:ff:ff:01"
ROUTER = "02:4e:c0:00:02:0c"

VRF = Vrf(vni=VNI, ifname="vrf5000", table=VNI)
VXLAN = Vxlan(ifname="vx5000", vni=VNI, local="192.0.2.11", lladdr="02:4e:c0:00:02:0b", mtu=1500, vrf="vrf5000")
INSIDE = Inside(
    ifname="eth0",
    lladdr="02:00:00:00:00:11",
    addresses=("10.0.0.11/24", "2001:db8::11/128"),
    gateways=("10.0.0.1", "fe80::1"),
)
VETH = VethPort(
    vni=VNI, ifname=PORT, lladdr=PORT_MAC, mtu=1500, vrf="vrf5000", instance_netns=INSTANCE, make_netns=True, inside=INSIDE
)


def vpc() -> list[KernelObject]:
    """Return a dual-stack VPC with a port, a tap and a remote neighbour, in apply order."""
    return [
        VRF,
        AdminUp(vni=VNI, ifname="vrf5000"),
        Route(vni=VNI, table=VNI, dst="0.0.0.0/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC),
        Route(vni=VNI, table=VNI, dst="::/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC),
        VXLAN,
        VETH,
        TapPort(vni=VNI, ifname=TAP, lladdr=PORT_MAC, mtu=1500, vrf="vrf5000"),
        Gro(vni=VNI, ifname="vx5000", on=False),
        *(Settings(vni=VNI, ifname=ifname) for ifname in ("vrf5000", "vx5000", PORT, TAP)),
        *device_sysctls(VRF_V6, "vrf5000", VNI),
        *device_sysctls(VXLAN_V4 + VXLAN_V6, "vx5000", VNI),
        *device_sysctls(PORT_V4 + PORT_V6, PORT, VNI),
        *device_sysctls(PORT_V4, TAP, VNI),
        Address(vni=VNI, ifname="vrf5000", address="10.0.0.1/32"),
        Address(vni=VNI, ifname="vrf5000", address="2001:db8::1/128"),
        Address(vni=VNI, ifname=PORT, address="fe80::1/128"),
        AdminUp(vni=VNI, ifname="vx5000"),
        AdminUp(vni=VNI, ifname=PORT),
        AdminUp(vni=VNI, ifname=TAP),
        Neighbour(vni=VNI, ifname="vx5000", dst="192.0.2.12", lladdr=ROUTER),
        Neighbour(vni=VNI, ifname="vx5000", dst="fe80::c000:20c", lladdr=ROUTER),
        Fdb(vni=VNI, ifname="vx5000", lladdr=ROUTER, dst="192.0.2.12"),
        Route(vni=VNI, table=VNI, dst="10.0.0.11/32", ifname=PORT),
        Route(vni=VNI, table=VNI, dst="2001:db8::11/128", ifname=PORT, metric=IPV6_METRIC),
        Route(vni=VNI, table=VNI, dst="10.0.0.12/32", ifname="vx5000", via="192.0.2.12"),
        Route(vni=VNI, table=VNI, dst="2001:db8::12/128", ifname="vx5000", via="fe80::c000:20c", metric=IPV6_METRIC),
    ]


def host_objects() -> list[KernelObject]:
    """Return the objects that every host has."""
    rules = [Rule(version=version, priority=priority, table=table) for version in (4, 6) for priority, table in RULES]
    return [*rules, AdminUp(ifname="lo"), *namespace_sysctls()]


def create(kernel: LinuxKernel, *objects: KernelObject) -> None:
    """Create the objects. Fails when the kernel refuses one."""
    assert [str(failure.error) for failure in kernel.apply([Create(obj) for obj in objects])] == []


def kinds(objects: dict[Key, KernelObject]) -> set[str]:
    """Return the kinds of the keys."""
    return {str(key[0]) for key in objects}


@cache
def _load_conntrack() -> None:
    """Load connection tracking, which creates its sysctls; an agent has made its tables before it needs them."""
    rules = "add table ip t; add chain ip t c; add rule ip t c ct state new"
    subprocess.run(["unshare", "--net", "nft", rules], check=True)


@contextmanager
def host(name: str, key: EdgeKey | None = None) -> Iterator[LinuxKernel]:
    """Yield the kernel of a new host; remove its namespaces afterwards."""
    _load_conntrack()
    fd = netns.make(f"u-{name}")
    try:
        with netns.inside(fd):
            kernel = LinuxKernel(name, key)
        yield kernel
        kernel.close()
    finally:
        os.close(fd)
        end_bird(name)
        end_charon(name)
        end_services(name)
        further = [path.name for path in netns.RUN_NETNS.iterdir() if label_of(path.name, name)]
        for namespace in (f"u-{name}", overlay_netns(name), INSTANCE, *further):
            netns.remove(namespace)


def end_bird(name: str) -> None:
    """Kill the routing daemons of a host, which outlive agents, and delete their directories."""
    for directory in (border_directory(name), customers_directory(name)):
        with suppress(BirdError, ProcessLookupError), Control(directory / "bird.ctl", 1.0) as control:
            os.kill(control.pid(), signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)


def end_charon(name: str) -> None:
    """Kill the IKE daemon of a host, which outlives agents, and delete its directory."""
    directory = charon.RUN / name
    with suppress(vici.CharonError, ProcessLookupError), vici.Control(directory / "charon.vici", 1.0) as control:
        os.kill(control.pid(), signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)


def end_services(name: str) -> None:
    """Kill the service daemons of a host, which outlive agents, and delete their directories."""
    for label in (UNDERLAY, OUTSIDE):
        directory = services_directory(name, label)
        with suppress(services.ServicesError, ProcessLookupError), services.Control(directory / "control", 1.0) as control:
            os.kill(control.pid(), signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def restarted(name: str, key: EdgeKey | None = None) -> Iterator[LinuxKernel]:
    """Yield a second kernel object of the same host, without memory of the first."""
    fd = netns.find(f"u-{name}")
    with netns.inside(fd):
        kernel = LinuxKernel(name, key)
    os.close(fd)
    try:
        yield kernel
    finally:
        kernel.close()


def foreigner(namespace: str, command: str) -> str:
    """Run `ip -n NAMESPACE COMMAND`, or bridge when that is the command's first word, as an operator would."""
    tool, _, rest = command.partition(" ")
    words = [tool, "-n", namespace, *rest.split()] if tool == "bridge" else ["ip", "-n", namespace, *command.split()]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
