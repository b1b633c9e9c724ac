"""A filter for all output: it makes texts safe for a terminal, wherever they come from."""

from __future__ import annotations

import re
import sys
from typing import Any, Final, TextIO

from netorch.errors import printable

_SUSPECT = re.compile(r"[^ -~\n\t]")
# Line ends, and the colours that netorch itself uses. A rewritten line starts with a carriage return.
_OURS = re.compile(r"(\A\r|[\n\t]|\x1b\[(?:0|1|3[0-7])(?:;(?:1|3[0-7]))*m)")
_STREAMS: Final = ("stdout", "stderr")


class Screen:
    """A text stream that escapes control characters and escape sequences, except netorch's own colours."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, and return its length."""
        self._stream.write(clean(text) if _SUSPECT.search(text) else text)
        return len(text)

    def writelines(self, lines: Any) -> None:  # noqa: ANN401 - as TextIO's
        """Write texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a stream can do
        return getattr(self._stream, name)


def clean(text: str) -> str:
    """Return a text that is safe for a terminal."""
    parts = _OURS.split(text)
    return "".join(part if index % 2 else printable(part) for index, part in enumerate(parts))


def guard_streams() -> None:
    """Pass all output of this process through a Screen."""
    for name in _STREAMS:
        stream = getattr(sys, name)
        if stream is not None:
            setattr(sys, name, Screen(stream))
