"""The Linux back end on a real kernel: created objects are read, also by a fresh reader, and foreign ones are left alone."""

from __future__ import annotations

import errno
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from netorch.drivers import netns, sysctl
from netorch.drivers.base import Gone, KernelEvent, Lost, Seen, Underlay, UnderlayChanged
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.netlink import Channel
from netorch.plan.diff import diff
from netorch.state.base import KernelObject
from netorch.state.foreign import Foreign
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Neighbour, Route, Rule
from netorch.state.link import AdminUp, IncompleteLink, Sysctl, Vrf
from netorch.state.op import Create, Delete, Replace
from tests.rig.hosts import (
    INSTANCE,
    PORT,
    ROUTER,
    VETH,
    VNI,
    VRF,
    VXLAN,
    create,
    foreigner,
    host,
    host_objects,
    restarted,
    vpc,
)

pytestmark = pytest.mark.root

OVERLAY_NETNS = "netorch-hv1"


@pytest.fixture
def kernel() -> Iterator[LinuxKernel]:
    with host("hv1") as kernel:
        yield kernel


@pytest.fixture
def full(kernel: LinuxKernel) -> LinuxKernel:
    """Return a kernel that holds a VPC with every kind of object."""
    create(kernel, *host_objects(), *vpc())
    kernel.events()
    return kernel


def keyed(objects: list[KernelObject]) -> dict[tuple[str | int, ...], KernelObject]:
    return {obj.key: obj for obj in objects}


def wait_events(kernel: LinuxKernel) -> list[KernelEvent]:
    """Return the next events, or none after a time-out: a repaired name causes no event."""
    ready, _, _ = select.select([kernel.fileno()], [], [], 2.0)
    assert ready, "no event within 2 s"
    return kernel.events()


def test_what_was_created_is_in_the_dump(full: LinuxKernel) -> None:
    wanted = keyed([*host_objects(), *vpc()])
    found = full.dump()
    assert diff(wanted, found) == []
    assert {key for key in found if not str(key[0]).startswith("nft")} == set(wanted)


def test_a_fresh_kernel_object_sees_the_same(full: LinuxKernel) -> None:
    with restarted("hv1") as second:
        assert second.dump() == full.dump()


def test_creating_everything_again_changes_nothing(full: LinuxKernel) -> None:
    before = full.dump()
    # A write to this sysctl enables IPv6 on all devices; the agent writes it only after a foreign change.
    create(full, *(obj for obj in host_objects() if obj.key != ("sysctl", "overlay", "ipv6/conf/all/disable_ipv6")), *vpc())
    assert full.dump() == before
    assert foreigner(OVERLAY_NETNS, "-6 route show table 5000 type local 2001:db8::1").strip(), (
        "a repeated address lost its local route"
    )


def test_our_own_changes_are_no_events(kernel: LinuxKernel) -> None:
    kernel.events()
    create(kernel, *host_objects(), *vpc())
    assert [event for event in kernel.events() if not isinstance(event, Seen)] == []
    kernel.apply([Delete(obj) for obj in reversed(vpc())])
    assert kernel.events() == []


def test_deleting_everything_leaves_nothing(full: LinuxKernel) -> None:
    assert full.apply(diff(keyed(host_objects()), full.dump())) == []
    assert diff(keyed(host_objects()), full.dump()) == []
    assert not (netns.RUN_NETNS / INSTANCE).exists()


def test_deleting_what_is_not_there_is_no_error(kernel: LinuxKernel) -> None:
    assert kernel.apply([Delete(obj) for obj in reversed(vpc())]) == []


def test_the_gateway_answers_the_instance_at_once(full: LinuxKernel) -> None:
    for address in ("10.0.0.1", "2001:db8::1"):
        answer = subprocess.run(["ip", "netns", "exec", INSTANCE, "ping", "-c1", "-W1", address], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            Route(vni=VNI, table=VNI, dst="10.0.0.12/32", ifname="vx5000", via="192.0.2.12"),
            Route(vni=VNI, table=VNI, dst="10.0.0.12/32", ifname="vx5000", via="192.0.2.13"),
        ),
        (
            Route(vni=VNI, table=VNI, dst="10.0.0.12/32", ifname="vx5000", via="192.0.2.12"),
            Route(vni=VNI, table=VNI, dst="10.0.0.12/32", ifname=PORT),
        ),
        (
            Route(vni=VNI, table=VNI, dst="2001:db8::12/128", ifname="vx5000", via="fe80::c000:20c", metric=1024),
            Route(vni=VNI, table=VNI, dst="2001:db8::12/128", ifname=PORT, metric=1024),
        ),
        (
            Neighbour(vni=5000, ifname="vx5000", dst="192.0.2.12", lladdr=ROUTER),
            Neighbour(vni=5000, ifname="vx5000", dst="192.0.2.12", lladdr="02:4e:c0:00:02:0d"),
        ),
        (
            Fdb(vni=5000, ifname="vx5000", lladdr=ROUTER, dst="192.0.2.12"),
            Fdb(vni=5000, ifname="vx5000", lladdr=ROUTER, dst="192.0.2.13"),
        ),
        (VXLAN, msgspec.structs.replace(VXLAN, mtu=1400)),
        (VXLAN, msgspec.structs.replace(VXLAN, lladdr="02:4e:c0:00:02:0e")),
        (VETH, msgspec.structs.replace(VETH, mtu=1400)),
        (
            Sysctl(vni=VNI, path=f"ipv4/conf/{PORT}/proxy_arp", value="1", ifname=PORT),
            Sysctl(vni=VNI, path=f"ipv4/conf/{PORT}/proxy_arp", value="0", ifname=PORT),
        ),
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_a_changed_object_is_replaced(full: LinuxKernel, old: KernelObject, new: KernelObject) -> None:
    assert full.apply([Replace(old, new)]) == []
    assert new.matches(full.dump()[new.key])


def test_a_created_route_replaces_one_of_ours_that_stood_there(full: LinuxKernel) -> None:
    route = Route(vni=VNI, table=VNI, dst="10.0.0.12/32", ifname="vx5000", via="192.0.2.99")
    create(full, route)
    assert full.dump()[route.key] == route


@pytest.mark.parametrize(
    ("command", "event"),
    [
        ("route del table 5000 10.0.0.12/32", Gone(("route", "overlay", VNI, "10.0.0.12/32", 0), VNI)),
        ("-6 route del table 5000 2001:db8::12/128", Gone(("route", "overlay", VNI, "2001:db8::12/128", 1024), VNI)),
        ("route replace table 5000 10.0.0.12/32 dev vx5000", Gone(("route", "overlay", VNI, "10.0.0.12/32", 0), VNI)),
        ("neigh del 192.0.2.12 dev vx5000", Gone(("neigh", "overlay", "vx5000", "192.0.2.12"), VNI)),
        ("neigh change 192.0.2.12 dev vx5000 nud reachable", Gone(("neigh", "overlay", "vx5000", "192.0.2.12"), VNI)),
        (
            "neigh change 192.0.2.12 dev vx5000 lladdr 02:00:00:00:00:99 nud permanent",
            Seen(Neighbour(vni=5000, ifname="vx5000", dst="192.0.2.12", lladdr="02:00:00:00:00:99")),
        ),
        (f"bridge fdb del {ROUTER} dev vx5000 dst 192.0.2.12", Gone(("fdb", "overlay", "vx5000", ROUTER), VNI)),
        ("addr del 10.0.0.1/32 dev vrf5000", Lost()),  # the routes go with a device's last address, unreported
        ("addr add 10.0.0.7/32 dev vrf5000", Seen(Address(vni=5000, ifname="vrf5000", address="10.0.0.7/32"))),
        ("link set vx5000 mtu 1400", Seen(msgspec.structs.replace(VXLAN, mtu=1400))),
        (f"link set {PORT} down", Lost()),
        ("link del vx5000", Lost()),
        ("link set vx5000 name foo", Lost()),
        ("rule del pref 32765", Gone(("rule", "overlay", 4, 32765))),
        ("rule add pref 0 lookup local", Lost()),
    ],
)
def test_a_foreign_change_is_an_event(full: LinuxKernel, command: str, event: KernelEvent) -> None:
    if "name" in command:
        foreigner(OVERLAY_NETNS, "link set vx5000 down")
        full.events()
    foreigner(OVERLAY_NETNS, command)
    assert event in wait_events(full)


def test_a_foreign_change_is_repaired_by_the_difference(full: LinuxKernel) -> None:
    for command in (
        f"link set {PORT} down",
        "link del vx5000",
        "rule add pref 0 lookup local",
        "-6 rule del pref 32765",
        f"addr add 10.9.9.9/24 dev {PORT}",
    ):
        foreigner(OVERLAY_NETNS, command)
    wanted = keyed([*host_objects(), *vpc()])
    assert full.apply(diff(wanted, full.dump())) == []
    # The kernel flushes a device's routes with its last IPv4 address, so another dump is requested.
    assert Lost() in wait_events(full)
    assert full.apply(diff(wanted, full.dump())) == []
    assert diff(wanted, full.dump()) == []
    assert "lookup local" in foreigner(OVERLAY_NETNS, "-6 rule show pref 32765")
    assert foreigner(OVERLAY_NETNS, "rule show pref 0") == ""


def test_a_changed_sysctl_is_seen(full: LinuxKernel) -> None:
    fd = netns.find(OVERLAY_NETNS)
    sysctl.write(fd, [("ipv4/ip_forward", "0"), (f"ipv4/conf/{PORT}/proxy_arp", "0"), ("ipv4/neigh/vx5000/mcast_solicit", "2")])
    os.close(fd)
    events = wait_events(full)
    assert events == [Lost()]  # every device has stopped forwarding
    assert full.dump()["sysctl", "overlay", "ipv4/conf/all/forwarding"] == Sysctl(path="ipv4/conf/all/forwarding", value="0")
    assert full.dump()["sysctl", "overlay", f"ipv4/conf/{PORT}/proxy_arp"] == Sysctl(
        vni=VNI, path=f"ipv4/conf/{PORT}/proxy_arp", value="0", ifname=PORT
    )
    found = full.dump()["sysctl", "overlay", "ipv4/neigh/vx5000/mcast_solicit"]
    assert found == Sysctl(vni=5000, path="ipv4/neigh/vx5000/mcast_solicit", value="2", ifname="vx5000")


def test_a_device_that_is_no_longer_dual_stack_loses_ipv6(full: LinuxKernel) -> None:
    gone = Sysctl(vni=5000, path="ipv6/conf/vx5000/disable_ipv6", value="0", ifname="vx5000")
    assert full.apply([Delete(gone)]) == []
    assert not [key for key in full.dump() if str(key[2]).startswith(("ipv6/conf/vx5000", "ipv6/neigh/vx5000"))]


def test_foreign_objects_are_named_and_not_touched(full: LinuxKernel) -> None:
    before = full.dump()
    foreigner(OVERLAY_NETNS, "link add dummy0 type dummy")
    foreigner(OVERLAY_NETNS, "link set dummy0 up")
    foreigner(OVERLAY_NETNS, "addr add 198.51.100.1/24 dev dummy0")
    foreigner(OVERLAY_NETNS, "route add table 5000 10.0.0.99/32 dev dummy0 proto static")
    foreigner(OVERLAY_NETNS, "rule add pref 500 lookup 77")
    foreigner(OVERLAY_NETNS, "neigh add 198.51.100.2 lladdr 02:00:00:00:00:01 dev dummy0 nud permanent")
    named = [Foreign(what=text) for text in ("device dummy0", "route 10.0.0.99/32 table 5000", "rule pref 500 lookup 77")]
    assert full.dump() == before | keyed(list(named))
    refused = full.apply([Create(Route(vni=VNI, table=VNI, dst="10.0.0.99/32", ifname=PORT))])
    assert [failure.error.errno for failure in refused] == [errno.EEXIST]
    assert full.apply([Delete(Route(vni=VNI, table=VNI, dst="10.0.0.99/32", ifname=PORT))]) == []
    full.apply(diff(keyed(host_objects()), full.dump()))
    assert "10.0.0.99" in foreigner(OVERLAY_NETNS, "route show table 5000 proto static")
    assert "dummy0" in foreigner(OVERLAY_NETNS, "link show dummy0")


def test_a_refused_operation_is_named_and_stops_no_other(kernel: LinuxKernel) -> None:
    create(kernel, VRF, AdminUp(vni=5000, ifname="vrf5000"), msgspec.structs.replace(VXLAN, ifname="vx5001", vni=5001))
    bad = Route(vni=VNI, table=VNI, dst="10.0.0.5/32", ifname="vx5000", via="192.0.2.12")
    worse = Route(vni=VNI, table=VNI, dst="10.0.0.6/32", ifname="vx5001", via="192.0.2.12")
    good = Address(vni=5000, ifname="vrf5000", address="10.0.0.1/32")
    failures = kernel.apply([Create(bad), Create(worse), Create(good)])
    assert [failure.op.obj for failure in failures] == [bad, worse]
    assert str(failures[0].error) == ("create route 10.0.0.5/32 via 192.0.2.12 dev vx5000: No such device (errno 19)")
    assert failures[1].error.errno == errno.ENETDOWN
    assert str(failures[1].error).endswith(": Nexthop device is not up")
    assert good.key in kernel.dump()


def test_errors_in_the_middle_of_a_batch_find_their_operations(kernel: LinuxKernel) -> None:
    create(kernel, VRF, AdminUp(vni=5000, ifname="vrf5000"), VXLAN, AdminUp(vni=5000, ifname="vx5000"))
    foreigner(OVERLAY_NETNS, "route add table 5000 10.0.1.77/32 dev vx5000")
    foreigner(OVERLAY_NETNS, "route add table 5000 10.0.2.200/32 dev vx5000")
    routes = [
        Route(vni=VNI, table=VNI, dst=f"10.0.{i >> 8}.{i & 255}/32", ifname="vx5000", via="192.0.2.12") for i in range(1000)
    ]
    failures = kernel.apply([Create(route) for route in routes])
    assert [failure.op.obj.key[3] for failure in failures] == ["10.0.1.77/32", "10.0.2.200/32"]
    assert len([key for key in kernel.dump() if key[0] == "route"]) == 998


def test_a_device_without_its_mark_is_incomplete_and_finished_in_place(full: LinuxKernel) -> None:
    wanted = keyed([*host_objects(), *vpc()])
    foreigner(OVERLAY_NETNS, "link property del dev vx5000 altname netorch-vx5000")
    found = full.dump()["link", "overlay", "vx5000"]
    assert isinstance(found, IncompleteLink)
    assert found.seems == wanted["link", "overlay", "vx5000"]
    assert full.apply(diff(wanted, full.dump())) == []
    assert diff(wanted, full.dump()) == []


def test_a_vxlan_device_made_by_hand_is_not_taken_for_ours(kernel: LinuxKernel) -> None:
    create(kernel, VRF)
    foreigner(OVERLAY_NETNS, "link add vx5000 type vxlan id 5000 dstport 4789 local 192.0.2.11")
    foreigner(OVERLAY_NETNS, "link property add dev vx5000 altname netorch-vx5000")
    assert kernel.dump()["link", "overlay", "vx5000"] == IncompleteLink(vni=5000, ifname="vx5000")


def test_a_link_that_stands_there_already_is_refused_unless_equal(kernel: LinuxKernel) -> None:
    create(kernel, VRF)
    failures = kernel.apply([Create(VRF), Create(Vrf(vni=VNI, ifname="vrf5000", table=77))])
    assert [(failure.op.obj, failure.error.errno) for failure in failures] == [
        (Vrf(vni=VNI, ifname="vrf5000", table=77), errno.EEXIST)
    ]


def test_the_vxlan_socket_is_in_the_underlay(full: LinuxKernel) -> None:
    def listens(name: str) -> bool:
        fd = netns.find(name)
        with netns.inside(fd):
            text = Path("/proc/net/udp").read_text()
        os.close(fd)
        return ":12B5 " in text

    assert (listens("u-hv1"), listens(OVERLAY_NETNS)) == (True, False)


def test_an_ipv6_vtep_is_refused_with_reason(kernel: LinuxKernel) -> None:
    create(kernel, VRF)
    failures = kernel.apply([Create(msgspec.structs.replace(VXLAN, local="2001:db8::1"))])
    assert "is not IPv4" in str(failures[0].error)


def test_a_deleted_name_of_the_overlay_comes_back(full: LinuxKernel) -> None:
    netns.remove(OVERLAY_NETNS)
    select.select([full.fileno()], [], [], 2.0)
    full.events()
    assert "vrf5000" in foreigner(OVERLAY_NETNS, "link show vrf5000")


def test_a_name_that_another_namespace_took_is_taken_back(full: LinuxKernel) -> None:
    netns.remove(OVERLAY_NETNS)
    os.close(netns.make(OVERLAY_NETNS))
    select.select([full.fileno()], [], [], 2.0)
    full.events()
    assert "vrf5000" in foreigner(OVERLAY_NETNS, "link show vrf5000")


def test_a_name_without_a_namespace_is_completed() -> None:
    netns.RUN_NETNS.mkdir(parents=True, exist_ok=True)
    (netns.RUN_NETNS / OVERLAY_NETNS).touch()
    with host("hv1") as kernel:
        create(kernel, VRF)
        assert "vrf5000" in foreigner(OVERLAY_NETNS, "link show vrf5000")


def test_the_underlay_device_is_found_and_watched(kernel: LinuxKernel) -> None:
    assert kernel.underlay("192.0.2.11") is None
    foreigner("u-hv1", "link add eth0 type dummy")
    foreigner("u-hv1", "addr add 192.0.2.11/24 dev eth0")
    assert UnderlayChanged() in wait_events(kernel)
    found = kernel.underlay("192.0.2.11")
    assert found is not None
    assert (found.ifname, found.mtu) == ("eth0", 1500)
    assert not found.carries
    foreigner("u-hv1", "link set eth0 mtu 1400")
    assert wait_events(kernel) == [UnderlayChanged()]
    kernel.underlay("192.0.2.11")
    foreigner("u-hv1", "link set eth0 up")
    assert UnderlayChanged() in wait_events(kernel)
    assert kernel.underlay("192.0.2.11") == Underlay(ifname="eth0", mtu=1400)
    foreigner("u-hv1", "addr del 192.0.2.11/24 dev eth0")
    assert wait_events(kernel) == [UnderlayChanged()]


def test_lost_notifications_ask_for_a_dump(full: LinuxKernel) -> None:
    full._rtnl._monitor._socket.setsockopt(1, 33, 4096)  # SO_RCVBUFFORCE: a queue that one burst overflows
    fd = netns.find(OVERLAY_NETNS)
    stranger = Channel(fd)
    os.close(fd)
    from netorch.drivers.rtnl import encode

    neighbours = [Neighbour(vni=5000, ifname="vx5000", dst=f"10.7.{i >> 8}.{i & 255}", lladdr=ROUTER) for i in range(500)]
    index = full._rtnl._index_of("vx5000")
    stranger.batch([encode.pack(obj, lambda _: index)[0] for obj in neighbours])
    stranger.close()
    assert Lost() in wait_events(full)
    assert sum(key[0] == "neigh" for key in full.dump()) == 502


def test_a_stock_rule_in_front_counts_as_missing(kernel: LinuxKernel) -> None:
    rule = Rule(version=4, priority=32765, table=255)
    create(kernel, rule)
    assert rule.key in kernel.dump()
    foreigner(OVERLAY_NETNS, "rule add pref 0 lookup local")
    assert rule.key not in kernel.dump()
    create(kernel, rule)
    assert foreigner(OVERLAY_NETNS, "rule show pref 0") == ""
    assert kernel.apply([Delete(rule)]) == []
    assert "lookup local" in foreigner(OVERLAY_NETNS, "rule show pref 0")


def test_a_vtep_on_the_loopback_has_the_mtu_of_the_device_that_carries_it(kernel: LinuxKernel) -> None:
    foreigner("u-hv1", "addr add 192.0.2.11/32 dev lo")
    foreigner("u-hv1", "link set lo up")
    assert kernel.underlay("192.0.2.11") is None  # no uplink yet
    foreigner("u-hv1", "link add eth0 mtu 1550 type veth peer name other")
    foreigner("u-hv1", "link set eth0 up")
    foreigner("u-hv1", "route add 192.0.2.0/24 dev eth0")
    found = kernel.underlay("192.0.2.11")
    assert found is not None
    assert (found.ifname, found.mtu) == ("eth0", 1550)
