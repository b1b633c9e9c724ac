"""Fetch http://ADDRESS/PATH as a browser does, and say how it went: the first line, and the longest time that nothing came.

python3 get.py 198.18.0.80/download
"""

from __future__ import annotations

import sys
import time
from http.client import HTTPConnection
from typing import Final

PATIENCE_S: Final = 5.0


def get(host: str, path: str) -> str:
    """Return what is to be said of a page. Raises OSError when the server does not answer."""
    connection = HTTPConnection(host, timeout=PATIENCE_S)
    begun = last = time.monotonic()
    pause, lines = 0.0, []
    connection.request("GET", path)
    for line in connection.getresponse():
        now = time.monotonic()
        pause, last = max(pause, now - last), now
        lines.append(line)
    first = lines[0].decode().strip()
    if len(lines) == 1:
        return first
    kilobytes = sum(map(len, lines)) // 1000
    return f"{first}\n{kilobytes} kB in {last - begun:.1f} s, all of it; the longest pause was {pause:.1f} s"


if __name__ == "__main__":
    host, _, path = sys.argv[1].partition("/")
    try:
        print(get(host, f"/{path}"))
    except OSError as error:
        sys.exit(f"{host}: {error}")
