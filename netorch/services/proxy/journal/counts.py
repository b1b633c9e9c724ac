"""The counters of each endpoint since the start of the process: sums over the lines of the access log.

| name | |
|---|---|
| `connections` | open connections of clients |
| `requests` | that have ended, and TLS tunnels |
| `denied` | requests refused by a policy |
| `malformed` | requests that are unparsable or no S3 requests, and lists of keys beyond the limits |
| `unavailable` | requests for which the server did not answer |
| `broken` | requests without an answer, because one of the ends is gone |
| `reset` | connections reset by the proxy: too many, too slow, or idle for too long |
| `received`, `sent` | bytes of bodies from clients and to clients, and of tunnels |
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Final

from netorch.services.proxy.journal.line import Line

CONNECTIONS: Final = "connections"
RESET: Final = "reset"
_BY_ERROR: Final = {"": "", "AccessDenied": "denied", "ServiceUnavailable": "unavailable"}
_OTHER_ERROR: Final = "malformed"


class Counts:
    """Sums up lines, by endpoint."""

    def __init__(self) -> None:
        self._of: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, line: Line) -> None:
        """Add a line to the counters."""
        found = self._of[line.endpoint]
        found["requests"] += 1
        found["received"] += line.received
        found["sent"] += line.sent
        kind = _BY_ERROR.get(line.error, _OTHER_ERROR) if line.status else "broken"
        if kind:
            found[kind] += 1

    def of(self, endpoint: str) -> Mapping[str, int]:
        """Return the counters of an endpoint."""
        return self._of.get(endpoint, {})

    def forget(self, endpoint: str) -> None:
        """Drop the counters of a deleted endpoint."""
        self._of.pop(endpoint, None)
