"""Problems and notes on VPN tunnels, from their edges' last reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from netorch.control.views.vpn import Telemetry, telemetry_of
from netorch.errors import UnreadableRecord
from netorch.model.outside.tunnel_problems import sentence
from netorch.model.outside.vpn import VpnConnection, leads_to_aws
from netorch.model.status import Sealed, TunnelStatus
from netorch.records import keys
from netorch.records.codec import decode
from netorch.records.inventory import Inventory


def vpn_problems(inventory: Inventory) -> Iterator[str]:
    """Yield a sentence for each tunnel that an edge reports as down."""
    for path, connection in _each(inventory):
        for number, tunnel in enumerate(connection.tunnels, 1):
            said = _said(inventory, tunnel.edge, connection.id, number)
            has_secret = number in _sealed(inventory, tunnel.edge, connection.id)
            telemetry, message = telemetry_of(connection, number, said, has_secret=has_secret)
            if said is not None and telemetry is Telemetry.DOWN:
                why = why_down(said) if has_secret else message
                yield f"tunnel {number} of VPN connection {path} at edge {tunnel.edge} is down: {why}; netorch vpn doctor {path}"


def vpn_notes(inventory: Inventory) -> Iterator[str]:
    """Yield a sentence for each connection with a tunnel that has no edge."""
    for path, connection in _each(inventory):
        if lacking := [str(number) for number, tunnel in enumerate(connection.tunnels, 1) if not tunnel.edge]:
            what = f"tunnel {' and tunnel '.join(lacking)} of VPN connection {path} has no edge"
            fix = "add an edge to the pair: netorch host create --role edge --pair PAIR"
            if leads_to_aws(connection):
                fix = f"AWS knows only its former edge: netorch vpn delete {path}, and import a connection to another edge"
            yield f"{what}; {fix}"


def why_down(said: TunnelStatus) -> str:
    """Return why a tunnel with a secret is down, according to its edge."""
    if said.problem:
        return sentence(said.problem, said.facts)
    if not said.is_up:
        return f"IKE is {said.ike or 'not begun'}, and there is no ESP SA"
    reason = f" ({said.bgp_reason})" if said.bgp_reason else ""
    return f"IPsec is up, but its BGP session is {said.bgp or 'missing'}{reason}"


def _said(inventory: Inventory, edge: str, vpn_id: str, number: int) -> TunnelStatus | None:
    status = inventory.vpn_status.get((edge, vpn_id))
    return status.tunnels.get(number) if status is not None else None


def _sealed(inventory: Inventory, edge: str, vpn_id: str) -> frozenset[int]:
    """Return the tunnels of a connection for which an edge has a secret; unreadable secrets count as missing."""
    found = inventory.raw.get(keys.secret(edge, vpn_id)) if edge else None
    if found is not None:
        with suppress(UnreadableRecord):
            return frozenset(decode(found, Sealed).boxes)
    return frozenset()


def _each(inventory: Inventory) -> Iterator[tuple[str, VpnConnection]]:
    """Yield all VPN connections with their paths."""
    for _, records in sorted(inventory.vpcs.items()):
        vpc = records.vpc.record
        found = sorted(records.each(VpnConnection), key=lambda connection: connection.name)
        yield from ((f"{vpc.owner}/{vpc.name}/{connection.name}", connection) for connection in found)
