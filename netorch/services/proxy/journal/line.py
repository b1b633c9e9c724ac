"""A line of the access log: what is said about one request, or about one tunnel of TLS."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said about one request, or about one tunnel of TLS."""

    time: str  # of its begin, RFC 3339
    vpc: str
    endpoint: str
    source: str  # the instance's address in its VPC
    status: int  # of the answer; 0: there was none, the connection was cut
    reason: str  # which statement of which policy decided, or what else did
    error: str = ""  # the code of the proxy's own answer; nothing: the server behind has answered, or nobody
    method: str = ""
    host: str = ""
    target: str = ""
    action: str = ""
    resource: str = ""
    received: int = 0  # bytes of the client's body
    sent: int = 0  # bytes of the answer's body
    seconds: float = 0.0


def time_of(moment: datetime) -> str:
    """Return a moment as lines say it."""
    return moment.isoformat(timespec="milliseconds")


def seconds_since(began: datetime) -> float:
    """Return how long something has taken, as lines say it."""
    return round((datetime.now(UTC) - began).total_seconds(), 3)
