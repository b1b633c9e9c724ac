"""Namespaces that have a name in several ways, and the ports plugged into them."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.plan.diff import diff
from netorch.state.base import Key
from netorch.state.link import VethPort
from netorch.state.op import Create, Op
from tests.rig.hosts import (
    INSIDE,
    INSTANCE,
    VETH,
    VRF,
    foreigner,
)

THIEF = "i-00138800000000009"

STOLEN = msgspec.structs.replace(
    VETH,
    ifname="v-0013880000009",
    make_netns=False,
    instance=THIEF,
    inside=msgspec.structs.replace(INSIDE, lladdr="02:00:00:00:00:99", addresses=("10.0.0.99/24",)),
)

CONTAINER = msgspec.structs.replace(VETH, instance_netns="container", make_netns=False, instance=INSTANCE)


@contextmanager
def namespace(name: str) -> Iterator[int]:
    fd = netns.make(name)
    try:
        yield fd
    finally:
        netns.remove(name)
        os.close(fd)


def refusal(kernel: LinuxKernel, port: VethPort) -> str:
    """Return why the driver refuses to plug the port; check that nothing of the port is left."""
    (failure,) = kernel.apply([Create(port)])
    assert port.key not in kernel.dump()
    assert failure.error.errno in (errno.EPERM, errno.EEXIST, errno.ENOENT)
    return str(failure.error)


def links(kernel: LinuxKernel) -> dict[Key, object]:
    return {key: obj for key, obj in kernel.dump().items() if key[0] == "link"}


def repair(kernel: LinuxKernel, *wanted: VethPort) -> list[Op]:
    """Create the wanted ports as an agent without memory does, and return the operations."""
    desired = {obj.key: obj for obj in (VRF, *wanted)}
    actual = {key: obj for key, obj in kernel.dump().items() if key[0] == "link"}
    ops = diff(desired, actual)
    assert [str(failure.error) for failure in kernel.apply(ops)] == []
    assert all(obj.matches(kernel.dump()[obj.key]) for obj in desired.values())
    return ops


def index_inside(name: str, device: str = "eth0") -> str:
    return foreigner(name, f"-o link show dev {device}").split(":")[0]


# --- namespaces into which no port is plugged -------------------------------------------------------------------------------


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
