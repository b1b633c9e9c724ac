"""The border router of the outskirts: bird with the file of the lab's border router, with the edges' addresses changed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from netorch.drivers.bird.control import BirdError, Control
from tests.rig.world import wait_for

FILE: Final = Path(__file__).parents[3] / "containerlab/internet/border.conf"
ASN: Final = 64512
_BFD: Final = "  bfd on;\n"
_INTERVAL, _PATIENT = "interval 300 ms;", "interval 5 s;"


def established_since(protocols: Callable[[], str]) -> float:
    """Return the time of day, in seconds, at which a session was established; waits for it, for the two ends are not up at once.

    `protocols` returns bird's rows, the session's last. bird computes the time back from the current time on each query, so it
    may differ by a millisecond.
    """
    row = wait_for(lambda: _established(protocols()), "an established session")
    hours, minutes, seconds = row[4].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _established(protocols: str) -> list[str]:
    """Return the columns of the last row, or none while its session is not established."""
    row = protocols.splitlines()[-1].split()
    return row if "Established" in row else []


def same(since: float) -> object:
    """Return a value equal to the time at which a session was established; a restarted session would be a second younger."""
    return pytest.approx(since, abs=0.5)


class Border:
    """A bird in the namespace of the border router."""

    def __init__(self, place: str, directory: Path, edges: Mapping[str, tuple[str, int]]) -> None:
        """Start bird in the namespace, with its files in a directory, for the edges' addresses and AS numbers by name."""
        self._place = place
        self._edges = edges
        self._password, self._interval = "", _INTERVAL
        self._file, self._socket = directory / "border.conf", directory / "border.ctl"
        self._write()
        command = ["ip", "netns", "exec", place, "bird", "-f", "-c", str(self._file), "-s", str(self._socket)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._answers, "the border's bird")

    def ask(self, command: str) -> str:
        """Return bird's reply."""
        with Control(self._socket, 5.0) as control:
            control.greet()
            return "\n".join(control.ask(command))

    def use_password(self, password: str) -> None:
        """Set the password of all sessions, or none."""
        self._password = password
        self._reload()

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Let BFD sessions live on without packets for 15 s during the block: a slow machine ends none within 900 ms.

        So a session that ends has been ended by what the block does.
        """
        self._interval = _PATIENT
        self._reload()
        wait_for(self._is_patient, "both ends to have agreed on longer timeouts, and the sessions")
        try:
            yield
        finally:
            self._interval = _INTERVAL
            self._reload()

    def established(self, edge: str) -> bool:
        """Return whether the session with an edge is established."""
        return "Established" in self.ask(f"show protocols {edge}")

    def session(self, edge: str) -> str:
        """Return bird's details of the session with an edge."""
        return self.ask(f"show protocols all {edge}")

    def since(self, edge: str) -> float:
        """Return the time at which the session with an edge was established: the time of day, in seconds."""
        return established_since(lambda: self.ask(f"show protocols {edge}"))

    def announced(self, edge: str) -> set[str]:
        """Return the prefixes that an edge announces."""
        tables = self.ask(f"show route all protocol {edge} table master4"), self.ask(f"show route protocol {edge} table master6")
        return set(re.findall(r"^([0-9a-f.:]+/[0-9]+) ", "\n".join(tables), re.MULTILINE))

    def next_hops(self, prefix: str) -> set[str]:
        """Return the next hops to which Linux sends packets for a prefix."""
        command = ["ip", "-n", self._place, "-json", "route", "show", prefix]
        routes = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout or "[]")
        return {hop["gateway"] for route in routes for hop in route.get("nexthops", [route])}

    def stop(self) -> None:
        """End bird."""
        self._process.kill()
        self._process.wait()

    def _is_patient(self) -> bool:
        """Return whether all BFD sessions have the longer timeout, acknowledged by the edge, RFC 5880 section 6.5, and BGP is up.

        A shorter timeout may have ended a BGP session just before: it begins again when BFD is up.
        """
        rows = [row.split() for row in self.ask("show bfd sessions").splitlines() if " Up " in row]
        has_timeout = len(rows) == len(self._edges) and all(float(row[-1]) > 10 for row in rows)
        return has_timeout and all(map(self.established, self._edges))

    def _reload(self) -> None:
        self._write()
        self.ask("configure")

    def _write(self) -> None:
        text = FILE.read_text().replace(_INTERVAL, self._interval)
        head = text[: text.index("protocol bgp ")].replace("local 198.51.100.254 as", "local as")
        if self._password:
            head = head.replace(_BFD, f'{_BFD}  password "{self._password}";\n')
        sessions = (
            f"protocol bgp {name} from edge {{ neighbor {address} as {asn}; }}\n" for name, (address, asn) in self._edges.items()
        )
        self._file.write_text(head + "".join(sessions))

    def _answers(self) -> bool:
        try:
            return "up" in self.ask("show status")
        except BirdError:
            return False
