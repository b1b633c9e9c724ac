"""The ends of a VPC's tunnels and virtual interfaces at an edge, and the routes that the edge has learned, from records.

The store does not tell the device of a BGP route, only that the edge reaches the prefix. A model of the edge uses the
first suitable device that is up. The edge's kernel has the actual one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netorch.control.views.direct_connect import why_down as why_vif_down
from netorch.control.views.vpn_health import why_down
from netorch.model.mapping import Reach
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.vpn import VpnConnection
from netorch.model.routing.effective import Origin
from netorch.model.routing.metrics import DX_BGP, VPN_BGP
from netorch.model.status import TunnelStatus, VifStatus, VpnStatus
from netorch.records import keys
from netorch.records.read import get
from netorch.records.vpc import VpcRecords
from netorch.state.l3 import Route
from netorch.state.names import VPN_GATEWAY_NUMBER, tunnel_name, vlan_name, vrf_table
from netorch.store.base import Store
from netorch.trace.codes import Code
from netorch.trace.host_model import SiteEnd

_BGP_METRICS = {Origin.DIRECT_CONNECT: DX_BGP, Origin.VPN_BGP: VPN_BGP}


def site_ends(store: Store, records: VpcRecords, edge: str) -> dict[str, SiteEnd]:
    """Return the ends at an edge by device, from the edge's last report. Raises UnreadableRecord."""
    found = {}
    connections = (found for found in records.each(VpnConnection) if any(tunnel.edge == edge for tunnel in found.tunnels))
    for connection in sorted(connections, key=lambda one: one.number):
        status = get(store, keys.tunnel_status(edge, connection.id), VpnStatus)
        for place, tunnel in enumerate(connection.tunnels):
            if tunnel.edge == edge:
                said = status.record.tunnels.get(place + 1) if status is not None else None
                found[tunnel_name(records.vni, connection.id, place)] = _tunnel(connection, place + 1, said)
    for vif in sorted(records.each(VirtualInterface), key=lambda one: one.id):
        if vif.edge == edge and vif.confirmed and not vif.rejected:
            said_of_vif = get(store, keys.tunnel_status(edge, vif.id), VifStatus)
            found[vlan_name(records.vni, vif.id)] = _vif(vif, said_of_vif.record if said_of_vif is not None else VifStatus())
    return found


def _tunnel(connection: VpnConnection, number: int, said: TunnelStatus | None) -> SiteEnd:
    known = connection.tunnels[number - 1].remote or connection.address
    remote = (said.remote if said is not None else "") or known
    words = f"tunnel {number} of VPN connection {connection.name}{f' to {remote}' if remote else ''}"
    if said is None:
        return SiteEnd(words=words, code=Code.BAD_STATE_VPN, problem="its edge has not reported anything yet")
    problem = "" if said.is_up else why_down(said)
    return SiteEnd(words=words, code=Code.BAD_STATE_VPN, problem=problem, learned=0 if connection.static else said.accepted)


def _vif(vif: VirtualInterface, said: VifStatus) -> SiteEnd:
    outer = f" inside {vif.outer_vlan}" if vif.outer_vlan else ""
    words = f"virtual interface {vif.name}, VLAN {vif.vlan}{outer} of {vif.device}"
    problem = why_vif_down(vif, said) if not said.carrier else ""
    return SiteEnd(words=words, code=Code.BAD_STATE_VIRTUAL_INTERFACE, problem=problem, learned=said.accepted)


def learned_routes(records: VpcRecords, edge: str, ends: Mapping[str, SiteEnd]) -> Iterator[Route]:
    """Yield the BGP routes that an edge has reported, each to one device; `ends` are all ends at the edge."""
    table = vrf_table(records.vni, VPN_GATEWAY_NUMBER)
    learning = [ifname for ifname, end in ends.items() if end.learned and not end.problem]
    for reach in records.each(Reach):
        for one in reach.prefixes if reach.edge == edge else ():
            origin = Origin(one.origin)
            letters = "d" if origin is Origin.DIRECT_CONNECT else "xy"
            ifname = next((ifname for ifname in learning if ifname[0] in letters), "")
            if origin in _BGP_METRICS and one.as_path_length and ifname:  # a static route has no AS path
                metric = _BGP_METRICS[origin] + one.as_path_length
                yield Route(vni=records.vni, table=table, dst=one.prefix, ifname=ifname, metric=metric)
