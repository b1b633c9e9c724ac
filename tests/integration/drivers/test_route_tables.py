"""A port moves from one route table's VRF to another's while its instance talks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.plan.diff import diff
from netorch.state.base import KernelObject, Key
from netorch.state.l3 import UNREACHABLE, Address, Neighbour, Route
from netorch.state.link import AdminUp, Inside, Settings, VethPort, vrf_of
from netorch.state.sysctls import PORT_V4, device_sysctls
from tests.rig.datagrams import heard, talking, udp_socket, wait_until_sent
from tests.rig.hosts import PORT_MAC, VNI, create, host, host_objects

pytestmark = pytest.mark.root

TABLES = (vrf_of(VNI), vrf_of(VNI, 1))
HERE, THERE = "10.0.0.11", "10.0.0.21"
INSTANCES = {HERE: "i-00138800000000001", THERE: "i-00138800000000002"}
CHANGES = 10
LOST = 10  # datagrams per change, at most


def port_of(address: str, vrf: str) -> VethPort:
    number = address.rpartition(".")[2]
    inside = Inside(ifname="eth0", lladdr=f"02:00:00:00:00:{number}", addresses=(f"{address}/24",), gateways=("10.0.0.1",))
    ifname = f"v-00138800000{number}"
    instance = INSTANCES[address]
    return VethPort(
        vni=VNI, ifname=ifname, lladdr=PORT_MAC, mtu=1500, vrf=vrf, instance_netns=instance, make_netns=True, inside=inside
    )


def objects(vrf_of_here: str) -> dict[Key, KernelObject]:
    """Return a VPC with two route tables in use; both have routes to every address."""
    found: list[KernelObject] = host_objects()
    for vrf in TABLES:
        found += [vrf, AdminUp(vni=VNI, ifname=vrf.ifname), Address(vni=VNI, ifname=vrf.ifname, address="10.0.0.1/32")]
        found.append(Route(vni=VNI, table=vrf.table, dst="10.0.0.0/16", type=UNREACHABLE))
    for address, vrf_name in ((HERE, vrf_of_here), (THERE, TABLES[0].ifname)):
        port = port_of(address, vrf_name)
        found += [port, Settings(vni=VNI, ifname=port.ifname), *device_sysctls(PORT_V4, port.ifname, VNI)]
        found += [AdminUp(vni=VNI, ifname=port.ifname)]
        found.append(Neighbour(vni=VNI, ifname=port.ifname, dst=address, lladdr=port.inside.lladdr))
        found += [Route(vni=VNI, table=vrf.table, dst=f"{address}/32", ifname=port.ifname) for vrf in TABLES]
    return {obj.key: obj for obj in found}


@pytest.fixture
def kernel() -> Iterator[LinuxKernel]:
    with host("hv1") as kernel:
        try:
            create(kernel, *sorted(objects(TABLES[0].ifname).values(), key=lambda obj: (obj.order, obj.key)))
            yield kernel
        finally:
            for instance in INSTANCES.values():
                netns.remove(instance)


@pytest.mark.parametrize(("source", "destination"), [(HERE, THERE), (THERE, HERE)], ids=["from it", "to it"])
def test_a_port_that_changes_its_vrf_loses_few_datagrams(kernel: LinuxKernel, source: str, destination: str) -> None:
    before, after = objects(TABLES[0].ifname), objects(TABLES[1].ifname)
    near_socket, far_socket = (udp_socket(INSTANCES[address], address) for address in (source, destination))
    with near_socket as near, far_socket as far, talking(near, destination) as sent:
        first = int.from_bytes(far.recv(16), "big")
        for old, new in ((before, after), (after, before)) * (CHANGES // 2):
            wait_until_sent(sent, 100)
            assert kernel.apply(diff(new, old)) == []
        begin = sent()
        wait_until_sent(sent, 100)
        arrived = heard(far, begin + 50)
    assert max(arrived) > begin, "it arrives after the last change, too"
    lost = set(range(first + 1, max(arrived) + 1)) - arrived
    assert len(lost) <= LOST * CHANGES
    found = kernel.dump()
    assert [obj for key, obj in before.items() if key not in found or not obj.matches(found[key])] == []
