"""The driver of a routing daemon: what it runs with are objects, a change is a new configuration, its end is an event.

An object is there while bird runs with the file that has it, and the protocol that it is in has not been switched off. Whoever
reconfigures bird, edits the file, or switches a protocol off takes objects away, as by `ip route del`; they are put back.
Nothing tells of that but the periodic audit. Of bird's end, and of another password in the file, events tell at once; of a bird
that does not answer after two questions about its sessions, which the agent asks each second.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from netorch.drivers.base import KernelEvent, Lost
from netorch.drivers.bird import password, sessions
from netorch.drivers.bird.config import Config, config_of, protocol_of, read, write
from netorch.drivers.bird.control import BirdError, Control
from netorch.drivers.bird.daemon import PACKAGE, USER, Daemon
from netorch.errors import KernelError
from netorch.model.status import BorderSession
from netorch.state.base import KernelObject, Key
from netorch.state.daemons.bgp import Announcement, BgpPeer
from netorch.state.op import Delete, Failure, Op, describe

RUN: Final = Path("/run/netorch-bird")  # not below /run/netorch, which nobody but netorch may enter: bird is another user
SILENT: Final = 2  # questions without an answer: one may be lost to a machine that stalls
Objects = dict[Key, KernelObject]


class Bird:
    """Implements `netorch.drivers.base.Driver`."""

    kinds: Final = frozenset({BgpPeer.kind, Announcement.kind})

    def __init__(self, label: str, fd: int, directory: Path) -> None:
        """Take the label and a descriptor of the namespace, and a directory of its own, which is made when needed."""
        self.netns = label
        self._directory = directory
        self._daemon = Daemon(directory, fd)
        self._password_seen = _stamp(password.FILE)
        self._unanswered = 0  # questions in a row
        self._sessions: tuple[BorderSession, ...] = ()  # the last answer
        self._refused = sessions.RefusedPasswords(fd)

    def dump(self) -> Objects:
        """Return what bird has now; nothing if none runs, or it does not answer."""
        self._password_seen = _stamp(password.FILE)
        found = self._file()
        if found is None:
            return {}
        config, used = found
        try:
            with self._daemon.connected() as control:
                if sessions.name_of(control) != config.name:
                    return {}
                down = sessions.switched_off(control)
        except BirdError:
            return {}
        other = not _is_current(used)
        objects = (
            msgspec.structs.replace(obj, other_password=other) if isinstance(obj, BgpPeer) else obj for obj in config.objects
        )
        return {obj.key: obj for obj in objects if protocol_of(obj) not in down}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out operations as one new configuration: all of them, or none."""
        objects = self.dump()
        for op in ops:
            if isinstance(op, Delete):
                objects.pop(op.obj.key, None)
            else:
                objects[op.obj.key] = op.obj
        try:
            if objects:
                self._run(config_of(objects.values()))
            else:
                self.stop()
        except (BirdError, OSError) as error:
            return [_failure(op, error) for op in ops]
        return []

    def events(self) -> list[KernelEvent]:
        """Return that everything must be read again after bird has ended or fallen silent, or the password has changed."""
        silent = self._unanswered >= SILENT
        if silent:
            self._unanswered = 0
        changed = self._password_seen != _stamp(password.FILE)
        return [Lost(self.kinds)] if self._daemon.has_ended() or silent or changed else []

    def fileno(self) -> int:
        """Return a descriptor that is readable when bird has ended."""
        return self._daemon.fileno()

    def close(self) -> None:
        """Let go of bird, which goes on."""
        self._daemon.close()

    def stop(self) -> None:
        """End bird."""
        self._daemon.stop()

    def sessions(self) -> tuple[BorderSession, ...]:
        """Return how the sessions are; those of a bird that does not run, or has not answered twice, are down."""
        found = self._file()
        peers = found[0].peers if found is not None else ()
        hint = sessions.OTHER_PASSWORDS if self._refused.lately() else ""
        try:
            with self._daemon.connected() as control:
                found_sessions = tuple(sessions.session(control, peer, hint) for peer in peers)
        except BirdError as error:
            if error.number == errno.ETIMEDOUT:
                self._unanswered += 1
                if self._unanswered < SILENT:
                    return self._sessions
            return tuple(sessions.down(peer, str(error)) for peer in peers)
        self._unanswered, self._sessions = 0, found_sessions
        return found_sessions

    def _file(self) -> tuple[Config, str] | None:
        try:
            return read(self._daemon.config.read_text())
        except (OSError, UnicodeDecodeError):
            return None

    def _run(self, config: Config) -> None:
        """Let bird run with a configuration. Raises BirdError, OSError; bird goes on with what it has then."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = self._daemon.config.with_suffix(".new")
        _write(new, write(config, password.read_password(password.FILE)))
        try:
            self._daemon.check(new)
            new.replace(self._daemon.config)
        finally:
            new.unlink(missing_ok=True)
        try:
            with self._daemon.connected() as control:
                _configure(control, config.objects)
        except BirdError:
            self._daemon.start()


def _configure(control: Control, objects: Iterable[KernelObject]) -> None:
    control.ask("configure")
    for protocol in sorted({protocol_of(obj) for obj in objects}):
        control.ask(f"enable {protocol}")


def _write(path: Path, text: str) -> None:
    """Write a file that nobody but bird may read. Raises OSError."""
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
        if error.errno != errno.EINVAL:  # that is a user namespace without this user: bird runs as who has started it
            raise


def _is_current(used: str) -> bool:
    try:
        return used == password.read_password(password.FILE)
    except BirdError:
        return False


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_ino, found.st_mtime_ns)


def _failure(op: Op, error: BirdError | OSError) -> Failure:
    number = error.number if isinstance(error, BirdError) else error.errno or 0
    return Failure(op, KernelError(describe(op), number, str(error)))
