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
from netorch.drivers.charon import kept as kept_file
from netorch.drivers.charon.control import CharonError, Control
from netorch.drivers.charon.daemon import ANSWER_S, Daemon
from netorch.drivers.charon.kept import Kept
from netorch.drivers.charon.loading import forget_secrets, list_sas, load, loaded, unload
from netorch.drivers.charon.sas import status_of
from netorch.drivers.sealing import EdgeKey
from netorch.errors import KernelError
from netorch.model.outside.secrets import Secret
from netorch.model.status import TunnelStatus
from netorch.state.base import KernelObject, Key
from netorch.state.daemons.ike import IkeConnection
from netorch.state.op import Delete, Failure, Op, describe

RUN: Final = Path("/run/netorch-charon")
SILENT: Final = 2  # questions without an answer: one may be lost to a machine that stalls
_EVENTS: Final = ("ike-updown", "child-updown", "ike-rekey", "child-rekey")
Objects = dict[Key, KernelObject]


class Charon:
    """Implements `netorch.drivers.base.Driver`."""

    kinds: Final = frozenset({IkeConnection.kind})

    def __init__(self, label: str, fd: int, directory: Path, key: EdgeKey | None) -> None:
        """Take the label and a descriptor of the namespace, a directory of its own, and the key that opens secrets.

        Who has no key can read, and load nothing.
        """
        self.netns = label
        self._file = directory / "connections"
        self._daemon = Daemon(directory, fd)
        self._key = key
        self._unanswered = 0  # questions in a row
        self._told: dict[str, TunnelStatus] = {}  # the last answer
        self._listener: Control | None = None
        self._ready = select.epoll()
        self._ready.register(self._daemon.fileno(), select.EPOLLIN)

    def dump(self) -> Objects:
        """Return what charon has now; nothing if none runs, or it does not answer."""
        try:
            with self._daemon.connected() as control:
                self._listen()
                found = list(loaded(control, kept_file.read(self._file)))
        except CharonError:
            return {}
        return {obj.key: obj for obj in found}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out operations one by one; charon runs while there are connections."""
        kept, failures = kept_file.read(self._file), []
        try:
            self._start(len(kept) + len(ops))
        except (CharonError, OSError) as error:
            return [_failure(op, error) for op in ops]
        for op in ops:
            try:
                self._carry_out(op, kept)
            except (CharonError, KernelError, OSError) as error:
                failures.append(_failure(op, error))
        try:
            self._tidy(kept)
        except (CharonError, OSError) as error:
            failures += [_failure(op, error) for op in ops if all(failure.op is not op for failure in failures)]
        return failures

    def events(self) -> list[KernelEvent]:
        """Return that everything must be read again after charon has ended or fallen silent, and that SAs came or went."""
        silent = self._unanswered >= SILENT
        if silent:
            self._unanswered = 0
        changed = self._hear()
        lost: list[KernelEvent] = [Lost(self.kinds)] if self._daemon.has_ended() or silent else []
        return [*lost, TunnelsChanged()] if lost or changed else []

    def fileno(self) -> int:
        """Return a descriptor that is readable when charon has ended or tells something."""
        return self._ready.fileno()

    def close(self) -> None:
        """Let go of charon, which goes on."""
        self._deafen()
        self._daemon.close()
        self._ready.close()

    def stop(self) -> None:
        """End charon."""
        self._deafen()
        self._daemon.stop()

    def tunnels(self) -> Mapping[str, TunnelStatus]:
        """Return how the tunnels are; those of a charon that does not run, or has not answered twice, are down."""
        kept = kept_file.read(self._file)
        if not kept:
            return {}
        try:
            with self._daemon.connected() as control:
                sas = list_sas(control)
        except CharonError as error:
            if error.number == errno.ETIMEDOUT:
                self._unanswered += 1
                if self._unanswered < SILENT:
                    return self._told
            return dict.fromkeys(kept, TunnelStatus())
        self._unanswered = 0
        self._told = {name: status_of([sa for sa in sas if sa.name == name]) for name in kept}
        return self._told

    def _start(self, connections: int) -> None:
        """Let a charon run, if none does. Raises CharonError, OSError."""
        try:
            with self._daemon.connected() as control:
                control.ask("version")
        except CharonError:
            self._deafen()
            self._daemon.start(connections)
        self._listen()

    def _carry_out(self, op: Op, kept: dict[str, Kept]) -> None:
        connection = op.obj
        assert isinstance(connection, IkeConnection)
        with self._daemon.connected() as control:
            if isinstance(op, Delete):
                unload(control, connection.name)
                kept.pop(connection.name, None)
                return
            secret = self._open(connection)
            # First the file: what charon has otherwise than the file says is made right, what only charon has is not known.
            kept_file.write(self._file, kept | {connection.name: Kept(connection=connection)})
            kept[connection.name] = load(control, connection, secret)

    def _tidy(self, kept: dict[str, Kept]) -> None:
        kept_file.write(self._file, kept)
        if not kept:
            self.stop()
            return
        with self._daemon.connected() as control:
            forget_secrets(control, kept)

    def _open(self, connection: IkeConnection) -> Secret:
        """Return a connection's secret. Raises KernelError, CharonError."""
        if self._key is None:
            raise CharonError("the key that opens secrets is not at hand", errno.ENOKEY)
        secret = self._key.open(connection.secret)
        if not (secret.key if connection.certificate else secret.psk):
            wanted = "private key" if connection.certificate else "pre-shared key"
            raise CharonError(f"what is sealed for it is no {wanted}; set it again", errno.EINVAL)
        return secret

    def _listen(self) -> None:
        """Ask charon to tell what happens, if it does not yet. Raises CharonError."""
        if self._listener is not None:
            return
        listener = Control(self._daemon.socket, ANSWER_S)
        try:
            listener.listen(_EVENTS)
        except CharonError:
            listener.close()
            raise
        self._listener = listener
        self._ready.register(listener.fileno(), select.EPOLLIN)

    def _deafen(self) -> None:
        if self._listener is not None:
            self._ready.unregister(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def _hear(self) -> bool:
        """Return whether charon has told something."""
        if self._listener is None:
            return False
        try:
            return bool(self._listener.received())
        except CharonError:
            self._deafen()
            return True


def _failure(op: Op, error: CharonError | KernelError | OSError) -> Failure:
    if isinstance(error, KernelError):
        return Failure(op, error)
    number = error.number if isinstance(error, CharonError) else error.errno or 0
    return Failure(op, KernelError(describe(op), number, str(error)))
