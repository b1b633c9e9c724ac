"""Metrics: their content, a format that Prometheus can parse, and no client that delays the agent."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest

from netorch.agent.service import exporter as exporter_module
from netorch.agent.service.exporter import Exporter, exposition
from netorch.agent.service.metrics import Metric, Seen, metrics_of
from netorch.agent.tasks.base import Turn
from netorch.model.status import AgentStatus, BorderSession, NatUse, TunnelStatus, VpnStatus

ROOT = Path(__file__).parents[4]
NAT, VPN = "nat-00138800000000001", "vpn-00138800000000002"
SEEN = Seen(
    host="e1",
    status=AgentStatus(
        version="1.2",
        pid=1,
        started_at=1767225600.5,
        objects=7,
        counters={"spoofed": 3, "unverified": 2},
        border=(BorderSession(router="198.51.100.254", asn=64512, state="Established"),),
    ),
    in_sync=True,
    revision=4711,
    degraded=1,
    mappings={5000: 12},
    certificate_expires=1798761600.0,
    published={
        f"hoststat/e1/{NAT}": msgspec.json.encode(NatUse(metrics={"ErrorPortAllocation": 5, "ActiveConnectionCount": 9})),
        f"hoststat/e1/{VPN}": msgspec.json.encode(VpnStatus(tunnels={1: TunnelStatus(child="INSTALLED", bytes_in=70)})),
        "hoststat/e1/agent": b"{}",
    },
)
# Source: prometheus.io/docs/instrumenting/exposition_formats, for metrics without a timestamp.
LINE = re.compile(
    r"# HELP [a-z_:][a-z0-9_:]* .+|# TYPE [a-z_:][a-z0-9_:]* (counter|gauge)|"
    r'[a-z_:][a-z0-9_:]*(\{[a-z_]+="([^"\\\n]|\\[\\"n])*"(,[a-z_]+="([^"\\\n]|\\[\\"n])*")*\})? [0-9.e+-]+'
)


def test_a_host_says_what_it_knows() -> None:
    lines = exposition(metrics_of(SEEN)).splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    for wanted in (
        'netorch_agent_info{host="e1",version="1.2"} 1',
        "netorch_agent_start_time_seconds 1767225600.5",
        "netorch_store_in_sync 1",
        "netorch_certificate_expiry_time_seconds 1798761600",
        'netorch_map_cache_entries{vni="5000"} 12',
        'netorch_dropped_packets_total{reason="spoofed"} 3',
        "netorch_map_violations_total 2",
        'netorch_bgp_session_up{router="198.51.100.254"} 1',
        f'netorch_nat_error_port_allocation_total{{gateway="{NAT}"}} 5',
        f'netorch_nat_active_connection_count{{gateway="{NAT}"}} 9',
        f'netorch_vpn_tunnel_up{{vpn="{VPN}",tunnel="1"}} 1',
        f'netorch_vpn_tunnel_in_bytes_total{{vpn="{VPN}",tunnel="1"}} 70',
        "# TYPE netorch_map_violations_total counter",
    ):
        assert wanted in lines


def test_a_host_without_a_certificate_has_no_time_of_its_end() -> None:
    found = metrics_of(msgspec.structs.replace(SEEN, certificate_expires=0.0))
    assert not [metric for metric in found if "certificate" in metric.name]


def test_text_is_escaped() -> None:
    text = exposition([Metric("a", "back\\slash\nline", (({"name": 'q"\\\n'}, 0.0),))])
    assert text.splitlines()[0] == "# HELP a back\\\\slash\\nline"
    assert text.splitlines()[2] == 'a{name="q\\"\\\\\\n"} 0'


def test_dashboard_and_document_name_metrics_that_there_are() -> None:
    names = {metric.name for metric in metrics_of(SEEN)}
    dashboard = json.loads((ROOT / "dashboards/netorch.json").read_text())
    asked = re.findall(r"netorch_\w+", " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"]))
    assert set(asked) <= names
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    document = (ROOT / "docs/design/metrics.md").read_text()
    assert [name for name in names if not name.startswith(("netorch_nat_", "netorch_vpn_")) and f"`{name}`" not in document] == []


def test_what_a_host_is_called_makes_no_gateway_of_what_it_publishes() -> None:
    seen = msgspec.structs.replace(SEEN, host="nat-1", published={f"hoststat/nat-1/{VPN}": msgspec.json.encode(VpnStatus())})
    assert {metric.name: metric.values for metric in metrics_of(seen)}["netorch_nat_active_connection_count"] == ()


class Loop:
    """An agent that only answers, and counts the requests."""

    def __init__(self, address: str) -> None:
        self.asked = 0
        self.exporter = Exporter(address, self._describe)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _describe(self) -> str:
        self.asked += 1
        return f"netorch_asked {self.asked}\n"

    def _run(self) -> None:
        while not self._ended.wait(0.01):
            self.exporter.turn(Turn(now=0.0))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.exporter.close()


@pytest.fixture(params=["unix", "tcp"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "unix":
        yield f"unix:{tmp_path}/metrics"
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    yield f"127.0.0.1:{port}"


def connected(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET)
    host, _, port = address.rpartition(":")
    sock.connect(address.removeprefix("unix:") if host == "unix" else (host, int(port)))
    return sock


def got(address: str, path: str = "/metrics") -> tuple[int, str]:
    client = http.client.HTTPConnection("localhost")
    with closing(client), connected(address) as client.sock:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read().decode()


def test_prometheus_gets_them_and_asks_the_agent_once_a_second_at_most(address: str) -> None:
    with closing(Loop(address)) as loop:
        assert got(address) == (200, "netorch_asked 1\n")
        for _ in range(20):
            status, text = got(address)
            assert (status, text.partition(" ")[0]) == (200, "netorch_asked")
        assert got(address, "/else")[0] == 404
        assert loop.asked < 20


def test_a_client_that_says_nothing_does_not_hold_up_the_agent(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_module._Handler, "timeout", 0.5)
    with closing(Loop(address)) as loop, connected(address):
        loop.exporter.turn(Turn(now=0.0))
        assert got(address)[0] == 200, "after the silent one's time is over"


def test_a_client_that_sends_a_byte_now_and_then_holds_up_neither_others_nor_the_agents_end(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter_module, "CLIENT_S", 0.5)
    monkeypatch.setattr(exporter_module, "ANSWER_S", 0.5)

    def trickle(sock: socket.socket) -> None:
        with suppress(OSError):
            while True:
                sock.sendall(b"G")
                time.sleep(0.05)

    loop = Loop(address)
    with connected(address) as slow:
        threading.Thread(target=trickle, args=(slow,), daemon=True).start()
        assert got(address)[0] == 200
    monkeypatch.setattr(exporter_module, "CLIENT_S", 3600.0)
    with connected(address) as slow:
        threading.Thread(target=trickle, args=(slow,), daemon=True).start()
        loop.close()


def test_an_agent_goes_on_without_metrics_where_the_address_is_taken_or_is_none(address: str) -> None:
    for wrong in (address if not address.startswith("unix:") else "unix:/nowhere/metrics", "nonsense", "127.0.0.1:http"):
        with closing(Loop(address)) as first, closing(Loop(wrong)) as second:
            second.exporter.turn(Turn(now=0.0))
            assert got(address)[0] == 200
            assert (first.asked, second.asked) == (1, 0)


def test_a_file_in_the_place_of_the_socket_stays(tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text("a file of somebody's")
    with closing(Loop(f"unix:{tmp_path}/metrics")):
        assert (tmp_path / "metrics").read_text() == "a file of somebody's"


def test_a_long_turn_leaves_one_text_to_write_however_many_have_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_module, "ANSWER_S", 0.01)
    asked: list[None] = []

    def describe() -> str:
        asked.append(None)
        return "netorch_asked 1\n"

    with closing(Exporter(f"unix:{tmp_path}/metrics", describe)) as exporter:
        for _ in range(3):
            assert got(f"unix:{tmp_path}/metrics")[0] == 503
        exporter.turn(Turn(now=0.0))
        assert len(asked) == 1
        exporter.turn(Turn(now=0.0))
        assert len(asked) == 1
