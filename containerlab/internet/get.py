"""Fetch http://ADDRESS/PATH as a browser does, and say how it went: the first line, and the longest time that nothing came.

python3 get.py 198.18.0.80/download
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Final

PATIENCE_S: Final = 5.0


def get(host: str, path: str) -> Iterator[str]:
    """Yield a page's first line as it comes, then how the rest came. Raises OSError when the server does not answer."""
    connection = HTTPConnection(host, timeout=PATIENCE_S)
    pause, size = 0.0, 0
    connection.request("GET", path)
    page = connection.getresponse()
    first = page.readline().decode().strip()
    begun = last = time.monotonic()
    yield first
    for line in page:
        now = time.monotonic()
        pause, last = max(pause, now - last), now
        size += len(line)
    if size:
        yield f"{size // 1000} kB in {last - begun:.1f} s, all of it; the longest pause was {pause:.1f} s"


if __name__ == "__main__":
    host, _, path = sys.argv[1].partition("/")
    try:
        for line in get(host, f"/{path}"):
            print(line, flush=True)
    except OSError as error:
        sys.exit(f"{host}: {error}")
