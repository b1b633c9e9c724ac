"""Namespaces into which instances may be plugged: a name's target decides, not the name, and other namespaces stay intact."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from netorch.drivers import home, netns
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.netlink import Channel
from netorch.state.link import VethPort
from netorch.state.op import Create, Delete
from policy import skeleton
from tests.rig.hosts import (
    INSIDE,
    INSTANCE,
    PORT,
    VETH,
    VRF,
    create,
    foreigner,
    host,
    restarted,
)
from tests.rig.namespaces import (
    CONTAINER,
    STOLEN,
    THIEF,
    by_link,
    by_mount,
    forget_names,
    index_inside,
    namespace,
    refusal,
    repair,
)

pytestmark = pytest.mark.root


@pytest.fixture
def kernel() -> Iterator[LinuxKernel]:
    with host("hv1") as kernel:
        create(kernel, VRF)
        yield kernel


@pytest.fixture
def other() -> Iterator[LinuxKernel]:
    with host("hv2") as kernel:
        create(kernel, VRF)
        yield kernel


@pytest.fixture
def container() -> Iterator[int]:
    with namespace("container") as fd:
        yield fd


@pytest.fixture(autouse=True)
def names_of_tests() -> Iterator[None]:
    yield
    forget_names()


def test_nobody_is_plugged_into_what_is_a_hosts_or_anothers(kernel: LinuxKernel, other: LinuxKernel) -> None:
    create(kernel, VETH)
    create(other, skeleton.underlay_table())
    before = foreigner("u-hv1", "-o link")
    for target, what in {
        "/run/netns/u-hv1": "the host's own",
        "/proc/1/ns/net": "the machine's own",
        "/proc/self/ns/net": "the machine's own",
        "/run/netns/netorch-hv1": "the overlay of a host",
        "/run/netns/netorch-hv2": "the overlay of a host",
        "/run/netns/u-hv2": "the table netorch",
        f"/run/netns/{INSTANCE}": INSTANCE,
    }.items():
        for spell in (str, by_link, by_mount):
            said = refusal(kernel, msgspec.structs.replace(STOLEN, instance_netns=spell(target)))
            assert "plug eth0 into namespace" in said
            assert what in said
            forget_names()
    assert foreigner("u-hv1", "-o link") == before
    assert VETH.matches(kernel.dump()[VETH.key])


def test_a_namespace_that_another_instance_is_plugged_into_is_refused(
    kernel: LinuxKernel, other: LinuxKernel, container: int
) -> None:
    create(kernel, CONTAINER)
    renamed = msgspec.structs.replace(STOLEN.inside, ifname="eth1")
    for thief in (STOLEN, msgspec.structs.replace(STOLEN, inside=renamed)):
        for driver in (kernel, other):
            said = refusal(driver, msgspec.structs.replace(thief, instance_netns="container"))
            assert f"eth0 there is the interface of instance {INSTANCE}" in said


def test_several_interfaces_of_one_instance_share_its_namespace(kernel: LinuxKernel, container: int) -> None:
    second = msgspec.structs.replace(
        CONTAINER,
        ifname="v-0013880000002",
        inside=msgspec.structs.replace(
            INSIDE, ifname="eth1", lladdr="02:00:00:00:00:12", addresses=("10.0.0.12/24",), is_primary=False
        ),
    )
    create(kernel, CONTAINER, second)
    addresses = foreigner("container", "addr")
    assert "10.0.0.11/24" in addresses
    assert "10.0.0.12/24" in addresses
    for port in (CONTAINER, second):
        assert kernel.apply([Delete(kernel.dump()[port.key])]) == []
    assert (netns.RUN_NETNS / "container").exists()


def test_our_name_for_an_instances_namespace_leads_nowhere_else(kernel: LinuxKernel) -> None:
    (netns.RUN_NETNS / INSTANCE).symlink_to("/run/netns/u-hv1")
    assert "make namespace" in str(kernel.apply([Create(VETH)])[0].error)
    (netns.RUN_NETNS / INSTANCE).unlink()
    (netns.RUN_NETNS / INSTANCE).touch()
    subprocess.run(["mount", "--bind", "/run/netns/u-hv1", f"/run/netns/{INSTANCE}"], check=True)
    assert "the host's own" in refusal(kernel, VETH)


def test_what_is_no_network_namespace_is_not_opened(kernel: LinuxKernel) -> None:
    fifo = netns.RUN_NETNS / "linked"
    os.mkfifo(fifo)  # opening a fifo would wait for a writer
    for name in ("linked", "/dev/null", "/proc/self/ns/mnt", "/proc/self/ns/pid"):
        assert "No such file" in refusal(kernel, msgspec.structs.replace(STOLEN, instance_netns=name))


def test_a_link_that_is_turned_after_the_check_leads_nowhere_new(
    kernel: LinuxKernel, container: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = by_link("/run/netns/container")
    real = home.check

    def check_and_turn(port: VethPort, fd: int, inside: Channel, *hosts: int) -> None:
        real(port, fd, inside, *hosts)
        (netns.RUN_NETNS / link).unlink()
        (netns.RUN_NETNS / link).symlink_to("/run/netns/u-hv1")

    monkeypatch.setattr(home, "check", check_and_turn)
    create(kernel, msgspec.structs.replace(CONTAINER, instance_netns=link))
    assert "eth0" in foreigner("container", "link")
    assert "eth0" not in foreigner("u-hv1", "link")


# --- devices in a namespace stay ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [0, 100])
@pytest.mark.parametrize("version", [4, 6])
def test_a_default_route_of_the_namespace_stays_and_is_the_only_one(
    kernel: LinuxKernel, container: int, version: int, metric: int
) -> None:
    foreigner("container", "link add up0 type dummy")
    foreigner("container", "link set up0 up")
    foreigner("container", "addr add 192.0.2.2/24 dev up0")
    foreigner("container", "-6 addr add 2001:db8:9::2/64 dev up0 nodad")
    gateway = "192.0.2.1" if version == 4 else "2001:db8:9::1"
    foreigner("container", f"-{version} route add default via {gateway} dev up0 metric {metric or 1024 * (version == 6)}")
    create(kernel, CONTAINER)
    defaults = foreigner("container", f"-{version} route show default").strip().splitlines()
    assert len(defaults) == 1
    assert gateway in defaults[0]
    assert "eth0" in foreigner("container", f"-{10 - version} route show default")
    assert f"IPv{version} default route" in kernel.left_alone(PORT)
    with restarted("hv1") as fresh:
        assert f"IPv{version} default route" in fresh.left_alone(PORT)
    assert "192.0.2.2/24" in foreigner("container", "addr show dev up0")


def test_nothing_is_said_of_a_namespace_that_had_nothing(kernel: LinuxKernel, container: int) -> None:
    create(kernel, CONTAINER)
    assert kernel.left_alone(PORT) == ""
    assert "via 10.0.0.1 dev eth0" in foreigner("container", "route show default")


# --- the owner of a port -----------------------------------------------------------------------------------------------------


def test_a_port_is_taken_over_by_the_same_interface_only(kernel: LinuxKernel, other: LinuxKernel) -> None:
    create(kernel, VETH)
    inside = msgspec.structs.replace(INSIDE, lladdr="02:00:00:00:00:77")
    for thief in (
        msgspec.structs.replace(VETH, inside=inside),
        msgspec.structs.replace(VETH, ifname="v-0013880000009"),
        msgspec.structs.replace(VETH, instance=THIEF),
    ):
        refusal(other, thief)
        assert VETH.matches(kernel.dump()[VETH.key])
    create(other, VETH)
    assert VETH.key not in kernel.dump()


def test_the_end_of_a_thief_is_not_the_end_of_its_victim(kernel: LinuxKernel, other: LinuxKernel) -> None:
    create(kernel, VETH)
    index = index_inside(INSTANCE)
    stolen = msgspec.structs.replace(STOLEN, instance_netns=INSTANCE)
    for port in (stolen, msgspec.structs.replace(stolen, make_netns=True)):
        other.apply([Create(port)])
        assert other.apply([Delete(port)]) == []
    assert index_inside(INSTANCE) == index
    assert VETH.matches(kernel.dump()[VETH.key])


def test_a_label_that_is_copied_takes_no_namespace_along(kernel: LinuxKernel) -> None:
    create(kernel, VETH)
    with namespace("container"):
        create(kernel, msgspec.structs.replace(CONTAINER, ifname="v-0013880000009", instance=THIEF))
        alias = foreigner("netorch-hv1", f"-d link show dev {PORT}").split("alias ")[1].splitlines()[0].strip()
        subprocess.run(["ip", "-n", "netorch-hv1", "link", "set", "v-0013880000009", "alias", alias], check=True)
        assert kernel.apply([Delete(kernel.dump()["link", "overlay", "v-0013880000009"])]) == []
    assert (netns.RUN_NETNS / INSTANCE).exists()
    assert VETH.matches(kernel.dump()[VETH.key])


def test_a_namespace_that_took_the_name_of_ours_stays(kernel: LinuxKernel) -> None:
    create(kernel, VETH)
    held = netns.find(INSTANCE)
    netns.remove(INSTANCE)
    with namespace(INSTANCE):
        assert kernel.apply([Delete(kernel.dump()[VETH.key])]) == []
        assert (netns.RUN_NETNS / INSTANCE).exists()
    os.close(held)


def test_a_name_that_comes_to_mean_a_new_namespace_is_plugged_there(kernel: LinuxKernel) -> None:
    with namespace("container"):
        create(kernel, CONTAINER)
    with namespace("container"):
        repair(kernel, CONTAINER)
        assert "10.0.0.11/24" in foreigner("container", "addr show dev eth0")


@pytest.mark.parametrize("port", [CONTAINER, VETH])
def test_a_name_that_is_taken_from_a_namespace_that_lives_on_takes_the_port_along(kernel: LinuxKernel, port: VethPort) -> None:
    if not port.make_netns:
        os.close(netns.make(port.instance_netns))
    create(kernel, port)
    old = netns.find(port.instance_netns)
    netns.remove(port.instance_netns)
    assert repair(kernel, port) == []
    with namespace(port.instance_netns):
        assert repair(kernel, port) != []
        assert "10.0.0.11/24" in foreigner(port.instance_netns, "addr show dev eth0")
        assert repair(kernel, port) == []
    os.close(old)


def test_a_label_that_was_changed_is_written_again(kernel: LinuxKernel) -> None:
    create(kernel, VETH)
    index = index_inside(INSTANCE)
    for alias in ("", "x", f"{THIEF} {INSIDE.lladdr} =box"):
        subprocess.run(["ip", "-n", "netorch-hv1", "link", "set", PORT, "alias", alias], check=True)
        repair(kernel, VETH)
    assert index_inside(INSTANCE) == index
    assert kernel.apply([Delete(kernel.dump()[VETH.key])]) == []
    assert not (netns.RUN_NETNS / INSTANCE).exists()
