"""The driver of netorch's own daemon: what it serves are objects, a change is a message, its end is an event.

An object is there while the daemon has it, and all its sockets are at the devices that they were opened for. The daemon runs
while there are objects; one that is killed has none, so all are made again. One that does not answer has none either, and the
next operation replaces it.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from netorch.drivers.base import KernelEvent, Lost
from netorch.drivers.services.control import Control, ServicesError
from netorch.drivers.services.daemon import Daemon
from netorch.drivers.services.sockets import open_sockets
from netorch.drivers.spaces import Spaces
from netorch.errors import KernelError
from netorch.state.base import UNDERLAY, KernelObject, Key
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.kinds import KINDS
from netorch.state.op import Create, Delete, Failure, Op, describe

RUN: Final = Path("/run/netorch-services")  # not below /run/netorch, which only netorch may enter: the daemon is another user


def services_directory(host: str, label: str) -> Path:
    """Return where the daemon in a host's underlay or outside has its control socket; no host's name has a plus."""
    return RUN / (host if label == UNDERLAY else f"{host}+{label}")


class Services:
    """Implements `netorch.drivers.base.Driver`."""

    kinds: Final = frozenset(KINDS)

    def __init__(self, label: str, spaces: Spaces, directory: Path) -> None:
        """Take the label of the namespace that the process is in, the host's namespaces, and a directory of its own."""
        self.netns = label
        self._spaces = spaces
        self._daemon = Daemon(label, directory, spaces.fds[label])

    def dump(self) -> dict[Key, KernelObject]:
        """Return what the daemon has now; nothing if none runs, or it does not answer."""
        try:
            with self._daemon.connected() as control:
                return {obj.key: obj for obj in control.dump()}
        except ServicesError:
            return {}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out operations one by one; the daemon runs while it has objects."""
        failures: list[Failure] = []
        done = 0
        try:
            with ExitStack() as stack:
                control = self._reached(stack, starts=any(not isinstance(op, Delete) for op in ops))
                if control is None:
                    return []
                for op in ops:
                    try:
                        self._carry_out(control, op)
                    except (KernelError, OSError, ServicesError) as error:
                        if isinstance(error, ServicesError) and error.number == errno.ETIMEDOUT:
                            raise
                        failures.append(_failure(op, error))
                    done += 1
                held = len(list(control.dump()))
            if not held:
                self.stop()
        except (OSError, ServicesError) as error:
            failures += [_failure(op, error) for op in ops[done:]]
        return failures

    def events(self) -> list[KernelEvent]:
        """Return that everything must be read again after the daemon has ended."""
        return [Lost(self.kinds)] if self._daemon.has_ended() else []

    def fileno(self) -> int:
        """Return a descriptor that is readable when the daemon has ended."""
        return self._daemon.fileno()

    def close(self) -> None:
        """Let go of the daemon, which goes on."""
        self._daemon.close()

    def stop(self) -> None:
        """End the daemon. Raises OSError."""
        self._daemon.stop()

    def _reached(self, stack: ExitStack, starts: bool) -> Control | None:
        """Return a connection, to a daemon that is started if need be, or None. Raises ServicesError, OSError."""
        try:
            return stack.enter_context(self._daemon.connected())
        except ServicesError:
            if not starts:
                self.stop()
                return None
        self._daemon.start()
        return stack.enter_context(self._daemon.connected())

    def _carry_out(self, control: Control, op: Op) -> None:
        obj = op.obj
        assert isinstance(obj, ServiceObject)
        if isinstance(op, Delete) or (isinstance(op, Create) and obj.sockets):
            control.delete(obj)  # what is there nevertheless has the ports
        if isinstance(op, Delete):
            return
        sockets = open_sockets(self._spaces, obj.sockets)
        with ExitStack() as stack:
            for sock in sockets:
                stack.enter_context(closing(sock))
            control.put(obj, sockets)


def _failure(op: Op, error: KernelError | OSError | ServicesError) -> Failure:
    if isinstance(error, KernelError):
        return Failure(op, error)
    number = error.number if isinstance(error, ServicesError) else error.errno or errno.EINVAL
    return Failure(op, KernelError(describe(op), number, str(error)))
