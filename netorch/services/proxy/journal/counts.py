"""What each endpoint has been used for since the process began: what the lines of the access log add up to.

| name | |
|---|---|
| `connections` | of clients, that are open now |
| `requests` | that have ended, and tunnels of TLS |
| `denied` | of these, by a policy |
| `malformed` | of these, that could not be read, or asked for what is none of S3's; and lists of keys beyond the limits |
| `unavailable` | of these, because the server behind did not answer |
| `broken` | of these, that have no answer, because one of the ends has gone |
| `reset` | connections, by the proxy: too many, too slow, or idle for too long |
| `received`, `sent` | bytes of bodies, by clients and to clients, and of tunnels |
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
    """Adds up lines, by endpoint."""

    def __init__(self) -> None:
        self._of: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, line: Line) -> None:
        """Count what a line says."""
        found = self._of[line.endpoint]
        found["requests"] += 1
        found["received"] += line.received
        found["sent"] += line.sent
        kind = _BY_ERROR.get(line.error, _OTHER_ERROR) if line.status else "broken"
        if kind:
            found[kind] += 1

    def of(self, endpoint: str) -> Mapping[str, int]:
        """Return what an endpoint has been used for."""
        return self._of.get(endpoint, {})

    def forget(self, endpoint: str) -> None:
        """Forget an endpoint that is gone."""
        self._of.pop(endpoint, None)
