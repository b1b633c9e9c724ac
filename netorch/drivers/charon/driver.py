"""The driver of charon: the connections that it negotiates are objects, a change is a message, its end is an event.

An object is there while charon has a connection by the name, whose digests are those of the object, and the secret. What charon
has otherwise (somebody has loaded another one, the file of what it was told is lost) is shown as a connection that says nothing,
so that it is replaced or taken away.

SAs come and go by themselves: `tunnels` tells of them, and events that they have.
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
SILENT: Final = 2  # questions without an answer: one may be lost to a machine that stalls
_LATE: Final = 2 * ANSWER_S / BUSY_S  # how much of such a question is one that a busy charon does not answer
APPLY_S: Final = 10.0  # after which what is not yet carried out is left for the next time: everything else waits for it
Objects = dict[Key, KernelObject]


class Charon:
    """Implements `netorch.drivers.base.Driver`."""

    kinds: Final = frozenset({IkeConnection.kind})

    def __init__(self, label: str, fd: int, directory: Path, key: EdgeKey | None) -> None:
        """Take the label and a descriptor of the namespace, a directory of its own, and the key that opens secrets.

        Who has no key only reads: it loads no connection and begins or ends no tunnel.
        """
        self.netns = label
        self._file = KeptFile(directory / "connections")
        self._daemon = Daemon(directory, fd)
        self._key = key
        self._xfrm = Xfrm(fd)
        self._tunnels = Tunnels(self._xfrm, acts=key is not None)
        self._unanswered = 0.0  # questions in a row
        self._told: Mapping[str, TunnelStatus] = {}  # the last answer
        self._ear = Ear(self._daemon)
        self._ready = select.epoll()
        for descriptor in (self._daemon.fileno(), self._ear.fileno()):
            self._ready.register(descriptor, select.EPOLLIN)

    def dump(self) -> Objects:
        """Return what charon has now; nothing if none runs, or it does not answer."""
        try:
            with self._daemon.connected() as control:
                self._ear.open()
                found = list(loaded(control, self._file.read()))
        except CharonError:
            return {}
        return {obj.key: obj for obj in found}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out operations one by one, as many as there is time for; charon runs while there are connections."""
        former = self._file.read()
        secrets, failures = self._opened(ops)
        kept, owed = dict(former), [op for op in ops if op in secrets or isinstance(op, Delete)]
        try:
            self._start(len(former) + len(ops))
            # First the file: what charon has otherwise than the file says is seen, what the file does not say is not known.
            self._file.write({**former, **{_of(op).name: Kept(connection=_of(op)) for op in secrets}})
            failures += self._carry_out(owed, secrets, kept)
            self._settle(former, kept, {_of(op).name for op in owed})
        except (CharonError, KernelError, OSError) as error:
            failures += [failure(op, error) for op in owed if all(known.op is not op for known in failures)]
        return failures

    def _carry_out(self, ops: Sequence[Op], secrets: Mapping[Op, Secret], kept: dict[str, Kept]) -> list[Failure]:
        """Carry out operations, and note in `kept` what charon has then; return what it refused, and what there is no time for.

        Raises:
          CharonError: it does not answer.
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
                    if error.number != errno.EINVAL:  # it has not refused this one, but answers nothing
                        raise
                    failures.append(failure(op, error))
        return failures

    def events(self) -> list[KernelEvent]:
        """Return that everything must be read again after charon has ended or fallen silent, and that SAs came or went.

        A tunnel that is up lets another be begun at once: to look at all of them first would cost more the more there are.
        """
        silent = self._unanswered >= SILENT
        if silent:
            self._unanswered = 0.0
        lost: list[KernelEvent] = [Lost(self.kinds)] if self._daemon.has_ended() or silent else []
        changed = self._tunnels.hear(self._ear.heard(), self._connections())
        if self._tunnels.has_room():
            with suppress(CharonError), self._daemon.connected(ANSWER_S) as control:  # else when they are looked at
                self._tunnels.begin_more(control)
        return [*lost, TunnelsChanged()] if lost or changed else []

    def fileno(self) -> int:
        """Return a descriptor that is readable when charon has ended or tells something."""
        return self._ready.fileno()

    def close(self) -> None:
        """Let go of charon, which goes on."""
        self._ready.close()
        self._ear.close()
        self._daemon.close()

    def stop(self) -> None:
        """End charon, and all tunnels."""
        self._ear.shut()
        self._daemon.stop()

    def tunnels(self) -> Mapping[str, TunnelStatus]:
        """Return how the tunnels are; of a charon that does not run, or has not answered twice, what the kernel tells."""
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
        """Let a charon run, if none does. Raises CharonError, KernelError, OSError."""
        try:
            with self._daemon.connected() as control:
                control.ask("version")
        except CharonError:
            self._ear.shut()
            self._daemon.start(connections)
            self._tunnels.restarted()
        self._ear.open()

    def _settle(self, former: Mapping[str, Kept], kept: Mapping[str, Kept], changed: set[str]) -> None:
        """Let charon and the kernel have nothing else than what these connections need.

        Raises:
          CharonError, KernelError, OSError: one of them does not.
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
        """Return the secrets of what is to be loaded, and the operations whose secret cannot be opened."""
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
            raise CharonError("the key that opens secrets is not at hand", errno.ENOKEY)
        secret = self._key.open(connection.secret)
        if not (secret.key if connection.certificate else secret.psk):
            wanted = "private key" if connection.certificate else "pre-shared key"
            raise CharonError(f"what is sealed for it is no {wanted}; set it again", errno.EINVAL)
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
