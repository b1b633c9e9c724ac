"""Standard output as commands meet it: a reader may leave, a disk may be full, a name may not be UTF-8.

A reader that leaves (`netorch instance list | head`) has seen enough: the rest is thrown away, and the command ends with the code
that it would have ended with, so that an `apply` whose output is cut short is carried out. A command that follows something ends
when it sees `reader_left`. Any other failure to write is an error.
"""

from __future__ import annotations

import io
import os
import sys

from netorch.errors import NetorchError

_STANDARD = (0, 1, 2)


class OutputFailed(NetorchError):
    """Nothing more can be written to standard output: a full disk, a closed descriptor."""


class _Stdout(io.FileIO):
    """Descriptor 1, which becomes /dev/null once writing has failed: so Python does not fail once more as it flushes at exit."""

    left = False

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            self.left = True
            self._discard()
            return memoryview(data).nbytes  # type: ignore[arg-type]
        except OSError as error:
            self._discard()
            raise OutputFailed(f"standard output: {error.strerror} (errno {error.errno}); give it somewhere to write") from error

    def _discard(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def prepare() -> None:
    """Make standard output such a one. A descriptor that is closed is filled: else the next file opened would take its place."""
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # takes the lowest free number, which is this one; writing to it fails
    raw = _Stdout(1, "w", closefd=False)
    encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"
    buffer = io.BufferedWriter(raw)
    sys.stdout = io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty())
    if sys.stderr is not None:
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def reader_left() -> bool:
    """Return whether what reads standard output has gone."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Stdout) and raw.left
