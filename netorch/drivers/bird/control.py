"""bird's control socket: commands and replies, as birdc(8) has them.

Each line of a reply begins with a code of four digits and a minus, or with a blank if its code is that of the line before. The
last one has a blank behind the code. Codes from 8000 on are errors. Source: BIRD's doc/reply_codes, nest/cli.c.
"""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from netorch.errors import NetorchError

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid. Source: unix(7)
_CHUNK: Final = 1 << 16
_ERROR: Final = 8000
_CODE: Final = 4  # digits


class BirdError(NetorchError):
    """bird cannot be run, does not answer, or refuses a command; the text is its own. `number` is the errno that fits best."""

    def __init__(self, text: str, number: int = errno.EIO) -> None:
        self.number = number
        super().__init__(text)


class Refused(BirdError):
    """bird would not take what one of the objects of a configuration asks for."""


class Control:
    """A connection. All methods raise BirdError."""

    def __init__(self, path: Path, patience_s: float) -> None:
        """Connect; each answer may take so long."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(patience_s)
        self._pending = b""
        try:
            self._socket.connect(str(path))
        except BlockingIOError as error:  # nobody takes the connections that wait
            self._socket.close()
            raise BirdError("bird does not answer", errno.ETIMEDOUT) from error
        except OSError as error:
            self._socket.close()
            raise BirdError(f"{path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def greet(self) -> None:
        """Take bird's greeting, which comes first: it proves that bird answers."""
        self._reply()

    def pid(self) -> int:
        """Return who listens. It is known even of a process that is stopped."""
        raw = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(raw)[0])

    def ask(self, command: str, patience_s: float | None = None) -> list[str]:
        """Return the lines of the reply, without codes; from now on each answer may take so long, if that is said."""
        if patience_s is not None:
            self._socket.settimeout(patience_s)
        try:
            self._socket.sendall(command.encode() + b"\n")
        except OSError as error:
            raise BirdError(f"bird does not answer: {error.strerror or error}") from error
        return self._reply()

    def _reply(self) -> list[str]:
        lines: list[str] = []
        while True:
            line = self._line()
            code, text = line[:_CODE], line[_CODE + 1 :]
            if not code.isdigit():  # of the same code as the line before
                lines.append(line[1:])
                continue
            lines.append(text)
            if line[_CODE : _CODE + 1] == " ":
                if int(code) >= _ERROR:
                    raise BirdError(f"bird: {text}")
                return lines

    def _line(self) -> str:
        while b"\n" not in self._pending:
            try:
                chunk = self._socket.recv(_CHUNK)
            except TimeoutError as error:
                raise BirdError("bird does not answer", errno.ETIMEDOUT) from error
            except OSError as error:
                raise BirdError(f"bird does not answer: {error.strerror or error}") from error
            if not chunk:
                raise BirdError("bird has ended")
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode(errors="replace")
