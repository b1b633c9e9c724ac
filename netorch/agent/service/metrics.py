"""An agent's metrics for Prometheus: each with its name, help text and current values. Pure.

docs/design/metrics.md lists them. A metric keeps its name and meaning: dashboards and alerts outside this repository use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from netorch.model.drop_reason import VIOLATIONS
from netorch.model.outside.nat_metrics import ACTIVE, METRICS
from netorch.model.status import ESTABLISHED, AgentStatus, NatUse, TunnelStatus, VpnStatus
from netorch.records import keys
from netorch.records.codec import decode_value

Labels = Mapping[str, str]
_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class Metric(msgspec.Struct, frozen=True):
    """A metric, and its value for each set of labels; a metric whose name ends in _total only grows."""

    name: str
    help: str
    values: tuple[tuple[Labels, float], ...]

    @property
    def type(self) -> str:
        """Return the Prometheus type of the metric."""
        return "counter" if self.name.endswith("_total") else "gauge"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's state at one moment."""

    host: str
    status: AgentStatus
    in_sync: bool  # whether it follows the store
    revision: int  # store revision up to which it has followed
    degraded: int  # degraded VPCs on this host
    mappings: Mapping[int, int]  # number of mappings by VNI
    published: Mapping[str, bytes]  # records published, or waiting for the store
    certificate_expires: float = 0.0  # when the host's certificate expires, seconds since 1970; 0: it has none


def metrics_of(seen: Seen) -> list[Metric]:
    """Return all metrics of a host."""
    status = seen.status
    dropped = tuple(({"reason": reason}, float(count)) for reason, count in sorted(status.counters.items()))
    violations = sum(status.counters.get(name, 0) for name in VIOLATIONS)
    return [
        _one("netorch_agent_info", "The agent's version.", 1, {"host": seen.host, "version": status.version}),
        _one("netorch_agent_start_time_seconds", "When the agent started, seconds since 1970.", status.started_at),
        _one("netorch_store_in_sync", "1: the agent follows the store, 0: the store is away.", seen.in_sync),
        _one("netorch_store_revision", "The revision of the store that the agent has followed.", seen.revision),
        _one("netorch_kernel_objects", "Kernel objects that are netorch's.", status.objects),
        _one("netorch_kernel_writes_total", "Operations on the kernel since the agent started.", status.writes),
        _one(
            "netorch_drift_repaired_total",
            "Objects that were changed by others and repaired since the agent started.",
            status.repaired,
        ),
        _one("netorch_drift_foreign_objects", "Foreign objects in netorch's own namespace.", len(status.foreign)),
        _one("netorch_vpcs", "VPCs that the host carries.", len(seen.mappings)),
        _one("netorch_vpcs_degraded", "VPCs that are not fully programmed on the host.", seen.degraded),
        _one("netorch_host_trouble", "1: the whole host has a problem, see netorch status.", bool(status.trouble)),
        *_of_certificate(seen),
        Metric(
            "netorch_map_cache_entries",
            "Mappings of a VPC that the host holds.",
            tuple(({"vni": str(vni)}, float(count)) for vni, count in sorted(seen.mappings.items())),
        ),
        _one("netorch_map_violations_total", "VXLAN packets dropped because their sender may not send them.", violations),
        Metric("netorch_dropped_packets_total", "Packets that were dropped, by reason.", dropped),
        _one(
            "netorch_connection_table_percent",
            "How full the connection table is, reported from one half on.",
            status.table_percent,
        ),
        _one("netorch_vpcs_refused", "VPCs that hold too many connections to open new ones.", len(status.refused)),
        *_of_edge(status),
        *_of_nat_gateways(seen),
        *_of_tunnels(seen),
    ]


def _one(name: str, text: str, value: float, labels: Labels | None = None) -> Metric:
    return Metric(name, text, ((labels or {}, float(value)),))


def _of_certificate(seen: Seen) -> Iterator[Metric]:
    if seen.certificate_expires:
        text = "When the host's certificate for the store expires, seconds since 1970."
        yield _one("netorch_certificate_expiry_time_seconds", text, seen.certificate_expires)


def _of_edge(status: AgentStatus) -> Iterator[Metric]:
    yield _one("netorch_edge_ready", "1: the host is an edge and is ready to carry packets.", not status.not_ready)
    sessions = tuple(({"router": each.router}, float(each.state == ESTABLISHED)) for each in status.border)
    yield Metric("netorch_bgp_session_up", "1: the session with the border router is established.", sessions)
    yield _one("netorch_edges_silent", "Edges of the host's VPCs that do not report ready.", len(status.silent))


def _of_nat_gateways(seen: Seen) -> Iterator[Metric]:
    """Yield EC2's metrics of NAT gateways, e.g. PacketsDropCount as netorch_nat_packets_drop_count_total."""
    prefix = keys.nat_use(seen.host, "nat-")
    found = ((key, value) for key, value in seen.published.items() if key.startswith(prefix))
    uses = {key.rpartition("/")[2]: decode_value(key, value, NatUse) for key, value in found}
    for metric in METRICS:
        name = f"netorch_nat_{_WORD.sub('_', metric).lower()}{'' if metric == ACTIVE else '_total'}"
        values = tuple(({"gateway": gateway}, float(use.metrics.get(metric, 0))) for gateway, use in sorted(uses.items()))
        yield Metric(name, f"{metric} of a NAT gateway on this edge, as EC2 defines it.", values)


def _of_tunnels(seen: Seen) -> Iterator[Metric]:
    prefix = keys.tunnel_status(seen.host, "vpn-")
    found = sorted((key, decode_value(key, value, VpnStatus)) for key, value in seen.published.items() if key.startswith(prefix))
    tunnels = [
        ({"vpn": key.rpartition("/")[2], "tunnel": str(number)}, tunnel)
        for key, status in found
        for number, tunnel in sorted(status.tunnels.items())
    ]

    def of_each(value: Callable[[TunnelStatus], float]) -> tuple[tuple[Labels, float], ...]:
        return tuple((labels, float(value(tunnel))) for labels, tunnel in tunnels)

    yield Metric("netorch_vpn_tunnel_up", "1: the tunnel carries packets.", of_each(lambda tunnel: tunnel.is_up))
    yield Metric("netorch_vpn_tunnel_in_bytes_total", "Bytes received through the SA.", of_each(lambda tunnel: tunnel.bytes_in))
    yield Metric("netorch_vpn_tunnel_out_bytes_total", "Bytes sent through the SA.", of_each(lambda tunnel: tunnel.bytes_out))
