"""A line of the access log, about one request or one TLS tunnel."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line about one request or one TLS tunnel."""

    time: str  # of its start, RFC 3339
    vpc: str
    endpoint: str
    source: str  # the instance's address in its VPC
    status: int  # of the answer; 0: no answer, the connection was cut
    reason: str  # the statement and policy that decided, or another cause
    error: str = ""  # the code of the proxy's own answer; empty: the server answered, or there was no answer
    method: str = ""
    host: str = ""
    target: str = ""
    action: str = ""
    resource: str = ""
    received: int = 0  # bytes of the client's body
    sent: int = 0  # bytes of the answer's body
    seconds: float = 0.0


def time_of(moment: datetime) -> str:
    """Return a time in the format of lines."""
    return moment.isoformat(timespec="milliseconds")


def seconds_since(began: datetime) -> float:
    """Return the duration since a time, as in lines."""
    return round((datetime.now(UTC) - began).total_seconds(), 3)
