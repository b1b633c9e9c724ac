"""The driver of a routing daemon: its configuration consists of objects, and a change is a new configuration.

An object exists while bird runs with the file that has it, and its protocols are not disabled. Reconfiguring bird, editing
the file or disabling a protocol deletes objects, like `ip route del`; the agent restores them. Only the periodic audit
detects that. Events report at once that bird has exited, that the file has another password, or that bird has failed to
answer two queries for its sessions, which the agent sends every second.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Generic

import msgspec

from netorch.drivers.base import CustomerSession, KernelEvent, Lost
from netorch.drivers.bird import sessions
from netorch.drivers.bird.config import C, Session, config_of, read, write
from netorch.drivers.bird.control import BirdError, Control, Refused
from netorch.drivers.bird.daemon import PACKAGE, USER, Daemon
from netorch.drivers.bird.password import Passwords, Stamp, stamp
from netorch.drivers.daemons.failures import failure
from netorch.model.status import ESTABLISHED
from netorch.state.base import KernelObject, Key
from netorch.state.op import Delete, Failure, Op

RUN: Final = Path("/run/netorch-bird")  # not below /run/netorch, which only netorch may enter: bird runs as another user
CONFIGURE_S: Final = 30.0  # for a bird that has just answered: starting another one would end all sessions
SILENT: Final = 2  # unanswered queries; a single one may be due to a stalled machine, whose timeouts expire as it goes on
DOWN: Final = "Down"  # of a session without a daemon
Objects = dict[Key, KernelObject]


def border_directory(host: str) -> Path:
    """Return the directory for the file and socket of the bird in a host's outside namespace."""
    return RUN / host


def customers_directory(host: str) -> Path:
    """Return the directory for the file and socket of the bird in a host's overlay namespace; no host name contains a plus."""
    return RUN / f"{host}+customers"


class Bird(Generic[C]):
    """Implements `netorch.drivers.base.Driver`."""

    def __init__(
        self,
        label: str,
        fd: int,
        directory: Path,
        of: type[C],
        passwords: Passwords,
        remove_leftovers: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the label and a descriptor of the namespace, and its own directory, which is created when needed.

        `of` is this bird's kind of configuration, `passwords` has the required passwords of sessions. `remove_leftovers`
        removes from Linux the routes of a killed bird.
        """
        self.netns = label
        self.kinds = of.kinds
        self._of = of
        self._passwords = passwords
        self._remove_leftovers = remove_leftovers
        self._directory = directory
        self._daemon = Daemon(directory, fd)
        self._known: tuple[Objects, Mapping[str, str]] | None = None  # last known objects and passwords; None: never read
        self._read: tuple[Stamp, tuple[C, dict[str, str]] | None] | None = None  # the file's content when last read
        self._unanswered = 0  # consecutive queries
        self._states: Mapping[str, CustomerSession] = {}  # the last answer
        self._refused = sessions.RefusedPasswords(fd)
        self._lost = sessions.LostWord(fd)

    def dump(self) -> Objects:
        """Return bird's present objects; empty if it does not run or does not answer."""
        self._passwords.note()
        self._known = {}, {}
        found = self._running()
        if found is None:
            return {}
        config, used, down = found
        other = {
            session.key
            for session in config.sessions
            if not self._passwords.is_wanted(session, used.get(config.protocol_of(session), ""))
        }
        objects = {obj.key: obj for obj in config.objects if down.isdisjoint(config.protocols_of(obj))}
        self._known = objects, used
        return {key: msgspec.structs.replace(obj, other_password=True) if key in other else obj for key, obj in objects.items()}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply operations as one new configuration; if bird refuses it, as several."""
        try:
            self._carry_out(ops)
        except Refused as error:
            if len(ops) == 1:
                return [failure(ops[0], error)]
            middle = len(ops) // 2
            return [*self.apply(ops[:middle]), *self.apply(ops[middle:])]
        except (BirdError, OSError) as error:
            return [failure(op, error) for op in ops]
        return []

    def events(self) -> list[KernelEvent]:
        """Return Lost when bird has exited or stopped answering, or when passwords have changed."""
        silent = self._unanswered >= SILENT
        if silent:
            self._unanswered = 0
        return [Lost(self.kinds)] if self._daemon.has_ended() or silent or self._passwords.changed() else []

    def fileno(self) -> int:
        """Return a descriptor that is readable when bird has exited."""
        return self._daemon.fileno()

    def close(self) -> None:
        """Close sockets; bird keeps running."""
        self._daemon.close()

    def stop(self) -> None:
        """Stop bird. Raises OSError."""
        self._daemon.stop()
        self._remove_leftovers()

    def sessions(self) -> list[tuple[Session, CustomerSession]]:
        """Return the states of sessions. They are down if bird does not run, or has failed to answer twice."""
        found = self._file()
        if found is None:
            return []
        config, _ = found
        try:
            with self._daemon.connected() as control:
                self._states = sessions.states(control)
                self._let_compare(control, config.comparing)
        except BirdError as error:
            if error.number == errno.ETIMEDOUT:
                self._unanswered += 1
            if error.number != errno.ETIMEDOUT or self._unanswered >= SILENT:
                return [(session, CustomerSession(state=DOWN, reason=str(error))) for session in config.sessions]
        else:
            self._unanswered = 0
        hint = config.refused if self._refused.lately() else ""
        return [(session, self._state(config.protocol_of(session), hint)) for session in config.sessions]

    def _let_compare(self, control: Control, protocol: str) -> None:
        """Make bird compare its routes with Linux's now, if notifications were lost: by itself it scans once a minute.

        Raises:
          BirdError: bird does not answer; it is asked again with the next query.
        """
        if protocol and self._lost.any():
            control.ask(f"reload in {protocol}")
            self._lost.forget()

    def _state(self, protocol: str, hint: str) -> CustomerSession:
        state = self._states.get(protocol, CustomerSession(state=DOWN))
        if state.state == ESTABLISHED or not hint:
            return state
        return msgspec.structs.replace(state, reason="; ".join(filter(None, (state.reason, hint))))

    def _file(self) -> tuple[C, dict[str, str]] | None:
        """Return the file's content, read again only if the file was written since; None if there is none. Raises OSError."""
        now = stamp(self._daemon.config)
        if self._read is None or self._read[0] != now:
            try:
                self._read = now, read(self._of, self._daemon.config.read_text())
            except (FileNotFoundError, UnicodeDecodeError):
                self._read = now, None
        return self._read[1]

    def _running(self) -> tuple[C, dict[str, str], set[str]] | None:
        """Return bird's configuration, its passwords, and the disabled protocols; None if bird does not run netorch's file."""
        found = self._file()
        if found is None:
            return None
        config, used = found
        try:
            with self._daemon.connected() as control:
                return (config, used, sessions.switched_off(control)) if sessions.name_of(control) == config.name else None
        except BirdError:
            return None

    def _carry_out(self, ops: Sequence[Op]) -> None:
        """Apply operations to bird's last known objects, and make bird run with the result. Raises BirdError, OSError.

        bird is not read again: otherwise the objects of a bird that has exited or answers slowly would silently disappear.
        """
        if self._known is None:
            self.dump()
        objects, used = self._known or ({}, {})
        objects, asked = dict(objects), {op.obj.key for op in ops}
        for op in ops:
            if isinstance(op, Delete):
                objects.pop(op.obj.key, None)
            else:
                self._of.check(op.obj)
                objects[op.obj.key] = op.obj
        config = config_of(self._of, objects.values())
        wanted = {
            protocol: self._passwords.of(session) if session.key in asked else used.get(protocol, "")
            for session in config.sessions
            for protocol in (config.protocol_of(session),)
        }
        passwords = {protocol: password for protocol, password in wanted.items() if password}
        if objects:
            self._run(config, passwords)
        else:
            self.stop()
        self._known = {obj.key: obj for obj in config.objects}, passwords

    def _run(self, config: C, passwords: Mapping[str, str]) -> None:
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = self._daemon.config.with_suffix(".new")
        _write(new, write(config, passwords))
        try:
            self._daemon.check(new)
            new.replace(self._daemon.config)
        finally:
            new.unlink(missing_ok=True)
        try:
            with self._daemon.connected(SILENT) as control:  # one that is killed ends all sessions
                _configure(control, {protocol for obj in config.objects for protocol in config.protocols_of(obj)})
        except BirdError:
            self._remove_leftovers()
            self._daemon.start()


def _configure(control: Control, protocols: Iterable[str]) -> None:
    control.ask("configure", CONFIGURE_S)
    for protocol in sorted(sessions.switched_off(control).intersection(protocols)):
        control.ask(f"enable {protocol}")


def _write(path: Path, text: str) -> None:
    """Write a file that only bird may read. Raises OSError."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    try:
        shutil.chown(path, USER, USER)
    except LookupError as error:
        path.unlink()
        raise BirdError(f"there is no user {USER}; apt-get install {PACKAGE}", errno.ENOENT) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: a user namespace without this user; bird runs as the user who started it
            raise
