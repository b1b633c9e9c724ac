"""The two ends of a port whose MTU changes: the order of changes, the owner of a device, and devices that are gone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import msgspec
import pytest

from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.netlink import Channel, Message, NetlinkError
from netorch.drivers.probe.echo import mtu_of
from netorch.plan.diff import diff
from netorch.state.link import Link
from netorch.state.op import Replace
from netorch.state.owner import overlay_netns
from tests.rig.hosts import INSTANCE, PORT, VETH, VRF, create, foreigner, host, restarted

pytestmark = pytest.mark.root

LARGER = msgspec.structs.replace(VETH, mtu=9000)


@pytest.fixture
def kernel() -> Iterator[LinuxKernel]:
    with host("hv1") as kernel:
        create(kernel, VRF, VETH)
        yield kernel


def ends() -> tuple[int, int]:
    return mtu_of(INSTANCE, "eth0"), mtu_of(overlay_netns("hv1"), PORT)


def die_after(monkeypatch: pytest.MonkeyPatch, messages_sent: int) -> None:
    """End the process instead of sending another batch of messages."""
    left = [messages_sent]
    real = Channel.batch

    def batch(self: Channel, messages: list[Message]) -> dict[int, NetlinkError]:
        if messages and not left[0]:
            raise KeyboardInterrupt
        left[0] -= bool(messages)
        return real(self, messages)

    monkeypatch.setattr(Channel, "batch", batch)


@pytest.mark.parametrize("mtu", [1400, 9000])
@pytest.mark.parametrize("step", [0, 1])
def test_a_change_cut_short_is_finished_by_a_fresh_agent(kernel: LinuxKernel, mtu: int, step: int) -> None:
    wanted = msgspec.structs.replace(VETH, mtu=mtu)
    with pytest.MonkeyPatch.context() as patch:
        die_after(patch, step)
        with pytest.raises(KeyboardInterrupt):
            kernel.apply([Replace(VETH, wanted)])
    assert mtu_of(overlay_netns("hv1"), PORT) == 1500
    with restarted("hv1") as fresh:
        actual = {key: obj for key, obj in fresh.dump().items() if isinstance(obj, Link)}
        assert fresh.apply(diff({VRF.key: VRF, wanted.key: wanted}, actual)) == []
    assert ends() == (mtu, mtu)


def test_a_device_that_the_instance_has_renamed_follows_and_one_that_it_made_smaller_stays(kernel: LinuxKernel) -> None:
    foreigner(INSTANCE, "link set eth0 down")
    foreigner(INSTANCE, "link set eth0 name wan0")
    assert kernel.apply([Replace(VETH, LARGER)]) == []
    assert mtu_of(INSTANCE, "wan0") == 9000
    foreigner(INSTANCE, "link set wan0 mtu 1300")
    assert kernel.apply([Replace(LARGER, VETH)]) == []
    assert mtu_of(INSTANCE, "wan0") == 1300


@pytest.mark.parametrize("another", [True, False], ids=["another of its name", "none of its name"])
def test_a_namespace_that_is_not_found_keeps_its_mtu_and_so_does_the_port(kernel: LinuxKernel, another: bool) -> None:
    own = netns.find(INSTANCE)
    netns.remove(INSTANCE)
    if another:
        os.close(netns.make(INSTANCE))
        for _ in range(3):  # with a device of the same index
            foreigner(INSTANCE, "link add type dummy")
    (failure,) = kernel.apply([Replace(VETH, LARGER)])
    assert failure.error.errno == (errno.ENODEV if another else errno.ENOENT)
    assert mtu_of(overlay_netns("hv1"), PORT) == 1500
    if another:
        assert "mtu 9000" not in foreigner(INSTANCE, "link")
    netns.give_name(own, INSTANCE)
    os.close(own)
    assert kernel.apply([Replace(VETH, LARGER)]) == []
    assert ends() == (9000, 9000)
