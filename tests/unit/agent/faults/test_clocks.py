"""The wall clock of a host may jump by years: it dates what people read, and decides nothing."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[4]
WALL: Final = {"time", "time_ns", "now", "utcnow", "utc_now", "localtime"}
# What reads the wall clock on a host, and why a jump does no harm.
READERS: Final = {
    "netorch/agent/flowlog/logger.py": "intervals of flow logs: one that a jump has ended or moved is written at once",
    "netorch/agent/tasks/nat_drains.py": "the rest of a drain, read once; the agent's clock measures it",
    "netorch/agent/tasks/renewal.py": "the life of a certificate, read each time; a failure leaves the old one",
    "netorch/agent/tasks/status.py": "dates for people",
    "netorch/drivers/charon/tunnels.py": "a date for people",
    "netorch/services/proxy/exchange.py": "a date in the access log, and for conditions of policies on the time of a request",
    "netorch/services/proxy/front.py": "a date in the access log",
    "netorch/services/proxy/handler.py": "the age of log files",
    "netorch/services/proxy/journal/line.py": "a duration in the access log",
    "netorch/services/proxy/tls/tunnel.py": "a date in the access log",
}


def reads_wall_clock(path: Path) -> bool:
    """Return whether a module names a function that returns the wall clock's time."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Attribute(value=ast.Name(id="time" | "datetime" | "date"), attr=name) if name in WALL:
                return True
            case ast.ImportFrom(module="time" | "netorch.identity.authority", names=names) if WALL & {
                found.name for found in names
            }:
                return True
    return False


def test_all_readers_of_the_wall_clock_on_a_host_are_known() -> None:
    packages = ("agent", "drivers", "services", "compiler", "plan", "state")
    modules = [path for package in packages for path in (ROOT / "netorch" / package).rglob("*.py")]
    assert len(modules) > 100
    assert {str(path.relative_to(ROOT)) for path in modules if reads_wall_clock(path)} == READERS.keys()
