"""What instances may be plugged into: told by what a name leads to, whatever it is called, and never at another's expense."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec
import pytest

from netorch.control.views.describe import InstanceState, describe_instances
from netorch.control.views.health import read_health
from netorch.drivers import home, netns
from netorch.drivers.base import Seen
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.netlink import Channel
from netorch.drivers.rtnl import source_routes
from netorch.model.eni import EniState
from netorch.plan.diff import diff
from netorch.state.base import Key
from netorch.state.link import HalfMade, Settings, VethPort
from netorch.state.op import Create, Delete, Op
from policy import skeleton
from tests.rig.hosts import (
    INSIDE,
    INSTANCE,
    PORT,
    PORT_MAC,
    TAP,
    VETH,
    VRF,
    create,
    foreigner,
    host,
    restarted,
    vpc,
)
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

THIEF = "i-00138800000000009"
STOLEN = msgspec.structs.replace(
    VETH,
    ifname="v-0013880000009",
    make_netns=False,
    instance=THIEF,
    inside=msgspec.structs.replace(INSIDE, lladdr="02:00:00:00:00:99", addresses=("10.0.0.99/24",)),
)
CONTAINER = msgspec.structs.replace(VETH, netns="container", make_netns=False, instance=INSTANCE)


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


@contextmanager
def namespace(name: str) -> Iterator[int]:
    fd = netns.make(name)
    try:
        yield fd
    finally:
        netns.remove(name)
        os.close(fd)


@pytest.fixture
def container() -> Iterator[int]:
    with namespace("container") as fd:
        yield fd


def refusal(kernel: LinuxKernel, port: VethPort) -> str:
    """Return why the kernel's driver does not plug the port, after which nothing of it may stand."""
    (failure,) = kernel.apply([Create(port)])
    assert port.key not in kernel.dump()
    assert failure.error.errno in (errno.EPERM, errno.EEXIST, errno.ENOENT)
    return str(failure.error)


def links(kernel: LinuxKernel) -> dict[Key, object]:
    return {key: obj for key, obj in kernel.dump().items() if key[0] == "link"}


def repair(kernel: LinuxKernel, *wanted: VethPort) -> list[Op]:
    """Let an agent without memory make it so, and return what that took."""
    desired = {obj.key: obj for obj in (VRF, *wanted)}
    actual = {key: obj for key, obj in kernel.dump().items() if key[0] == "link"}
    ops = diff(desired, actual)
    assert [str(failure.error) for failure in kernel.apply(ops)] == []
    assert all(obj.matches(kernel.dump()[obj.key]) for obj in desired.values())
    return ops


def index_inside(name: str, device: str = "eth0") -> str:
    return foreigner(name, f"-o link show dev {device}").split(":")[0]


# --- what nobody is plugged into ---------------------------------------------------------------------------------------------


def by_link(target: str) -> str:
    path = netns.RUN_NETNS / "linked"
    path.symlink_to(target)
    return "linked"


def by_mount(target: str) -> str:
    path = netns.RUN_NETNS / "mounted"
    path.touch()
    subprocess.run(["mount", "--bind", target, str(path)], check=True)
    return "mounted"


def forget_names() -> None:
    for name in ("linked", "mounted", THIEF):
        netns.remove(name)


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
            said = refusal(kernel, msgspec.structs.replace(STOLEN, netns=spell(target)))
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
            said = refusal(driver, msgspec.structs.replace(thief, netns="container"))
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
    os.mkfifo(fifo)  # to open one would wait for a writer
    for name in ("linked", "/dev/null", "/proc/self/ns/mnt", "/proc/self/ns/pid"):
        assert "No such file" in refusal(kernel, msgspec.structs.replace(STOLEN, netns=name))


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
    create(kernel, msgspec.structs.replace(CONTAINER, netns=link))
    assert "eth0" in foreigner("container", "link")
    assert "eth0" not in foreigner("u-hv1", "link")


# --- what stands in a namespace stays ----------------------------------------------------------------------------------------


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


# --- whose port it is --------------------------------------------------------------------------------------------------------


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
    stolen = msgspec.structs.replace(STOLEN, netns=INSTANCE)
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
        assert kernel.apply([Delete(kernel.dump()["link", "v-0013880000009"])]) == []
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
        os.close(netns.make(port.netns))
    create(kernel, port)
    old = netns.find(port.netns)
    netns.remove(port.netns)
    assert repair(kernel, port) == []
    with namespace(port.netns):
        assert repair(kernel, port) != []
        assert "10.0.0.11/24" in foreigner(port.netns, "addr show dev eth0")
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


# --- the identity of links ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [PORT, TAP, "vx5000", "vrf5000"])
def test_a_device_without_its_mark_gets_it_back_and_stays(kernel: LinuxKernel, name: str) -> None:
    create(kernel, *vpc()[1:])
    before = foreigner("netorch-hv1", f"-o link show dev {name}").split(":")[0]
    kernel.events()
    foreigner("netorch-hv1", f"link property del dev {name} altname netorch-{name}")
    (seen,) = [event.obj for event in kernel.events() if isinstance(event, Seen) and event.obj.key == ("link", name)]
    assert isinstance(seen, HalfMade)
    # Settings are inherited from a namespace that an agent has set up.
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


# --- with agents -------------------------------------------------------------------------------------------------------------

CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: a, host: hv1}
  - {name: b, host: hv2}
"""
INTRUDER = "  - {name: c, host: hv2, attachment: existing, netns: %s}\n"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[World]:
    """Two hosts with agents and an instance on each."""
    world = World(tmp_path, ("hv1", "hv2"))
    try:
        world.start_agents()
        world.apply(CLOUD)
        yield world
    finally:
        world.close()


def reason(world: World, name: str, of: str) -> str:
    """Wait until an instance has failed for a reason with these words, and return it."""

    def told() -> str:
        status = world.inventory().eni_status.get(("hv2", world.eni(name).id))
        return status.reason if status is not None and status.state is EniState.FAILED and of in status.reason else ""

    return wait_for(told, f"{name} to fail for {of!r}")


def test_who_is_refused_a_namespace_is_told_why_and_nobody_else_suffers(two: World) -> None:
    routes = foreigner("hv2", "route")
    victim = two.instance("acme/b").id
    stream = two.traffic("acme/a", "acme/b", 0.02)
    try:
        for name, what in (("hv2", "the host's own namespace"), (by_mount(f"/run/netns/{victim}"), victim)):
            two.apply(CLOUD + INTRUDER % name, wait=False)
            said = reason(two, "acme/c", what)
            assert f"host hv2: interface {two.eni('acme/c').id}: {said}" in read_health(two.store, 0.0).problems
        two.apply(CLOUD)
        two.settle()
        wait_for(lambda: read_health(two.store, 0.0).problems == (), "all to be well")
    finally:
        lost = stream.stop()
    assert lost == 0
    assert foreigner("hv2", "route") == routes
    assert "eth0" in foreigner(victim, "link")


def bears_mark(fabric: str, name: str) -> bool:
    return f"netorch-{name}" in foreigner(fabric, f"link show dev {name}")


def test_a_running_agent_gives_devices_their_marks_and_ports_back(two: World) -> None:
    fabric = two.hosts["hv2"].fabric
    port, vni = two.port("acme/b"), two.eni("acme/b").vni
    for name in (port, f"vx{vni}", f"vrf{vni}"):
        foreigner(fabric, f"link property del dev {name} altname netorch-{name}")
        wait_for(partial(bears_mark, fabric, name), f"the mark of {name}", 10.0)
    assert two.reaches("acme/a", "acme/b")
    with namespace("container"):
        foreigner(fabric, f"link set {port} netns container")
        wait_for(lambda: two.reaches("acme/a", "acme/b", tries=1), "the port")
        assert port not in foreigner("container", "link")


def test_an_instance_in_a_namespace_with_a_default_route_is_told_that_it_stays(two: World) -> None:
    with namespace("container"):
        for command in ("link add up0 type dummy", "link set up0 up", "route add default dev up0 metric 50"):
            foreigner("container", command)
        two.apply(CLOUD + INTRUDER % "container")
        two.settle()
        info = next(found for found in describe_instances(two.inventory(), two.caller) if found.instance.name == "c")
        assert info.state is InstanceState.RUNNING
        assert "had an IPv4 default route already" in info.reason
        assert foreigner("container", "route show default").startswith("default dev up0")
        two.apply(CLOUD)
        assert (netns.RUN_NETNS / "container").exists()
