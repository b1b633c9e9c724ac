"""The driver of netorch's own daemon: what it serves are objects, and a change is a message.

An object exists while the daemon has it, and all its sockets are bound to the devices for which they were opened. The daemon
runs while there are objects. A killed daemon has none, so all are created again. A hanging one has none either, and the next
operation replaces it. A busy one has the objects of its last answer; it accepts no operations for now, and the agent does not
wait for it.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from netorch.drivers.base import KernelEvent, Lost
from netorch.drivers.daemons.failures import failure
from netorch.drivers.services.control import Busy, Control, ServicesError
from netorch.drivers.services.daemon import Daemon
from netorch.drivers.services.sockets import open_sockets
from netorch.drivers.spaces import Spaces
from netorch.errors import KernelError
from netorch.state.base import UNDERLAY, KernelObject, Key
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.kinds import KINDS
from netorch.state.op import Create, Delete, Failure, Op

RUN: Final = Path("/run/netorch-services")  # not below /run/netorch, which only netorch may enter: the daemon is another user


def services_directory(host: str, label: str) -> Path:
    """Return the directory of the control socket of a host's daemon in its underlay or outside; no host name has a plus."""
    return RUN / (host if label == UNDERLAY else f"{host}+{label}")


class Services:
    """Implements `netorch.drivers.base.Driver`."""

    kinds: Final = frozenset(KINDS)

    def __init__(self, label: str, spaces: Spaces, directory: Path) -> None:
        """Take the label of the process's namespace, the host's namespaces, and its own directory."""
        self.netns = label
        self._spaces = spaces
        self._daemon = Daemon(label, directory, spaces.fds[label])
        self._known: dict[Key, KernelObject] = {}  # the daemon's objects at its last answer
        self._counts: Mapping[str, Mapping[str, int]] = {}  # its last counters
        self._lost = False  # it was replaced, and not all its objects are loaded again

    def dump(self) -> dict[Key, KernelObject]:
        """Return the daemon's objects; if it is busy, those of its last answer; empty if it does not run, or hangs."""
        try:
            with self._daemon.connected() as control:
                self._known = {obj.key: obj for obj in control.dump()}
        except Busy:
            pass
        except ServicesError:
            self._known = {}
        return dict(self._known)

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply operations one by one. The daemon runs while it has objects. A busy one accepts none for now."""
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
                        failures.append(failure(op, error))
                        self._known.pop(op.obj.key, None)
                    else:
                        self._note(op)
                    done += 1
                may_be_idle = bool(failures) or any(isinstance(op, Delete) for op in ops)  # otherwise it has objects
                # A dump may be thousands of objects, so the daemon is asked only if none is known to be left.
                is_idle = may_be_idle and not self._known and not list(control.dump())
            if is_idle:
                self.stop()
        except (OSError, ServicesError) as error:
            failures += [failure(op, error) for op in ops[done:]]
        return failures

    def events(self) -> list[KernelEvent]:
        """Return Lost when the daemon has exited, or was replaced."""
        lost, self._lost = self._lost, False
        return [Lost(self.kinds)] if self._daemon.has_ended() or lost else []

    def fileno(self) -> int:
        """Return a descriptor that is readable when the daemon has exited."""
        return self._daemon.fileno()

    def close(self) -> None:
        """Close sockets; the daemon keeps running."""
        self._daemon.close()

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the daemon's counters since its start, by id and name.

        For a busy daemon, these are its last answer; empty if it does not run.
        """
        try:
            self._counts = self._daemon.counts()
        except ServicesError as error:
            if error.number != errno.ETIMEDOUT:
                self._counts = {}
        return self._counts

    def stop(self) -> None:
        """Stop the daemon. Raises OSError."""
        self._daemon.stop()
        self._known = {}

    def _note(self, op: Op) -> None:
        """Record an operation that the daemon has applied."""
        if isinstance(op, Delete):
            self._known.pop(op.obj.key, None)
        else:
            self._known[op.obj.key] = op.obj

    def _reached(self, stack: ExitStack, starts: bool) -> Control | None:
        """Return a connection, or None; with `starts`, start the daemon if needed. Raises Busy, ServicesError, OSError."""
        try:
            return stack.enter_context(self._daemon.connected())
        except Busy:
            raise
        except ServicesError:
            self._lost, self._known = bool(self._known), {}
            if not starts:
                self.stop()
                return None
        self._daemon.start()
        return stack.enter_context(self._daemon.connected())

    def _carry_out(self, control: Control, op: Op) -> None:
        obj = op.obj
        assert isinstance(obj, ServiceObject)
        if isinstance(op, Delete) or (isinstance(op, Create) and obj.sockets):
            control.delete(obj)  # an existing object would hold the ports
        if isinstance(op, Delete):
            return
        sockets = open_sockets(self._spaces, obj.sockets)
        with ExitStack() as stack:
            for sock in sockets:
                stack.enter_context(closing(sock))
            control.put(obj, sockets)
