"""A connection to a daemon's control socket, a UNIX socket. Each daemon's `control` module implements its protocol."""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from netorch.errors import NetorchError

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid. Source: unix(7)


class DaemonError(NetorchError):
    """A daemon cannot be started, does not answer, or refuses a command, with its own text. `number` is the best errno."""

    def __init__(self, text: str, number: int = errno.EIO) -> None:
        self.number = number
        super().__init__(text)


class Connection:
    """A connection to a daemon. All methods raise `failure`, which is about the daemon.

    An OSError is about this process, which has no free descriptor: the daemon may be well, so it is not replaced.
    """

    daemon: ClassVar[str]  # its name in messages
    failure: ClassVar[type[DaemonError]]
    socket_type: ClassVar[int] = socket.SOCK_STREAM

    def __init__(self, path: Path, patience_s: float) -> None:
        """Connect; `patience_s` is the timeout of each answer. Raises OSError without a free descriptor."""
        self._socket = socket.socket(socket.AF_UNIX, self.socket_type | socket.SOCK_CLOEXEC)
        self._socket.settimeout(patience_s)
        self._pending = b""
        try:
            self._socket.connect(str(path))
        except BlockingIOError as error:  # the listen backlog is full
            self._socket.close()
            raise self.failure(f"{self.daemon} does not answer", errno.ETIMEDOUT) from error
        except OSError as error:
            self._socket.close()
            raise self.failure(f"{path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def pid(self) -> int:
        """Return the listener's PID, known even if the process is stopped."""
        raw = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(raw)[0])
