"""Network namespaces by name, without forks: unshare, setns and bind mounts in the calling thread.

Only the calling thread changes its namespace, and only while `inside` is open; a socket opened there stays there for life. So
no separate thread is needed: the caller enters, opens or writes what it needs, and leaves before any other code can run.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn

from netorch.errors import KernelError

RUN_NETNS: Final = Path("/run/netns")
_OWN: Final = "/proc/thread-self/ns/net"

_AGENT: Final = "\0netorch-agent"  # abstract: the name is freed when the socket closes

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SHARED: Final = 0x100000
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
_NS_GET_NSTYPE: Final = 0xB703  # source: linux/nsfs.h

# Python 3.12 adds os.setns and os.unshare; mount(2) has no wrapper at all.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p]


@contextmanager
def inside(fd: int) -> Iterator[None]:
    """Run the block in another namespace. Code in the block must not yield to an event loop.

    Raises:
      OSError: `fd` is no network namespace, or CAP_SYS_ADMIN is missing.
    """
    back = current()
    try:
        _setns(fd)
        try:
            yield
        finally:
            _setns(back)
    finally:
        os.close(back)


def current() -> int:
    """Return a new descriptor of the calling thread's namespace."""
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)


def make(name: str) -> int:
    """Return a descriptor of the namespace with this name in /run/netns; it is created if absent.

    A file without a mount, left by a process killed between the two steps, is completed. Symbolic links are not followed.

    Raises:
      KernelError: the kernel refused, most likely because CAP_SYS_ADMIN is missing.
    """
    path = RUN_NETNS / name
    try:
        _share_directory()
        with suppress(FileNotFoundError):
            return _open(path, follow=False)
        fd = _unnamed()
        _bind(fd, path)
    except OSError as error:
        raise KernelError(f"make namespace {name}", error.errno or 0) from error
    return fd


def find(name_or_path: str, *, follow: bool = True) -> int:
    """Return a descriptor of an existing namespace: a name in /run/netns, or an absolute path such as /proc/4711/ns/net.

    Raises:
      KernelError: the namespace does not exist; or the path is a symbolic link and `follow` is false.
    """
    path = RUN_NETNS / name_or_path
    try:
        return _open(path, follow=follow)
    except OSError as error:
        raise KernelError(f"open namespace {path}", error.errno or 0, "create the instance's namespace first") from error


def identity(fd: int) -> str:
    """Return an identity unique to this namespace across machines and reboots."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    stat = os.fstat(fd)
    return f"{boot} {stat.st_dev}:{stat.st_ino}"


def claim(fd: int) -> socket.socket:
    """Return a socket that marks its holder as a namespace's only agent: an abstract name that cannot be taken from outside.

    Raises:
      KernelError: another process holds it.
    """
    with inside(fd):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(_AGENT)
    except OSError as error:
        sock.close()
        raise KernelError(
            "claim the host's namespace", error.errno or 0, "an agent of this host is already running; stop it"
        ) from error
    return sock


def exists(name: str) -> bool:
    """Return whether a name in /run/netns refers to a namespace, not to a plain file left by a process killed too early."""
    return _is_netns(RUN_NETNS / name)


def holds_name(fd: int, name: str) -> bool:
    """Return whether the name in /run/netns still refers to the namespace of `fd`."""
    try:
        return os.path.samestat(os.stat(RUN_NETNS / name), os.fstat(fd))
    except FileNotFoundError:
        return False


def give_name(fd: int, name: str) -> None:
    """Bind a name in /run/netns to the namespace of `fd`, replacing any earlier binding.

    Raises:
      KernelError: the kernel refused.
    """
    try:
        _share_directory()
        remove(name)
        _bind(fd, RUN_NETNS / name)
    except OSError as error:
        raise KernelError(f"bind namespace {name}", error.errno or 0) from error


def remove(name: str) -> None:
    """Remove the name; absence is fine. The namespace is destroyed with its last process, socket or descriptor."""
    path = RUN_NETNS / name
    while _is_netns(path) and _libc.umount2(bytes(path), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        pass  # several mounts may be stacked
    with suppress(FileNotFoundError):
        path.unlink()


def _unnamed() -> int:
    back = current()
    try:
        _check(_libc.unshare(_CLONE_NEWNET))
        try:
            return current()
        finally:
            _setns(back)
    finally:
        os.close(back)


def _share_directory() -> None:
    """Make /run/netns a shared mount like `ip netns add`, so that names propagate to other mount namespaces."""
    RUN_NETNS.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = bytes(RUN_NETNS)
    if _libc.mount(b"", path, b"none", _MS_SHARED | _MS_REC, None) == 0:
        return
    _check(_libc.mount(path, path, b"none", _MS_BIND | _MS_REC, None))
    _check(_libc.mount(b"", path, b"none", _MS_SHARED | _MS_REC, None))


def _bind(fd: int, path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o444))
    _check(_libc.mount(f"/proc/thread-self/fd/{fd}".encode(), bytes(path), b"none", _MS_BIND, None))


def _is_netns(path: Path) -> bool:
    """Return whether a namespace is mounted at the path (a plain file has the directory's device number)."""
    try:
        return path.lstat().st_dev == Path(_OWN).stat().st_dev
    except FileNotFoundError:
        return False


def _open(path: Path, *, follow: bool) -> int:
    """Return a descriptor of the namespace at a path, which is resolved once.

    Anything but a namespace is never opened: opening a FIFO would block, and opening a device could have effects.
    """
    place = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        if os.fstat(place).st_dev != os.stat(_OWN).st_dev:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        fd = os.open(f"/proc/thread-self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
    if fcntl.ioctl(fd, _NS_GET_NSTYPE) != _CLONE_NEWNET:
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return fd


def _setns(fd: int) -> None:
    _check(_libc.setns(fd, _CLONE_NEWNET))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def exec_inside(name_or_path: str, argv: Sequence[str]) -> NoReturn:
    """Execute another program in a namespace.

    Raises:
      KernelError: there is no such namespace, or no such program.
    """
    fd = find(name_or_path)
    try:
        _setns(fd)
        os.execvp(argv[0], list(argv))
    except OSError as error:
        raise KernelError(f"run {argv[0]} in namespace {name_or_path}", error.errno or 0) from error
