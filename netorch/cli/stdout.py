"""Standard output for commands: a reader may leave, a disk may be full, a name may not be UTF-8.

If the reader leaves (`netorch instance list | head`), the rest of the output is dropped. The command ends with its
usual exit code, so that an `apply` with truncated output is still executed. A command that follows events ends when
`reader_left` is true. Any other write failure is an error.
"""

from __future__ import annotations

import io
import os
import sys

from netorch.errors import NetorchError

_STANDARD = (0, 1, 2)


class OutputFailed(NetorchError):
    """Standard output cannot be written: a full disk, a closed descriptor."""


class _Stdout(io.FileIO):
    """Descriptor 1. It becomes /dev/null after a failed write, so that Python's flush at exit does not fail again."""

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
            raise OutputFailed(
                f"standard output: {error.strerror} (errno {error.errno}); redirect it to a place that can be written"
            ) from error

    def _discard(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def prepare() -> None:
    """Replace standard output. Open a closed standard descriptor: else the next opened file would get its number."""
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
    """Return whether the reader of standard output is gone."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Stdout) and raw.left
