"""The driver of charon: the connections that it negotiates are objects, a change is a message, its end is an event.

An object is there while charon has a connection by the name, whose digests are those of the object, and the secret. What charon
has otherwise (somebody has loaded another one, the file of what it was told is lost) is shown as a connection that says nothing,
so that it is replaced or taken away.

SAs come and go by themselves: `tunnels` tells of them, and events that they have.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from netorch.drivers.base import KernelEvent, Lost, TunnelsChanged
from netorch.drivers.charon.control import CharonError
from netorch.drivers.charon.daemon import Daemon
from netorch.drivers.charon.ear import Ear
from netorch.drivers.charon.kept import Kept, KeptFile
from netorch.drivers.charon.loading import end_childless, forget_secrets, load, loaded, unload
from netorch.drivers.charon.tunnels import Tunnels
from netorch.drivers.charon.xfrm import Xfrm
from netorch.drivers.sealing import EdgeKey
from netorch.errors import KernelError
from netorch.model.outside.secrets import Secret
from netorch.model.status import TunnelStatus
from netorch.state.base import KernelObject, Key
from netorch.state.daemons.ike import IkeConnection
from netorch.state.op import Delete, Failure, Op, describe

RUN: Final = Path("/run/netorch-charon")
SILENT: Final = 2  # questions without an answer: one may be lost to a machine that stalls
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
        self._unanswered = 0  # questions in a row
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
        """Carry out operations one by one; charon runs while there are connections."""
        kept, failures = dict(self._file.read()), []
        try:
            self._start(len(kept) + len(ops))
        except (CharonError, KernelError, OSError) as error:
            return [_failure(op, error) for op in ops]
        for op in ops:
            try:
                self._carry_out(op, kept)
            except (CharonError, KernelError, OSError) as error:
                failures.append(_failure(op, error))
        try:
            self._settle(kept)
        except (CharonError, KernelError, OSError) as error:
            failures += [_failure(op, error) for op in ops if all(failure.op is not op for failure in failures)]
        return failures

    def events(self) -> list[KernelEvent]:
        """Return that everything must be read again after charon has ended or fallen silent, and that SAs came or went."""
        silent = self._unanswered >= SILENT
        if silent:
            self._unanswered = 0
        lost: list[KernelEvent] = [Lost(self.kinds)] if self._daemon.has_ended() or silent else []
        changed = self._tunnels.hear(self._ear.heard(), self._connections())
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
        """Return how the tunnels are; those of a charon that does not run, or has not answered twice, are down."""
        connections = self._connections()
        if not connections:
            return {}
        try:
            with self._daemon.connected() as control:
                self._ear.open()
                self._told = self._tunnels.look(control, connections)
        except CharonError as error:
            if error.number == errno.ETIMEDOUT:
                self._unanswered += 1
                if self._unanswered < SILENT:
                    return self._told
            return self._tunnels.down(connections, str(error))
        self._unanswered = 0
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

    def _carry_out(self, op: Op, kept: dict[str, Kept]) -> None:
        connection = op.obj
        assert isinstance(connection, IkeConnection)
        former = kept.get(connection.name)
        with self._daemon.connected() as control:
            if isinstance(op, Delete):
                unload(control, connection.name)
                kept.pop(connection.name, None)
            else:
                secret = self._open(connection)
                # First the file: what charon has otherwise than the file says is seen, what the file does not say is not known.
                self._file.write(kept | {connection.name: Kept(connection=connection)})
                kept[connection.name] = load(control, connection, secret)
                end_childless(control, connection.name)
        self._tunnels.changed(connection.name)
        if former is not None and (isinstance(op, Delete) or former.connection.if_id != connection.if_id):
            self._xfrm.purge({former.connection.if_id})

    def _settle(self, kept: Mapping[str, Kept]) -> None:
        """Let charon have the secrets of these connections and no others, and no SAs that they must not have."""
        if not kept:
            self.stop()
            return
        self._file.write(kept)
        with self._daemon.connected() as control:
            forget_secrets(control, kept)
            self._told = self._tunnels.look(control, self._connections())

    def _open(self, connection: IkeConnection) -> Secret:
        """Return a connection's secret. Raises KernelError, CharonError."""
        if self._key is None:
            raise CharonError("the key that opens secrets is not at hand", errno.ENOKEY)
        secret = self._key.open(connection.secret)
        if not (secret.key if connection.certificate else secret.psk):
            wanted = "private key" if connection.certificate else "pre-shared key"
            raise CharonError(f"what is sealed for it is no {wanted}; set it again", errno.EINVAL)
        return secret


def _failure(op: Op, error: CharonError | KernelError | OSError) -> Failure:
    if isinstance(error, KernelError):
        return Failure(op, error)
    number = error.number if isinstance(error, CharonError) else error.errno or 0
    return Failure(op, KernelError(describe(op), number, str(error)))
