"""Changes of an edge: its uplink, its AS numbers, its pair. No host may send to it during a change."""

from __future__ import annotations

from netorch.control.actions.direct_connect.ports import check_ports
from netorch.control.actions.hosts import keep_apart, make_host, read_uplink
from netorch.control.actions.outside.departures import Aside, changed_meanwhile, expect_unused, give_up_seats, set_aside
from netorch.control.actions.outside.drains import admit
from netorch.control.base import pairs
from netorch.control.base.private.tunnels import complete_tunnels
from netorch.control.base.writes import Writes
from netorch.model.eni import Host, Role
from netorch.model.outside.uplink import uplink_text
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid
from netorch.records.hosts import read_host
from netorch.store.base import Store


def update_edge(
    store: Store,
    caller: Caller,
    name: str,
    *,
    pair: str | None = None,
    uplink: str | None = None,
    asn: int | None = None,
    gateway_asn: int | None = None,
) -> Host:
    """Change an edge and return it; None keeps a value, and 0 removes the AS numbers.

    An edge that carries gateways must be drained, and no host may send to it. It stays drained, so that the operator can check
    the new uplink before packets arrive. If the pair changes, the edge hands its gateways to its partner and joins the new pair
    like a new edge: it gets seats of the gateways there, and its drain ends.

    Raises:
      ApiError: InvalidHostID.NotFound; InvalidParameterValue for a hypervisor, a bad uplink or AS number, an uplink address
        that another edge has, or a pair that has two edges; DirectConnectClientException for an uplink that is a connection's
        device, or another pair while the edge has virtual interfaces; InvalidParameterCombination for a pair without an uplink;
        IncorrectState while packets arrive at the edge, or if its partner cannot take over.
    """
    del caller  # hosts have no owner; the CLI admits only operators
    before = read_host(store, name).host
    host = _changed(before, pair, uplink, asn, gateway_asn)
    if host == before:
        return host
    with set_aside(store, name) as aside:
        if aside.state.host != before:
            raise changed_meanwhile(name)
        _commit(store, aside, host)
    if host.pair != before.pair:
        admit(store, name)
    else:
        complete_tunnels(store, name)
    return host


def _changed(host: Host, pair: str | None, uplink: str | None, asn: int | None, gateway_asn: int | None) -> Host:
    """Return the changed edge. Raises ApiError."""
    where, known = f"host {host.name!r}", host.uplink
    if host.role is not Role.EDGE:
        raise invalid(where, f"its role is {host.role.value}", "only edges have a pair and an uplink; choose an edge")
    text = uplink if uplink is not None else (uplink_text(known) if known is not None else "")
    asns = (known.asn, known.gateway_asn) if known is not None else (0, 0)
    numbers = (asn if asn is not None else asns[0], gateway_asn if gateway_asn is not None else asns[1])
    return make_host(
        name=host.name,
        underlay=host.underlay,
        role=host.role,
        pair=pair if pair is not None else host.pair,
        uplink=read_uplink(where, text, *numbers),
        tags=host.tags,
    )


def _commit(store: Store, aside: Aside, host: Host) -> None:
    """Write the changed record of an edge that is set aside. Raises ApiError."""
    before, writes = aside.state.host, Writes()
    keep_apart(writes, store, host)
    check_ports(store, before, host)
    if host.pair != before.pair:
        give_up_seats(store, aside)
        pairs.leave(writes, store, before)
        writes.drop(keys.host_drained(host.name))
        pairs.join(writes, host, pairs.places(store.list(keys.pair_prefix(host.pair)).kvs))
    else:
        expect_unused(store, aside.state, "changing its uplink")
    aside.end(writes)
    writes.change(keys.host_spec(host.name), aside.state.mod_revision, host)
    if not writes.commit(store):
        raise changed_meanwhile(host.name)
