"""Namespaces of instances: checks, by what a namespace is and never by its name, and deletion of those that netorch made.

A namespace is opened once, and only that descriptor is used from then on. So a name, link or mount that changes in between
has no effect.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from netorch.drivers import netns
from netorch.drivers.netlink import Channel, attr_text, attr_u32, attrs
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.drivers.rtnl import devices, encode
from netorch.drivers.rtnl.kinds.source_routes import devices_of, stale_rules
from netorch.drivers.rtnl.uapi import IFLA, NETNSA, RTEXT_FILTER_SKIP_STATS, RTM
from netorch.errors import KernelError
from netorch.model.ids import is_id
from netorch.state.link import VethPort
from netorch.state.owner import NETNS_PREFIX, NFT_TABLE, is_overlay, read_label

_ROOT: Final = Path("/proc/1/ns/net")
_GET_TABLE: Final = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
_NFPROTO_INET, _NFPROTO_IPV4 = 1, 2


@contextmanager
def channel(fd: int, what: str) -> Iterator[Channel]:
    """Open a route netlink socket in a namespace.

    An error in the block concerns that namespace only: its root user may change devices while the block reads them.

    Raises:
      KernelError: the socket cannot be opened, the kernel refused a request in the block, or a device is gone.
    """
    try:
        with closing(Channel(fd)) as found:
            yield found
    except OSError as error:
        raise KernelError(what, error.errno or 0, error.strerror or "") from error
    except LookupError as error:
        raise KernelError(what, errno.ENODEV, f"{error} existed before") from error


def identity(fd: int) -> str:
    """Return a namespace's device and inode: equal for all its descriptors, and unique while it exists."""
    found = os.fstat(fd)
    return f"{found.st_dev:x}:{found.st_ino}"


def check(port: VethPort, fd: int, inside: Channel, underlay_fd: int, overlay_fd: int) -> None:
    """Refuse a namespace that an instance must not use. `inside` is a channel in the namespace of `fd`.

    Raises:
      KernelError: EPERM, with the reason.
    Cost: reads the namespace's devices, at most a thousand; for one that netorch did not make, also the names in /run/netns.
    """
    reason = _of_the_host(fd, underlay_fd) or ("" if port.make_netns else _of_netorch(fd))
    reason = reason or _of_another(port, inside, number_of(overlay_fd, inside))
    if reason:
        detail = f"{reason}; name a namespace that only the instance uses"
        raise KernelError(f"plug {port.inside.ifname} into namespace {port.instance_netns}", errno.EPERM, detail)


def other_end(dev: devices.Device, inside: Channel) -> devices.Device | None:
    """Return the other end of a veth pair in any namespace, or None if it is in the same one.

    Raises:
      KernelError: the kernel does not show it.
    """
    return linked(dev, inside) if dev.kind == "veth" else None


def linked(dev: devices.Device, inside: Channel) -> devices.Device | None:
    """Return the device that a device is linked to in any namespace, or None if it is in the same one.

    Raises:
      KernelError: the kernel does not show it.
    """
    if dev.netnsid is None:
        return None
    try:
        found = inside.get(
            RTM.GETLINK,
            encode.link_header(dev.peer)
            + attr_u32(IFLA.TARGET_NETNSID, dev.netnsid)
            + attr_u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS),
        )
    except OSError as error:
        raise KernelError(f"find the other end of {dev.ifname}", error.errno or 0) from error
    return devices.device(found) if found is not None else None


def overlay_of(dev: devices.Device, inside: Channel) -> str | None:
    """Return the name of the overlay namespace that holds the other end of an instance's veth pair."""
    if dev.kind != "veth" or dev.netnsid is None:
        return None
    for path in netns.RUN_NETNS.glob(f"{NETNS_PREFIX}*"):
        if not is_overlay(path.name):
            continue
        try:
            fd = netns.find(path.name)
        except KernelError:
            continue  # being created or deleted
        try:
            if number_of(fd, inside) == dev.netnsid:
                return path.name
        finally:
            os.close(fd)
    return None


def displaced(dev: devices.Device, port: VethPort, overlay: Channel) -> bool:
    """Return whether the name of the namespace that a port was plugged into now refers to another namespace.

    False if the name refers to none. False for paths too: the process in the path may have ended and its PID been reused.
    """
    if dev.netnsid is None or not port.instance_netns or "/" in port.instance_netns:
        return False
    try:
        fd = netns.find(port.instance_netns)
    except KernelError:
        return False
    try:
        return number_of(fd, overlay) != dev.netnsid
    finally:
        os.close(fd)


def number_of(fd: int, seen_from: Channel) -> int | None:
    """Return the nsid of `fd`'s namespace as seen from the channel's namespace, or None if it has none."""
    answer = seen_from.get(RTM.GETNSID, bytes(4) + attr_u32(NETNSA.FD, fd))
    number = struct.unpack("=i", attrs(answer, 4).get(NETNSA.NSID, b"\xff\xff\xff\xff"))[0] if answer is not None else -1
    return number if number >= 0 else None


def release(name: str, made: str) -> None:
    """Delete the namespace that netorch made for an instance, unless one of its ports still exists in any host's overlay.

    `made` is the identity of the namespace that netorch made; if the name now refers to another one, that one stays. Empty
    means unknown, because the port whose label held the identity is gone.

    Raises:
      KernelError: the kernel refused.
    """
    if not is_id(name, "i"):
        return
    try:
        fd = netns.find(name, follow=False)
    except KernelError:
        netns.remove(name)
        return
    try:
        if made not in ("", identity(fd)):
            return
        with channel(fd, f"open {name}") as inside:
            if any(overlay_of(dev, inside) for dev in _veths(inside)):
                for refusal in inside.batch(stale_rules(inside)).values():
                    raise KernelError(f"delete rules in {name}", refusal.errno, refusal.detail)
                return
    finally:
        os.close(fd)
    netns.remove(name)


def _of_the_host(fd: int, underlay_fd: int) -> str:
    """Return which of the host's own namespaces this is, or an empty string."""
    if _same(fd, os.fstat(underlay_fd)):
        return "it is the host's own namespace"
    with suppress(OSError):  # not accessible, so it cannot be the opened one
        if _same(fd, _ROOT.stat()):
            return "it is the machine's own namespace"
    for path in netns.RUN_NETNS.glob(f"{NETNS_PREFIX}*"):
        if _leads_to(path, fd):
            return f"it is {path.name}, {'the overlay' if is_overlay(path.name) else 'a namespace'} of a host"
    return ""


def _of_netorch(fd: int) -> str:
    """Return which instance's or which other host's namespace this is, or an empty string."""
    for path in netns.RUN_NETNS.iterdir():
        if is_id(path.name, "i") and _leads_to(path, fd):
            return f"it belongs to instance {path.name}"
    try:
        tables = Channel(fd, NETLINK_NETFILTER)
    except OSError:  # a kernel without nf_tables
        return ""
    with closing(tables):
        for family in (_NFPROTO_IPV4, _NFPROTO_INET):
            with suppress(OSError):
                if tables.get(_GET_TABLE, struct.pack("=BBH", family, 0, 0) + attr_text(1, NFT_TABLE)) is not None:
                    return f"it holds the table {NFT_TABLE} of a host's agent"
    return ""


def _of_another(port: VethPort, inside: Channel, overlay: int | None) -> str:
    """Return which other instance is plugged into the namespace, or an empty string. An instance may have several ENIs in it.

    Two labels are not trusted, because the agent rewrites both: the label of this port itself, and a missing label of any
    port of this overlay.
    """
    for dev in _veths(inside):
        other = other_end(dev, inside)
        if other is None or not other.has_altname:
            continue
        label, here = read_label(other.alias), dev.netnsid == overlay
        if here and (label is None or other.ifname == port.ifname):
            continue
        if label is None or label.instance != port.holder:
            whose = f"instance {label.instance}" if label is not None else "another instance"
            return f"{dev.ifname} there is the interface of {whose}"
    return ""


def _veths(inside: Channel) -> list[devices.Device]:
    return [dev for dev in devices_of(inside) if dev.kind == "veth"]


def _leads_to(path: Path, fd: int) -> bool:
    try:
        return _same(fd, path.stat())
    except OSError:  # being created or deleted
        return False


def _same(fd: int, other: os.stat_result) -> bool:
    return os.path.samestat(os.fstat(fd), other)
