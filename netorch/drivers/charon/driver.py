"""The driver of charon: its connections are kernel objects, loaded and unloaded by messages.

An object exists while charon has a connection with its name and digests, and its secret. A
connection without such an object (loaded by others, or missing from the file of loaded connections) is reported with empty
options, so that the agent replaces or deletes it.

SAs change without operations: `tunnels` returns their state, and events report that it changed.
"""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from netorch.drivers.base import KernelEvent, Lost, TunnelsChanged
from netorch.drivers.charon.control import CharonError, Control
from netorch.drivers.charon.daemon import ANSWER_S, BUSY_S, Daemon
from netorch.drivers.charon.ear import Ear
from netorch.drivers.charon.kept import Kept, KeptFile
from netorch.drivers.charon.loading import end_childless, forget_secrets, load, loaded, unload
from netorch.drivers.charon.tunnels import Tunnels
from netorch.drivers.charon.xfrm import Xfrm
from netorch.drivers.daemons.failures import failure
from netorch.drivers.daemons.process import Work
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.errors import KernelError
from netorch.model.outside.secrets import Secret
from netorch.model.status import TunnelStatus
from netorch.state.base import KernelObject, Key
from netorch.state.daemons.ike import IkeConnection
from netorch.state.op import Delete, Failure, Op

RUN: Final = Path("/run/netorch-charon")
SILENT: Final = 2  # unanswered requests; a single one may be due to a stalled machine
_LATE: Final = 2 * ANSWER_S / BUSY_S  # weight of a request that a busy charon does not answer
APPLY_S: Final = 10.0  # operations not applied after this time are left for the next call: the whole agent waits for this one
Objects = dict[Key, KernelObject]


class Charon:
    """Implements `netorch.drivers.base.Driver`."""

    kinds: Final = frozenset({IkeConnection.kind})

    def __init__(self, label: str, fd: int, directory: Path, key: EdgeKey | None) -> None:
        """Take the label and a descriptor of the namespace, its own directory, and the key that decrypts secrets.

        Without a key the driver only reads: it loads no connections, and neither initiates nor terminates tunnels.
        """
        self.netns = label
        self._file = KeptFile(directory / "connections")
        self._daemon = Daemon(directory, fd)
        self._key = key
        self._xfrm = Xfrm(fd)
        self._tunnels = Tunnels(self._xfrm, acts=key is not None)
        self._unanswered = 0.0  # consecutive requests
        self._told: Mapping[str, TunnelStatus] = {}  # the last result of `tunnels`
        self._ear = Ear(self._daemon)
        self._ready = select.epoll()
        for descriptor in (self._daemon.fileno(), self._ear.fileno()):
            self._ready.register(descriptor, select.EPOLLIN)

    def dump(self) -> Objects:
        """Return charon's connections; empty if it does not run or does not answer."""
        try:
            with self._daemon.connected() as control:
                self._ear.open()
                found = list(loaded(control, self._file.read()))
        except CharonError:
            return {}
        return {obj.key: obj for obj in found}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply operations one by one while there is time. charon runs while there are connections."""
        former = self._file.read()
        secrets, failures = self._opened(ops)
        kept, owed = dict(former), [op for op in ops if op in secrets or isinstance(op, Delete)]
        try:
            self._start(len(former) + len(ops))
            # The file comes first: a dump shows where charon differs from it, but a connection missing from it is unknown.
            self._file.write({**former, **{_of(op).name: Kept(connection=_of(op)) for op in secrets}})
            failures += self._carry_out(owed, secrets, kept)
            self._settle(former, kept, {_of(op).name for op in owed})
        except (CharonError, KernelError, OSError) as error:
            failures += [failure(op, error) for op in owed if all(known.op is not op for known in failures)]
        return failures

    def _carry_out(self, ops: Sequence[Op], secrets: Mapping[Op, Secret], kept: dict[str, Kept]) -> list[Failure]:
        """Apply operations and update `kept` with charon's connections. Return failures: refused, or out of time.

        Raises:
          CharonError: charon does not answer.
        """
        failures: list[Failure] = []
        ends = time.monotonic() + APPLY_S
        with self._daemon.connected() as control:
            for number, op in enumerate(ops):
                if time.monotonic() > ends:
                    late = CharonError(f"charon is busy; {len(ops) - number} changes follow", errno.EAGAIN)
                    return failures + [failure(each, late) for each in ops[number:]]
                try:
                    _carry_out(control, op, secrets.get(op), kept)
                except CharonError as error:
                    if error.number != errno.EINVAL:  # not a refusal of this operation: charon does not answer at all
                        raise
                    failures.append(failure(op, error))
        return failures

    def events(self) -> list[KernelEvent]:
        """Return Lost when charon has exited or stopped answering, and TunnelsChanged when SAs came or went.

        An established tunnel lets another one be initiated at once: listing all tunnels first would cost more the more there
        are.
        """
        silent = self._unanswered >= SILENT
        if silent:
            self._unanswered = 0.0
        lost: list[KernelEvent] = [Lost(self.kinds)] if self._daemon.has_ended() or silent else []
        changed = self._tunnels.hear(self._ear.heard(), self._connections())
        if self._tunnels.has_room():
            with suppress(CharonError), self._daemon.connected(ANSWER_S) as control:  # on failure, `tunnels` does it
                self._tunnels.begin_more(control)
        return [*lost, TunnelsChanged()] if lost or changed else []

    def fileno(self) -> int:
        """Return a descriptor that is readable when charon has exited or sent events."""
        return self._ready.fileno()

    def close(self) -> None:
        """Close sockets; charon keeps running."""
        self._ready.close()
        self._ear.close()
        self._daemon.close()

    def stop(self) -> None:
        """Stop charon and terminate all tunnels."""
        self._ear.shut()
        self._daemon.stop()

    def tunnels(self) -> Mapping[str, TunnelStatus]:
        """Return the states of tunnels; if charon does not run, or has failed to answer twice, as the kernel reports them."""
        connections = self._connections()
        if not connections:
            return {}
        work = Work(self._daemon, BUSY_S)
        try:
            with self._daemon.connected(ANSWER_S) as control:
                self._ear.open()
                self._told = self._tunnels.look(control, connections)
        except CharonError as error:
            if error.number == errno.ETIMEDOUT:
                self._unanswered += _LATE if work.goes_on() else 1.0
                if self._unanswered < SILENT:
                    return self._told
            return self._tunnels.by_kernel(connections, str(error))
        except KernelError as error:
            return self._tunnels.by_kernel(connections, str(error))
        self._unanswered = 0.0
        return self._told

    def _connections(self) -> dict[str, IkeConnection]:
        return {name: kept.connection for name, kept in self._file.read().items()}

    def _start(self, connections: int) -> None:
        """Start a charon if none runs. Raises CharonError, KernelError, OSError."""
        try:
            with self._daemon.connected() as control:
                control.ask("version")
        except CharonError:
            self._ear.shut()
            self._daemon.start(connections)
            self._tunnels.restarted()
        self._ear.open()

    def _settle(self, former: Mapping[str, Kept], kept: Mapping[str, Kept], changed: set[str]) -> None:
        """Remove everything from charon and the kernel that these connections do not need.

        Raises:
          CharonError, KernelError, OSError: one of them refuses.
        """
        for name in changed:
            self._tunnels.changed(name)
        if kept:
            self._file.write(kept)
            with self._daemon.connected() as control:
                forget_secrets(control, kept)
                end_childless(control, changed)
                self._told = self._tunnels.look(control, self._connections())
        else:
            self.stop()
        self._xfrm.purge(_if_ids(former) - _if_ids(kept))

    def _opened(self, ops: Sequence[Op]) -> tuple[dict[Op, Secret], list[Failure]]:
        """Return the secrets of connections to load, and failures for secrets that cannot be decrypted."""
        secrets: dict[Op, Secret] = {}
        failures = []
        for op in ops:
            if not isinstance(op, Delete):
                try:
                    secrets[op] = self._open(_of(op))
                except (CharonError, KernelError) as error:
                    failures.append(failure(op, error))
        return secrets, failures

    def _open(self, connection: IkeConnection) -> Secret:
        """Return a connection's secret. Raises KernelError, CharonError."""
        if self._key is None:
            raise CharonError("the key that decrypts secrets is missing", errno.ENOKEY)
        secret = self._key.open(connection.secret)
        if not (secret.key if connection.certificate else secret.psk):
            wanted = "private key" if connection.certificate else "pre-shared key"
            raise CharonError(f"its secret is not a {wanted}; set it again", errno.EINVAL)
        return secret


def _of(op: Op) -> IkeConnection:
    assert isinstance(op.obj, IkeConnection)
    return op.obj


def _if_ids(kept: Mapping[str, Kept]) -> set[int]:
    return {known.connection.if_id for known in kept.values()}


def _carry_out(control: Control, op: Op, secret: Secret | None, kept: dict[str, Kept]) -> None:
    connection = _of(op)
    if secret is None:
        unload(control, connection.name)
        kept.pop(connection.name, None)
    else:
        kept[connection.name] = load(control, connection, secret)
