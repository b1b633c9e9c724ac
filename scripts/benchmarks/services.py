"""S3 through a gateway endpoint's proxy against the same server without it: requests and bytes a second, latency, CPU, memory.

Everything runs in the lab kernel, which has one processor: the client, the server (moto) and the proxy share it. So a ratio
shows the proxy's work in addition to that of the server and the client, not how many requests a proxy with its own processor
could forward: the CPU time of a request shows that. Client and server send and receive in large pieces, and both ways are used
in turns. The endpoint has a policy, and so has the bucket.
"""

from __future__ import annotations

import http.client
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from common import Figure, show

from netorch.lab.kernel import run_in_kernel

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests, whose server and process are used

from netorch.state.daemons.services.proxy import ProxyBucket, ProxyEndpoint, ProxyListener
from tests.rig.services.process import LOOPBACK, ServiceProcess, service_process
from tests.rig.services.s3 import s3_server

MEMORY_MB: Final = 2_000
PORT: Final = 9000
REQUESTS: Final = 100  # in one round
ROUNDS: Final = 5
LARGE: Final = 16 << 20
ENDPOINTS: Final = 1_000
HEADERS: Final = {
    "Content-Type": "text/plain",
    "Authorization": "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
}
ALLOW: Final = '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}}'
DENY: Final = """{"Statement": {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::bench",
 "arn:aws:s3:::bench/*"], "Condition": {"StringNotEquals": {"aws:sourceVpc": "vpc-0013880000000000a"}}}}"""


class Way:
    """A persistent connection to the server, direct or through the proxy."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60.0)

    def ask(self, method: str, target: str, body: bytes | None = None) -> int:
        """Return the length of the answer's body. Raises AssertionError unless the request succeeds."""
        self._connection.request(method, target, body, HEADERS)
        answer = self._connection.getresponse()
        found = len(answer.read())
        assert answer.status in (200, 204), answer.status
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def endpoint(number: int) -> ProxyEndpoint:
    """Return a proxy endpoint in front of the server."""
    return ProxyEndpoint(
        id=f"vpce-001388{number:011x}",
        vpc="vpc-0013880000000000a",
        service="s3",
        hosts=("s3.netorch.internal",),
        prefixes=(f"{LOOPBACK}/32",),
        upstream=f"http://{LOOPBACK}:{PORT}",
        policy=ALLOW,
    )


def listener(number: int) -> ProxyListener:
    """Return the listener of an endpoint."""
    return ProxyListener(ifname=f"vrf{number}", endpoint=endpoint(number).id)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_turns(ways: dict[str, Way], action: Callable[[Way], object]) -> dict[str, float]:
    """Return the best time of an action by each way, in seconds."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begin = time.perf_counter()
            action(way)
            best[name] = min(best[name], time.perf_counter() - begin)
    return best


def one_by_one(way: Way) -> list[float]:
    """Return the seconds of each of many small requests."""
    taken = []
    for _ in range(REQUESTS):
        begin = time.perf_counter()
        way.ask("GET", "/bench/small")
        taken.append(time.perf_counter() - begin)
    return taken


Turn = tuple[str, Callable[[Way], object], int, int, str]  # name, action, amount and unit, number of requests


def speed(process: ServiceProcess, ways: dict[str, Way]) -> Iterator[Figure]:
    """Yield the cost of requests and bytes."""
    ways["direct"].ask("PUT", "/bench")
    ways["direct"].ask("PUT", "/bench/small", bytes(1024))
    body = bytes(LARGE)
    latency = {name: statistics.median(one_by_one(way)) for name, way in ways.items()}
    turns: tuple[Turn, ...] = (
        ("GET of 1 KiB", one_by_one, REQUESTS, REQUESTS, "requests/s"),
        ("PUT of 16 MiB", lambda way: way.ask("PUT", "/bench/large", body), LARGE >> 20, 1, "MiB/s"),
        ("GET of 16 MiB", lambda way: way.ask("GET", "/bench/large"), LARGE >> 20, 1, "MiB/s"),
    )
    for name, action, count, requests, unit in turns:
        before = cpu_s(process.pid)
        found = in_turns(ways, action)
        cpu = (cpu_s(process.pid) - before) / (ROUNDS * requests)
        note = f"{count / found['proxy']:,.0f} {unit}, direct {count / found['direct']:,.0f}; the proxy's CPU {cpu * 1e3:.1f} ms"
        yield Figure(name=name, value=found["direct"] / found["proxy"], unit="of direct", goal=0.8, at_least=True, note=note)
    yield Figure(name="added latency", value=(latency["proxy"] - latency["direct"]) * 1e3, unit="ms", note="median")


def memory(process: ServiceProcess) -> Iterator[Figure]:
    """Yield the memory of many endpoints, before and after each has answered a request."""
    before = process.memory()
    for number in range(1, ENDPOINTS + 1):
        process.put(endpoint(number), listener(number))
    there = process.memory()
    for number in range(1, ENDPOINTS + 1):
        with closing(Way(process.ports[f"vrf{number}"][0])) as way:
            way.ask("GET", "/bench/small")
    used = process.memory()
    yield Figure(name=f"{ENDPOINTS:,} endpoints", value=(there - before) / ENDPOINTS / 1024, unit="KiB each")
    yield Figure(name="after a request by each", value=(used - before) / ENDPOINTS / 1024, unit="KiB each")
    yield Figure(name="the process without them", value=before / (1 << 20), unit="MiB")


@contextmanager
def served() -> Iterator[tuple[ServiceProcess, dict[str, Way]]]:
    """Run the server, and the proxy with one endpoint in front of it."""
    with tempfile.TemporaryDirectory() as name, s3_server(LOOPBACK, PORT, Path(name)), service_process() as process:
        process.put(ProxyBucket(service="s3", bucket="bench", policy=DENY), endpoint(0), listener(0))
        with closing(Way(PORT)) as direct, closing(Way(process.ports["vrf0"][0])) as proxy:
            yield process, {"direct": direct, "proxy": proxy}


def main(arguments: Sequence[str]) -> int:
    """Run this file in the lab kernel, or the part for this process. Return 1 when a goal is missed."""
    if list(arguments) != ["--inside"]:
        return run_in_kernel([sys.executable, __file__, "--inside"], memory_mb=MEMORY_MB)
    with served() as (process, ways):
        missed = show("S3 by an endpoint", list(speed(process, ways)))
        missed += show("memory of the proxy", list(memory(process)))
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
