"""The namespaces of an edge in use: packets through them, and the leftovers of operators and killed agents."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.plan.diff import diff
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.l3 import MAIN_TABLE, UNREACHABLE, Address, Neighbour, Route, Rule
from netorch.state.link import LOOPBACK, AdminUp, CableEnd, Inside, Uplink, VethPort, vrf_of
from netorch.state.names import outside_cable
from netorch.state.netns import Namespace
from netorch.state.nft import NftTable
from netorch.state.op import Create, Delete
from netorch.state.owner import altname, netns_name
from netorch.state.sysctls import PORT_V4, device_sysctls, namespace_sysctls
from tests.rig.hosts import INSTANCE, create, foreigner, host, restarted
from tests.rig.packets import PATIENCE_S

pytestmark = pytest.mark.root

HOST, WIRE = "edge", "internet"
VNI = 5000
NAT = "nat-00138800000000abc"
INNER, OUTER = outside_cable(VNI, "igw-00138800000000abc")
PORT, NAT_PORT = "v-0013880000001", "v-0013880000002"
ROUTER_MAC, GATEWAY_MAC, NAT_MAC, MAC = "02:4e:54:ff:ff:01", "02:4f:00:00:0a:bc", "06:00:00:00:00:99", "06:00:00:00:00:01"
PRIVATE, PUBLIC = vrf_of(VNI, 1), vrf_of(VNI, 2)  # of the instance's subnet; of the NAT gateway's subnet
INSTANCE_IP, NAT_IP, SERVER = "10.0.0.5", "10.0.9.9", "203.0.113.10"
NAT_BODY = f"""
chain source {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr 10.0.0.0/16 snat to {NAT_IP}
}}
"""


def of_vrf(vrf: str, table: int) -> tuple[KernelObject, ...]:
    """Return the routes of a VRF to the instance and to the NAT gateway."""
    return (
        Route(vni=VNI, table=table, dst=f"{INSTANCE_IP}/32", ifname=PORT),
        Route(vni=VNI, table=table, dst=f"{NAT_IP}/32", ifname=NAT_PORT),
        AdminUp(vni=VNI, ifname=vrf),
    )


def neighbour(ifname: str, dst: str, lladdr: str, label: str = "overlay") -> Neighbour:
    return Neighbour(netns=label, vni=VNI, ifname=ifname, dst=dst, lladdr=lladdr)


SHARED: tuple[KernelObject, ...] = (
    Namespace(label=OUTSIDE),
    *namespace_sysctls(OUTSIDE),
    AdminUp(netns=OUTSIDE, ifname=LOOPBACK),
    Uplink(ifname="up0"),
    Address(netns=OUTSIDE, ifname="up0", address="198.18.0.21/24"),
    AdminUp(netns=OUTSIDE, ifname="up0"),
    Route(netns=OUTSIDE, table=MAIN_TABLE, dst="0.0.0.0/0", ifname="up0", via="198.18.0.254"),
    Route(netns=OUTSIDE, table=MAIN_TABLE, dst="198.51.100.0/24", type=UNREACHABLE),
    *namespace_sysctls(),
    *(Rule(version=4, priority=priority, table=table) for priority, table in ((1000, 0), (32765, 255))),
)
INTERNET: tuple[KernelObject, ...] = (
    CableEnd(vni=VNI, ifname=INNER, lladdr=ROUTER_MAC, mtu=1500, vrf=PUBLIC.ifname, peer=OUTER, peer_netns=OUTSIDE),
    CableEnd(netns=OUTSIDE, vni=VNI, ifname=OUTER, lladdr=GATEWAY_MAC, mtu=1500, vrf="", peer=INNER),
    AdminUp(vni=VNI, ifname=INNER),
    AdminUp(netns=OUTSIDE, vni=VNI, ifname=OUTER),
    neighbour(INNER, "192.0.0.9", GATEWAY_MAC),
    neighbour(OUTER, "192.0.0.8", ROUTER_MAC, OUTSIDE),
    Route(vni=VNI, table=PUBLIC.table, dst="0.0.0.0/0", ifname=INNER, via="192.0.0.9"),
    Route(netns=OUTSIDE, vni=VNI, table=MAIN_TABLE, dst=f"{NAT_IP}/32", ifname=OUTER, via="192.0.0.8"),
)
GATEWAY: tuple[KernelObject, ...] = (
    Namespace(vni=VNI, label=NAT),
    *namespace_sysctls(NAT),
    NftTable(netns=NAT, vni=VNI, family="ip", body=NAT_BODY),
    AdminUp(netns=NAT, vni=VNI, ifname=LOOPBACK),
    CableEnd(vni=VNI, ifname=NAT_PORT, lladdr=ROUTER_MAC, mtu=1500, vrf=PUBLIC.ifname, peer="eth0", peer_netns=NAT),
    CableEnd(netns=NAT, vni=VNI, ifname="eth0", lladdr=NAT_MAC, mtu=1500, vrf="", peer=NAT_PORT),
    *device_sysctls(PORT_V4, NAT_PORT, VNI),
    Address(netns=NAT, vni=VNI, ifname="eth0", address=f"{NAT_IP}/32"),
    AdminUp(vni=VNI, ifname=NAT_PORT),
    AdminUp(netns=NAT, vni=VNI, ifname="eth0"),
    neighbour(NAT_PORT, NAT_IP, NAT_MAC),
    neighbour("eth0", "169.254.0.1", ROUTER_MAC, NAT),
    Route(netns=NAT, vni=VNI, table=MAIN_TABLE, dst="0.0.0.0/0", ifname="eth0", via="169.254.0.1"),
)
INSIDE = Inside(ifname="eth0", lladdr=MAC, addresses=(f"{INSTANCE_IP}/24",), gateways=("10.0.0.1",))
SUBNET: tuple[KernelObject, ...] = (
    PRIVATE,
    PUBLIC,
    VethPort(
        vni=VNI,
        ifname=PORT,
        lladdr=ROUTER_MAC,
        mtu=1500,
        vrf=PRIVATE.ifname,
        instance_netns=INSTANCE,
        make_netns=True,
        inside=INSIDE,
    ),
    *device_sysctls(PORT_V4, PORT, VNI),
    AdminUp(vni=VNI, ifname=PORT),
    neighbour(PORT, INSTANCE_IP, MAC),
    *of_vrf(PRIVATE.ifname, PRIVATE.table),
    *of_vrf(PUBLIC.ifname, PUBLIC.table),
    Route(vni=VNI, table=PRIVATE.table, dst="0.0.0.0/0", ifname=NAT_PORT, via=NAT_IP),
)
ALL = {obj.key: obj for obj in (*SHARED, *SUBNET, *INTERNET, *GATEWAY)}


@contextmanager
def wired(name: str) -> Iterator[LinuxKernel]:
    """Yield a host with a device to the internet, on which there is a server."""
    with host(name) as kernel:
        os.close(netns.make(WIRE))
        try:
            foreigner(f"u-{name}", f"link add up0 type veth peer wire0 netns {WIRE}")
            for command in (
                "link set lo up",
                "link set wire0 up",
                "address add 198.18.0.254/24 dev wire0",
                f"address add {SERVER}/32 dev lo",
                f"route add {NAT_IP} via 198.18.0.21",
            ):
                foreigner(WIRE, command)
            yield kernel
        finally:
            netns.remove(WIRE)


@pytest.fixture
def kernel() -> Iterator[LinuxKernel]:
    with wired(HOST) as kernel:
        yield kernel


def answers(within_s: float = PATIENCE_S) -> bool:
    words = ("ip", "netns", "exec", INSTANCE, "ping", "-c1", f"-W{within_s:g}", SERVER)
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def inode(label: str) -> int:
    return (netns.RUN_NETNS / netns_name(HOST, label)).stat().st_ino


def repair(kernel: LinuxKernel) -> None:
    found = {key: obj for key, obj in kernel.dump().items() if key in ALL or obj.netns in (OUTSIDE, NAT)}
    wanted = {key: obj for key, obj in found.items() if key[0] == "settings"} | ALL
    assert [str(failure.error) for failure in kernel.apply(diff(wanted, found))] == []


def test_packets_pass_from_an_instance_through_its_nat_gateway_to_the_internet(kernel: LinuxKernel) -> None:
    repair(kernel)
    assert answers()
    assert kernel.apply([Delete(Namespace(vni=VNI, label=NAT))]) == []
    assert not answers(within_s=2.0)
    repair(kernel)
    assert answers()


def test_what_the_outside_counts_is_among_the_host_s_counters(kernel: LinuxKernel) -> None:
    create(kernel, Namespace(label=OUTSIDE), NftTable(netns=OUTSIDE, family="inet", body="counter to_edge {\n}"))
    assert kernel.counters()["to_edge"] == 0


def test_a_name_that_somebody_deletes_is_bound_again_to_the_same_namespace(kernel: LinuxKernel) -> None:
    repair(kernel)
    before = [inode(label) for label in (OUTSIDE, NAT)]
    for label in (OUTSIDE, NAT):
        subprocess.run(["ip", "netns", "del", netns_name(HOST, label)], check=True)
    assert answers()
    kernel.events()
    assert [inode(label) for label in (OUTSIDE, NAT)] == before


def test_an_agent_that_was_killed_between_mark_and_move_is_continued(kernel: LinuxKernel) -> None:
    foreigner(f"u-{HOST}", f"link property add dev up0 altname {altname('up0')}")
    repair(kernel)
    assert answers()


def test_a_renamed_uplink_is_given_back_under_its_own_name_and_taken_again(kernel: LinuxKernel) -> None:
    repair(kernel)
    name = netns_name(HOST, OUTSIDE)
    foreigner(name, "link set up0 down")
    foreigner(name, "link set up0 name mine")
    repair(kernel)
    assert answers()
    assert " up0@" in foreigner(name, "link show")
    assert kernel.apply([Delete(Namespace(label=OUTSIDE))]) == []
    shown = foreigner(f"u-{HOST}", "link show up0")
    assert "altname" not in shown


def test_two_hosts_of_like_names_have_namespaces_of_their_own(kernel: LinuxKernel) -> None:
    with host(f"{HOST}.x") as other:
        create(kernel, Namespace(label=OUTSIDE))
        create(other, Namespace(label=OUTSIDE))
        assert kernel.apply([Delete(Namespace(label=OUTSIDE))]) == []
        with restarted(HOST) as again:
            assert Namespace(label=OUTSIDE).key not in again.dump()
        with restarted(f"{HOST}.x") as again:
            assert Namespace(label=OUTSIDE).key in again.dump()


def test_namespaces_that_nobody_asks_for_are_read_and_removed(kernel: LinuxKernel) -> None:
    repair(kernel)
    with restarted(HOST) as again:
        found = {key: obj for key, obj in again.dump().items() if key[0] == "netns"}
        assert found.keys() == {Namespace(label=label).key for label in (OUTSIDE, NAT)}
        assert again.apply(diff({}, found)) == []
    assert not [path.name for path in netns.RUN_NETNS.iterdir() if "+" in path.name]


def test_an_agent_with_many_open_files_has_gateways_too(kernel: LinuxKernel) -> None:
    """libnftables would end the process at a descriptor above 1023."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(1024)]
    try:
        repair(kernel)
    finally:
        for fd in spare:
            os.close(fd)
    assert answers()


def test_a_gateway_costs_few_descriptors_and_leaves_none(kernel: LinuxKernel) -> None:
    before = len(os.listdir("/proc/self/fd"))
    gateways = [Namespace(vni=VNI, label=f"nat-001388{number:011x}") for number in range(3)]
    assert kernel.apply([Create(gateway) for gateway in gateways]) == []
    assert len(os.listdir("/proc/self/fd")) - before <= 16 * len(gateways)
    assert kernel.apply([Delete(gateway) for gateway in gateways]) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_name_without_a_namespace_is_completed_when_it_is_asked_for(kernel: LinuxKernel) -> None:
    """A process that makes a namespace may be killed between creating the file and the mount."""
    path = netns.RUN_NETNS / netns_name(HOST, NAT)
    path.touch()
    assert Namespace(vni=VNI, label=NAT).key not in kernel.dump()
    create(kernel, Namespace(vni=VNI, label=NAT))
    assert netns.exists(path.name)
    assert Namespace(vni=VNI, label=NAT).key in kernel.dump()
