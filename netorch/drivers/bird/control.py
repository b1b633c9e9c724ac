"""bird's control socket: commands and replies, as in birdc(8).

Each line of a reply starts with a four-digit code and a minus; or with a blank, if its code is that of the previous line. In
the last line a blank follows the code. Codes from 8000 on are errors. Source: BIRD's doc/reply_codes, nest/cli.c.
"""

from __future__ import annotations

import errno
from typing import Final

from netorch.drivers.daemons.connection import Connection, DaemonError

_CHUNK: Final = 1 << 16
_ERROR: Final = 8000
_CODE: Final = 4  # digits


class BirdError(DaemonError):
    """bird cannot be started, does not answer, or refuses a command."""


class Refused(BirdError):
    """bird would reject an object of a configuration."""


class Control(Connection):
    """A connection to bird. All methods raise BirdError."""

    daemon = "bird"
    failure = BirdError

    def greet(self) -> None:
        """Read bird's greeting, which comes first and proves that bird answers."""
        self._reply()

    def ask(self, command: str, patience_s: float | None = None) -> list[str]:
        """Return the lines of the reply, without codes. `patience_s` sets the timeout of this and later answers."""
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
            if not code.isdigit():  # same code as the previous line
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
