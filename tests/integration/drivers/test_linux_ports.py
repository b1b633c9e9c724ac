"""Ports on a real kernel: killed between any two steps, taken over from another host, in namespaces that come and go."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import msgspec
import pytest

from netorch.drivers import netns
from netorch.drivers.base import Gone, Lost
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.netlink import Channel, Message, NetlinkError
from netorch.plan.diff import diff
from netorch.state.link import AdminUp, IncompleteLink, TapPort, VethPort, Vrf
from netorch.state.op import Create, Delete
from tests.rig.hosts import INSIDE, INSTANCE, PORT, PORT_MAC, VETH, VNI, VRF, create, foreigner, host, restarted, vpc
from tests.rig.packets import PATIENCE_S

pytestmark = pytest.mark.root

WANTED = {obj.key: obj for obj in (VRF, VETH)}


class Killed(BaseException):
    """Stands for kill -9: no code of the agent catches it."""


@pytest.fixture
def kernel() -> Iterator[LinuxKernel]:
    with host("hv1") as kernel:
        create(kernel, VRF)
        yield kernel


def links(kernel: LinuxKernel) -> dict[tuple[str | int, ...], object]:
    return {key: obj for key, obj in kernel.dump().items() if key[0] == "link"}


def die_before_message(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """End the process instead of sending its `number`th batch from now on; return the counter."""
    sent = [0]
    real = Channel.batch

    def batch(self: Channel, messages: list[Message]) -> dict[int, NetlinkError]:
        if messages:
            if sent[0] == number:
                raise Killed
            sent[0] += 1
        return real(self, messages)

    monkeypatch.setattr(Channel, "batch", batch)
    return sent


@pytest.mark.parametrize("step", [3, 4], ids=["when it is marked", "when it is up"])
def test_a_port_that_somebody_unplugs_while_we_make_it_is_missed(
    kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real, sent = Channel.batch, [0]

    def batch(self: Channel, messages: list[Message]) -> dict[int, NetlinkError]:
        refused = real(self, messages)
        if messages and sent[0] == step:
            foreigner(INSTANCE, "link del eth0")
        sent[0] += bool(messages)
        return refused

    with monkeypatch.context() as patch:
        patch.setattr(Channel, "batch", batch)
        assert kernel.apply([Create(VETH), Create(AdminUp(vni=VNI, ifname=PORT))][: step - 2]) == []
    assert sent[0] == step + 1, "the steps of a plug have changed: adapt the test's numbers"
    assert Lost() in kernel.events()
    assert links(kernel).keys() == {VRF.key}


@pytest.mark.parametrize("step", range(5))
def test_a_plug_cut_short_is_finished_by_a_fresh_agent(kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    with monkeypatch.context() as patch:
        sent = die_before_message(patch, step)
        died = False
        try:
            kernel.apply([Create(VETH)])
        except Killed:
            died = True
    if not died:
        assert sent[0] == step == 4, "the steps of a plug have changed: adapt the test's range"
        return
    with restarted("hv1") as fresh:
        found = links(fresh)
        assert isinstance(found.get(VETH.key, IncompleteLink(ifname=PORT)), IncompleteLink)
        wanted = {obj.key: obj for obj in (VRF, VETH)}
        actual = {key: obj for key, obj in fresh.dump().items() if key[0] == "link"}
        assert fresh.apply(diff(wanted, actual)) == []
        assert VETH.matches(fresh.dump()[VETH.key])
    assert "10.0.0.11/24" in foreigner(INSTANCE, "addr show dev eth0")


def test_the_namespace_goes_with_its_last_port(kernel: LinuxKernel) -> None:
    second = msgspec.structs.replace(VETH, ifname="v-0013880000003", inside=msgspec.structs.replace(INSIDE, ifname="eth1"))
    create(kernel, VETH, second)
    dumped = kernel.dump()
    assert kernel.apply([Delete(dumped[VETH.key])]) == []
    assert (netns.RUN_NETNS / INSTANCE).exists()
    assert kernel.apply([Delete(dumped[second.key])]) == []
    assert not (netns.RUN_NETNS / INSTANCE).exists()


def test_a_foreign_namespace_stays_when_its_port_goes(kernel: LinuxKernel) -> None:
    os.close(netns.make("container"))
    try:
        port = msgspec.structs.replace(VETH, instance_netns="container", make_netns=False)
        create(kernel, port)
        assert kernel.apply([Delete(kernel.dump()[port.key])]) == []
        assert (netns.RUN_NETNS / "container").exists()
    finally:
        netns.remove("container")


def test_a_namespace_may_be_given_by_its_path(kernel: LinuxKernel) -> None:
    started, done = threading.Event(), threading.Event()
    path: list[str] = []

    def container() -> None:
        fd = netns.make("gone")
        with netns.inside(fd):
            netns.remove("gone")
            path.append(f"/proc/self/task/{threading.get_native_id()}/ns/net")
            started.set()
            done.wait()
        os.close(fd)

    thread = threading.Thread(target=container, daemon=True)
    thread.start()
    assert started.wait(PATIENCE_S)
    port = msgspec.structs.replace(VETH, instance_netns=path[0], make_netns=False)
    try:
        create(kernel, port)
        assert port.matches(kernel.dump()[port.key])
    finally:
        done.set()
        thread.join()


def test_a_vanished_namespace_is_a_clear_failure(kernel: LinuxKernel) -> None:
    for name in ("nobody", "/proc/1/ns/nothing"):
        (failure,) = kernel.apply([Create(msgspec.structs.replace(VETH, instance_netns=name, make_netns=False))])
        assert failure.error.errno == errno.ENOENT
        assert f"open namespace {netns.RUN_NETNS / name}" in str(failure.error)


def test_a_device_of_the_instance_itself_is_in_the_way(kernel: LinuxKernel) -> None:
    os.close(netns.make(INSTANCE))
    foreigner(INSTANCE, "link add eth0 type dummy")
    (failure,) = kernel.apply([Create(VETH)])
    assert failure.error.errno == errno.EEXIST
    assert "has another device eth0" in str(failure.error)


@pytest.fixture
def two_hosts() -> Iterator[tuple[LinuxKernel, LinuxKernel]]:
    with ExitStack() as stack:
        first, second = (stack.enter_context(host(name)) for name in ("hv1", "hv2"))
        yield first, second


def test_a_plugged_instance_moves_with_its_device(two_hosts: tuple[LinuxKernel, LinuxKernel]) -> None:
    old, new = two_hosts
    create(old, *vpc())
    old.events()
    before = foreigner(INSTANCE, "-o addr show dev eth0")
    create(new, VRF, VETH)
    assert VETH.matches(new.dump()[VETH.key])
    events = old.events()
    assert Gone(VETH.key, VETH.vni) in events
    assert Lost() not in events, "a takeover is no accident"
    assert VETH.key not in old.dump()
    after = foreigner(INSTANCE, "-o addr show dev eth0")
    assert "10.0.0.11/24" in after
    assert before.split(maxsplit=1)[0] == after.split(maxsplit=1)[0], "another device, not the moved one"
    assert old.apply([Delete(VETH)]) == []
    assert (netns.RUN_NETNS / INSTANCE).exists(), "the old host took the moved instance's namespace away"
    assert VETH.key in new.dump()


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_takeover_cut_short_is_finished_by_a_fresh_agent(
    two_hosts: tuple[LinuxKernel, LinuxKernel], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    old, new = two_hosts
    create(old, VRF, VETH)
    create(new, VRF)
    with monkeypatch.context() as patch:
        die_before_message(patch, step)
        with pytest.raises(Killed):
            new.apply([Create(VETH)])
    with restarted("hv2") as fresh:
        actual = {key: obj for key, obj in fresh.dump().items() if key[0] == "link"}
        assert fresh.apply(diff(WANTED, actual)) == []
        assert VETH.matches(fresh.dump()[VETH.key])
    assert VETH.key not in old.dump()


def test_a_tap_persists_and_goes(kernel: LinuxKernel) -> None:
    tap = TapPort(vni=5000, ifname="v-0013880000009", lladdr=PORT_MAC, mtu=1400, vrf="vrf5000")
    create(kernel, tap)
    assert kernel.dump()[tap.key] == tap
    assert kernel.apply([Delete(tap)]) == []
    assert tap.key not in kernel.dump()


def test_a_port_for_a_missing_vrf_is_refused(kernel: LinuxKernel) -> None:
    (failure,) = kernel.apply([Create(msgspec.structs.replace(VETH, vrf="vrf77"))])
    assert failure.error.errno == errno.ENODEV
    assert "vrf77" in str(failure.error)


def test_a_group_to_be_deleted_that_outlived_its_agent_is_incomplete(kernel: LinuxKernel) -> None:
    other = Vrf(vni=5001, ifname="vrf5001", table=5001)
    create(kernel, other)
    foreigner("netorch-hv1", "link set vrf5001 group 1314127873")
    assert kernel.dump()[other.key] == IncompleteLink(vni=5001, ifname="vrf5001")


def test_a_port_of_a_dump_says_whose_namespace_it_is(kernel: LinuxKernel) -> None:
    create(kernel, VETH)
    found = kernel.dump()[VETH.key]
    assert isinstance(found, VethPort)
    assert (found.instance_netns, found.make_netns) == (INSTANCE, True)
