"""Devices that lost their marks or names, were moved away or filled up: each is restored, and nothing else is touched."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import pytest

from netorch.drivers import home
from netorch.drivers.base import Seen
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.rtnl.kinds import source_routes
from netorch.plan.diff import diff
from netorch.state.link import IncompleteLink, Settings
from netorch.state.op import Create, Delete
from netorch.state.tc import Clsact, Drop, Match, TcFilter
from tests.rig.hosts import (
    INSIDE,
    INSTANCE,
    PORT,
    PORT_MAC,
    TAP,
    VETH,
    VNI,
    VRF,
    VXLAN,
    create,
    foreigner,
    host,
    vpc,
)
from tests.rig.namespaces import (
    index_inside,
    namespace,
    repair,
)

pytestmark = pytest.mark.root


@pytest.fixture
def kernel() -> Iterator[LinuxKernel]:
    with host("hv1") as kernel:
        create(kernel, VRF)
        yield kernel


# --- the identity of links ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [PORT, TAP, "vx5000", "vrf5000"])
def test_a_device_without_its_mark_gets_it_back_and_stays(kernel: LinuxKernel, name: str) -> None:
    create(kernel, *vpc()[1:])
    before = foreigner("netorch-hv1", f"-o link show dev {name}").split(":")[0]
    kernel.events()
    foreigner("netorch-hv1", f"link property del dev {name} altname netorch-{name}")
    (seen,) = [event.obj for event in kernel.events() if isinstance(event, Seen) and event.obj.key == ("link", "overlay", name)]
    assert isinstance(seen, IncompleteLink)
    # The settings are inherited from a namespace that an agent has set up.
    wanted = {obj.key: obj for obj in vpc() if not isinstance(obj, Settings)}
    found = {key: obj for key, obj in kernel.dump().items() if key in wanted}
    ops = diff(wanted, found)
    assert not [op for op in ops if isinstance(op, Delete)]
    assert [str(failure.error) for failure in kernel.apply(ops)] == []
    after = kernel.dump()
    assert all(obj.matches(after[key]) for key, obj in wanted.items())
    assert foreigner("netorch-hv1", f"-o link show dev {name}").split(":")[0] == before


def test_an_instance_that_renames_its_device_while_it_is_plugged_fails_alone(
    kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = home.identity
    inside = msgspec.structs.replace(INSIDE, addresses=INSIDE.addresses[:1], gateways=INSIDE.gateways[:1])
    port = msgspec.structs.replace(VETH, inside=inside)

    def renamed(fd: int) -> str:
        foreigner(INSTANCE, f"link set {INSIDE.ifname} name other")
        return identity(fd)

    with monkeypatch.context() as patch:
        patch.setattr(home, "identity", renamed)
        (failure,) = kernel.apply([Create(port)])
    assert failure.error.errno == errno.ENODEV
    repair(kernel, port)


@pytest.mark.parametrize("what", ["link add x{} type dummy", "rule add pref {} lookup 1"])
def test_a_namespace_that_its_instance_has_filled_is_not_read_to_its_end(
    kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    create(kernel, VETH)
    foreigner(INSTANCE, f"link delete {INSIDE.ifname}")
    for number in range(1, 11):
        foreigner(INSTANCE, what.format(number))
    monkeypatch.setattr(source_routes, "MOST_INSIDE", 10)
    (failure,) = kernel.apply([Create(VETH)])
    assert failure.error.errno == errno.E2BIG
    monkeypatch.setattr(source_routes, "MOST_INSIDE", 20)
    repair(kernel, VETH)


def test_a_port_that_was_carried_off_is_made_again(kernel: LinuxKernel) -> None:
    create(kernel, VETH)
    with namespace("container"):
        foreigner("netorch-hv1", f"link set {PORT} netns container")
        repair(kernel, VETH)
        assert PORT not in foreigner("container", "link")
    assert "10.0.0.11/24" in foreigner(INSTANCE, "addr show dev eth0")


def test_an_instances_end_that_was_carried_off_is_made_again(kernel: LinuxKernel) -> None:
    create(kernel, VETH)
    with namespace("container"):
        foreigner(INSTANCE, "link set eth0 netns container")
        repair(kernel, VETH)
        assert "eth0" not in foreigner("container", "link")
    assert "10.0.0.11/24" in foreigner(INSTANCE, "addr show dev eth0")


@pytest.mark.parametrize("kind", ["dummy", "veth peer name foreign0"])
@pytest.mark.parametrize("marked", [False, True])
def test_a_foreign_device_of_a_ports_name_makes_room_for_it(kernel: LinuxKernel, kind: str, marked: bool) -> None:
    create(kernel, VETH)
    foreigner("netorch-hv1", f"link del {PORT}")
    kind, _, more = kind.partition(" ")
    foreigner("netorch-hv1", f"link add {PORT} address {PORT_MAC} mtu 1500 type {kind} {more}")
    if marked:
        foreigner("netorch-hv1", f"link property add dev {PORT} altname netorch-{PORT}")
        with suppress(subprocess.CalledProcessError):
            foreigner("netorch-hv1", f"link set {PORT} master vrf5000")
    repair(kernel, VETH)
    assert "10.0.0.11/24" in foreigner(INSTANCE, "addr show dev eth0")


def test_a_port_under_another_name_gets_its_own_back(kernel: LinuxKernel) -> None:
    create(kernel, VETH)
    index = index_inside(INSTANCE)
    foreigner("netorch-hv1", f"link set {PORT} name astray")
    repair(kernel, VETH)
    assert index_inside(INSTANCE) == index


def test_filters_of_a_device_that_was_made_again_are_counted(kernel: LinuxKernel) -> None:
    on_device = (
        Clsact(vni=VNI, ifname=VXLAN.ifname),
        TcFilter(vni=VNI, ifname=VXLAN.ifname, step=10, match=Match(), actions=(Drop(),)),
    )
    for _ in range(2):
        create(kernel, VXLAN, *on_device)
        assert kernel.filter_counts(VXLAN.ifname).keys() == {on_device[1].key}
        assert kernel.apply([Delete(VXLAN)]) == []
    assert kernel.filter_counts(VXLAN.ifname) == {}
