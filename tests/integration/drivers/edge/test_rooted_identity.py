"""Xfrm interfaces and VLAN devices after kill -9 and after changes by others: all are recognised, none leaks, others' stay."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence

import pytest

from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.netlink import Channel, Message, NetlinkError
from netorch.plan.diff import diff
from netorch.state.base import OUTSIDE, OVERLAY, KernelObject, Key
from netorch.state.link import IncompleteLink, Settings, Sysctl
from netorch.state.netns import Namespace
from netorch.state.op import Op
from netorch.state.owner import altname, netns_name, overlay_netns
from netorch.state.rooted import Rooted
from tests.contract.kernel.rooted.objects import ALL, HOST, INNER, PORT, PORT_MTU, SERVICE_TAG, TUNNEL, VLAN, VRFS
from tests.contract.kernel.stands import by_key
from tests.rig.hosts import create, foreigner, host, host_objects, restarted
from tests.rig.namespaces import namespace

pytestmark = [pytest.mark.root, pytest.mark.long]

NAME = "edge"
OVERLAY_NAME, OUTSIDE_NAME, UNDERLAY_NAME = overlay_netns(NAME), netns_name(NAME, OUTSIDE), f"u-{NAME}"
WANTED = {key: obj for key, obj in by_key(*ALL).items() if not isinstance(obj, Sysctl)}
BARE = {key: obj for key, obj in WANTED.items() if obj in (*HOST, *VRFS) and getattr(obj, "ifname", "") != SERVICE_TAG.ifname}
each = pytest.mark.parametrize("device", [TUNNEL, VLAN, INNER, SERVICE_TAG], ids=["tunnel", "vlan", "inner vlan", "service tag"])


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[LinuxKernel]:  # undone after the test
    with host(NAME) as kernel:
        words = f"link add {PORT} mtu {PORT_MTU} type veth peer name wire mtu {PORT_MTU}"
        foreigner(UNDERLAY_NAME, words)
        create(kernel, *host_objects(), *HOST, *VRFS)
        yield kernel


def found(kernel: LinuxKernel, wanted: dict[Key, KernelObject]) -> dict[Key, KernelObject]:
    """Return the objects that an agent compares: wanted ones, and ones no longer wanted."""
    rooted = {obj.ifname for obj in ALL if isinstance(obj, Rooted)}

    def concerns(key: Key, obj: KernelObject) -> bool:
        return key in wanted or isinstance(obj, IncompleteLink | Rooted) or getattr(obj, "ifname", "") in rooted

    return {key: obj for key, obj in kernel.dump().items() if concerns(key, obj) and not isinstance(obj, Sysctl | Settings)}


def restore(kernel: LinuxKernel, wanted: dict[Key, KernelObject]) -> list[Op]:
    """Let an agent without memory restore the wanted objects, and return the operations."""
    ops = diff(wanted, found(kernel, wanted))
    assert [str(failure.error) for failure in kernel.apply(ops)] == []
    assert diff(wanted, found(kernel, wanted)) == []
    return ops


def rooted_devices(label: str) -> list[str]:
    """Return the remaining devices of netorch in a namespace, whatever their names."""
    shown = foreigner(label, "-o -d link show").splitlines()
    return [line for line in shown if " xfrm if_id" in line or " vlan protocol" in line]


def index_of(device: Rooted) -> str:
    name = OVERLAY_NAME if device.netns == OVERLAY else OUTSIDE_NAME
    return foreigner(name, f"-o link show dev {device.ifname}").split(":")[0]


# --- kill -9 -----------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def end(kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """End an agent before its test ends."""
    kernel.close()
    monkeypatch.setattr(kernel, "close", lambda: None)


def killed_after(monkeypatch: pytest.MonkeyPatch, messages: int, ops: list[Op]) -> bool:
    """Let an agent apply operations and be killed after some messages. Return whether it finished before."""
    send, left = Channel.batch, messages

    def batch(channel: Channel, batched: Sequence[Message]) -> dict[int, NetlinkError]:
        nonlocal left
        refused: dict[int, NetlinkError] = {}
        for position, message in enumerate(batched):
            if left == 0:
                raise Killed
            left -= 1
            if found := send(channel, [message]):
                refused[position] = found[0]
        return refused

    with restarted(NAME) as agent, monkeypatch.context() as patch:
        agent.dump()
        patch.setattr(Channel, "batch", batch)
        try:
            agent.apply(ops)
        except Killed:
            return False
    return True


def test_an_agent_killed_at_any_message_is_continued_by_the_next(kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    restore(kernel, BARE)
    ops, messages, done = diff(WANTED, BARE), 0, False
    while not done:
        done = killed_after(monkeypatch, messages, ops)
        restore(kernel, WANTED)
        restore(kernel, BARE)
        assert [rooted_devices(label) for label in (OVERLAY_NAME, OUTSIDE_NAME, UNDERLAY_NAME)] == [[], [], []]
        messages += 1
    assert messages > 2 * len([op for op in ops if isinstance(op.obj, Rooted)])  # each device is created, then marked


def test_an_agent_killed_while_it_takes_them_away_leaves_nothing_to_the_next(
    kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    vrfs = by_key(*VRFS)
    messages, done = 0, False
    restore(kernel, WANTED)
    end(kernel, monkeypatch)
    while not done:
        with restarted(NAME) as agent:
            restore(agent, WANTED)
        done = killed_after(monkeypatch, messages, diff(vrfs, WANTED))
        with restarted(NAME) as agent:
            gone = {key: obj for key, obj in agent.dump().items() if key in WANTED or isinstance(obj, IncompleteLink)}
            assert [str(failure.error) for failure in agent.apply(diff(vrfs, gone))] == []
        assert [rooted_devices(label) for label in (OVERLAY_NAME, UNDERLAY_NAME)] == [[], []]
        assert PORT in foreigner(UNDERLAY_NAME, "link show")
        with restarted(NAME) as agent:
            create(agent, *HOST)
        messages += 1


# --- changes by others -------------------------------------------------------------------------------------------------------


@each
def test_one_without_its_mark_gets_it_back_and_stays(kernel: LinuxKernel, device: Rooted) -> None:
    restore(kernel, WANTED)
    before = index_of(device)
    name = OVERLAY_NAME if device.netns == OVERLAY else OUTSIDE_NAME
    foreigner(name, f"link property del dev {device.ifname} altname {altname(device.ifname)}")
    assert isinstance(kernel.dump()[device.key], IncompleteLink)
    restore(kernel, WANTED)
    assert index_of(device) == before
    assert altname(device.ifname) in foreigner(name, f"link show dev {device.ifname}")


def test_a_device_of_ours_that_stands_in_the_outside_makes_room(kernel: LinuxKernel) -> None:
    restore(kernel, BARE)
    foreigner(OUTSIDE_NAME, f"link add {TUNNEL.ifname} type xfrm if_id {TUNNEL.if_id}")
    foreigner(OUTSIDE_NAME, f"link add link {PORT} name {VLAN.ifname} type vlan id {VLAN.vlan}")
    restore(kernel, WANTED)
    assert [line for line in rooted_devices(OUTSIDE_NAME) if SERVICE_TAG.ifname not in line] == []


@each
def test_one_that_was_carried_to_a_strange_place_comes_back(kernel: LinuxKernel, device: Rooted) -> None:
    restore(kernel, WANTED)
    name = OVERLAY_NAME if device.netns == OVERLAY else OUTSIDE_NAME
    with namespace("container"):
        foreigner(name, f"link set {device.ifname} netns container")
        restore(kernel, WANTED)
        assert rooted_devices("container") == []


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (TUNNEL, "type xfrm if_id 99"),
        (VLAN, "type vlan ingress-qos-map 0:7"),
        (VLAN, "address 02:00:00:00:00:99"),
    ],
    ids=["other if_id", "priorities", "MAC"],
)
def test_what_cannot_be_changed_back_is_made_again(kernel: LinuxKernel, device: Rooted, words: str) -> None:
    restore(kernel, WANTED)
    before = index_of(device)
    foreigner(OVERLAY_NAME, f"link set {device.ifname} {words}")
    restore(kernel, WANTED)
    assert index_of(device) != before


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (TUNNEL, "arp on"),
        (TUNNEL, "multicast on"),
        (VLAN, "arp off"),
        (VLAN, "type vlan loose_binding off"),
        (VLAN, "type vlan gvrp on reorder_hdr off"),
        (TUNNEL, "rp_filter 1"),
        (INNER, "rp_filter 1"),
        (VLAN, "proxy_arp 1"),
    ],
)
def test_settings_that_somebody_has_changed_are_put_right(kernel: LinuxKernel, device: Rooted, words: str) -> None:
    restore(kernel, WANTED)
    settings = Settings(vni=device.vni, ifname=device.ifname)
    assert kernel.dump()[settings.key] == settings
    if words.split()[0] in ("rp_filter", "proxy_arp"):
        name, value = words.split()
        path = f"net.ipv4.conf.{device.ifname}.{name}={value}"
        subprocess.run(["ip", "netns", "exec", OVERLAY_NAME, "sysctl", "-qw", path], check=True)
    else:
        foreigner(OVERLAY_NAME, f"link set {device.ifname} {words}")
    bad = kernel.dump()[settings.key]
    assert isinstance(bad, Settings)
    assert bad.deviations
    assert kernel.apply(diff({settings.key: settings}, {settings.key: bad})) == []
    assert kernel.dump()[settings.key] == settings


def test_a_device_of_an_outside_that_was_replaced_is_another_one(kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process still holds the old outside namespace, so the namespace lives on, and the device in it."""
    restore(kernel, WANTED)
    held = netns.find(OUTSIDE_NAME)
    try:
        end(kernel, monkeypatch)
        subprocess.run(["ip", "netns", "del", OUTSIDE_NAME], check=True)
        foreigner(UNDERLAY_NAME, f"link add {PORT} mtu {PORT_MTU} type veth peer name again mtu {PORT_MTU}")
        with restarted(NAME) as agent:
            assert TUNNEL.ifname in foreigner(OVERLAY_NAME, "link show")
            create(agent, Namespace(label=OUTSIDE))
            seen = agent.dump()[TUNNEL.key]
            assert isinstance(seen, IncompleteLink)
            assert seen.seems is None
            restore(agent, WANTED)
    finally:
        os.close(held)


def test_others_devices_on_the_port_and_in_the_outside_stay(kernel: LinuxKernel) -> None:
    foreigner(OUTSIDE_NAME, f"link add link {PORT} name mine type vlan id 7")
    foreigner(OUTSIDE_NAME, "link add theirs type xfrm if_id 7")
    restore(kernel, WANTED)
    restore(kernel, BARE)
    shown = foreigner(OUTSIDE_NAME, "link show")
    assert " mine@" in shown
    assert " theirs@" in shown
