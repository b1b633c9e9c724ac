"""Hosts: the machines that carry interfaces."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netorch.control.actions.direct_connect.ports import refuse_ports
from netorch.control.actions.outside.departures import changed_meanwhile, give_up_seats, refuse_placed, set_aside
from netorch.control.actions.outside.drains import admit
from netorch.control.base import checks, pairs
from netorch.control.base.pools import read_pools
from netorch.control.base.ranges import add_host, add_uplink, remove_host, revision_of
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model.check.outside import KnownHost
from netorch.model.eni import Host, Role, Uplink
from netorch.model.outside.uplink import parse_uplink, violation_of, violation_of_edge, violation_of_underlay
from netorch.model.rules import Violation
from netorch.model.status import AgentStatus
from netorch.model.vpc import Tags
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode
from netorch.records.errors import invalid, not_found
from netorch.records.hosts import HostState, read_host, read_hosts, read_loaded, readiness
from netorch.store.base import Store


class HostInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A host, with what the store knows of its condition."""

    host: Host
    live: bool  # its agent holds its lease
    interfaces: int  # how many it is to carry
    gateways: int  # likewise
    readiness: str = ""  # of an edge: whether it is fit to carry packets, as its agent said last


def create_host(
    store: Store,
    caller: Caller,
    *,
    name: str,
    underlay: str,
    role: Role = Role.HYPERVISOR,
    pair: str = "",
    uplink: str = "",
    asn: int = 0,
    gateway_asn: int = 0,
    tags: Tags | None = None,
) -> Host:
    """Return a new host; an edge carries gateways once it has a pair and an uplink: DEVICE,ADDRESS/LENGTH,GATEWAY.

    With AS numbers, of the edge and of its gateway, it announces its pair's pools by BGP. An edge that joins another one gets
    seats of that one's gateways, and is drained until then. If that is interrupted it stays drained: `undrain_host` completes it.

    Raises:
      ApiError: InvalidParameterValue for a bad or taken name, an underlay address that is not IPv4 or another host's, an address
        or uplink of a pool's range, an uplink address that another edge has, an underlay address of the uplink's network, a bad
        uplink or AS number, a pair that has two edges; InvalidParameterCombination for a pair without an uplink, an uplink
        without a pair, AS numbers without an uplink, or a hypervisor with them.
    """
    del caller  # hosts have no owner; the CLI lets operators in only
    read = read_uplink(f"host {name!r}", uplink, asn, gateway_asn)
    host = make_host(name=name, underlay=underlay, role=role, pair=pair, uplink=read, tags=tags)

    def decide() -> tuple[Writes, Host]:
        if store.get(keys.host_spec(name)) is not None:
            raise invalid(f"host {name!r}", "there is one of that name", "choose another name, or delete that one first")
        if store.get(keys.vtep(host.underlay)) is not None:
            raise invalid(f"host {name!r}", f"the underlay address {host.underlay} is another host's", "give each host its own")
        writes = Writes()
        keep_apart(writes, store, host)
        create_writes(writes, host)
        if host.pair:
            pairs.join(writes, host, pairs.places(store.list(keys.pair_prefix(host.pair)).kvs))
        return writes, host

    attempt(store, decide)
    if host.pair:
        admit(store, name)
    return host


def keep_apart(writes: Writes, store: Store, host: Host) -> None:
    """Add the guards of what a new or changed host shares with no pool and no other edge. Raises ApiError."""
    pool_revision, uplink_revision = revision_of(store, keys.pool_ranges()), revision_of(store, keys.uplinks())  # before the look
    add_host(writes, host, (stored.record for stored in read_pools(store).values()), pool_revision)
    edges = (edge for pair in pairs.edges_of(store).values() for edge in pair)
    add_uplink(writes, host, (read_host(store, edge).host for edge in edges), uplink_revision)


def make_host(
    *, name: str, underlay: str, role: Role, pair: str = "", uplink: Uplink | None = None, tags: Tags | None = None
) -> Host:
    """Return a host's record. Raises ApiError for a bad name, underlay address, pair or uplink."""
    where = f"host {name!r}"
    if violation := violation_of_edge(role, pair, uplink):
        raise ApiError("InvalidParameterCombination", f"{where}: {violation.what}; {violation.fix}")
    if uplink is not None and (violation := violation_of(uplink)):
        raise invalid(where, violation.what, violation.fix)
    address = checks.underlay(underlay, f"{where}: underlay")
    if uplink is not None and (violation := violation_of_underlay(address, uplink)):
        raise invalid(where, violation.what, violation.fix)
    return Host(
        name=checks.host_name(where, name),
        underlay=address,
        role=role,
        pair=checks.name(f"{where}: pair", pair) if pair else "",
        uplink=uplink,
        tags=checks.tags(where, tags),
    )


def read_uplink(where: str, text: str, asn: int, gateway_asn: int) -> Uplink | None:
    """Return the uplink that a text describes, None for no text. Raises ApiError."""
    if not text:
        if asn or gateway_asn:
            raise ApiError("InvalidParameterCombination", f"{where}: has AS numbers and no uplink; BGP is spoken there")
        return None
    found = parse_uplink(text, asn, gateway_asn)
    if isinstance(found, Violation):
        raise invalid(where, found.what, found.fix)
    return found


def create_writes(writes: Writes, host: Host) -> None:
    """Add what stores a new host."""
    writes.create(keys.host_spec(host.name), host)
    writes.create(keys.vtep(host.underlay), host.name)


def delete_host(store: Store, caller: Caller, name: str) -> None:
    """Delete a host that carries nothing, or a drained edge, whose partner then carries all gateways alone.

    Nothing can be placed on it from the first transaction on, so nothing slips in between look and deletion.

    Raises:
      ApiError: InvalidHostID.NotFound; DependencyViolation while the host is to carry interfaces, or gateways and is not
        drained, or has connections of Direct Connect; IncorrectState while hosts still send to it, or its partner could not take
        over.
    """
    del caller
    with set_aside(store, name) as aside:
        state = aside.state
        refuse_ports(store, name)
        if state.drained:
            give_up_seats(store, aside)
            state = read_loaded(store, name)
        refuse_placed(state)
        final = Writes()
        aside.end(final)
        final.delete(keys.host_spec(name), state.mod_revision)
        final.drop(keys.vtep(state.host.underlay))
        final.drop(keys.host_drained(name))
        pairs.leave(final, store, state.host)
        remove_host(final, store)
        if not final.commit(store):
            raise changed_meanwhile(name)
    _forget_status(store, name)


def _forget_status(store: Store, name: str) -> None:
    """Drop what the host's agent said last; nobody else would."""
    left = [keys.host_mtu(name), *(kv.key for kv in store.list(f"hoststat/{name}/").kvs)]
    for start in range(0, len(left), 100):
        writes = Writes()
        for key in left[start : start + 100]:
            writes.drop(key)
        writes.commit(store)


def describe_hosts(states: dict[str, HostState], agents: Mapping[str, AgentStatus]) -> list[HostInfo]:
    """Return all hosts by name; `agents` has what their agents have said."""
    return [_info(state, agents.get(name)) for name, state in sorted(states.items())]


def _info(state: HostState, said: AgentStatus | None) -> HostInfo:
    is_edge = state.host.role is Role.EDGE  # what an edge carries are gateways
    return HostInfo(
        host=state.host,
        live=state.live,
        interfaces=0 if is_edge else state.placements,
        gateways=state.placements if is_edge else 0,
        readiness=readiness(state, said),
    )


def describe_host(store: Store, caller: Caller, name: str) -> HostInfo:
    """Return one host. Raises ApiError, UnreadableRecord."""
    del caller
    said = store.get(keys.agent_status(name))
    return _info(read_loaded(store, name), decode(said, AgentStatus) if said is not None else None)


def place_on(writes: Writes, state: HostState) -> None:
    """Add that something is put on a host, which must not be, or be going to be, deleted. Raises ApiError."""
    pairs.expect_staying(writes, state)
    state.placements += 1


def choose_host(hosts: dict[str, HostState], name: str) -> HostState:
    """Return the hypervisor of that name, or without a name the one that carries least.

    Raises:
      ApiError: InvalidHostID.NotFound, InvalidParameterValue for a host that is no hypervisor, InsufficientInstanceCapacity.
    """
    if not name:
        return least_loaded(hosts)
    if name not in hosts:
        raise not_found("host", name)
    state = hosts[name]
    if state.host.role is not Role.HYPERVISOR:
        raise invalid(f"host {name}", f"its role is {state.host.role.value}", "choose a hypervisor")
    return state


def least_loaded(hosts: dict[str, HostState]) -> HostState:
    """Return the hypervisor that carries least; of equals, one whose agent lives, then the first by name.

    Raises:
      ApiError: InsufficientInstanceCapacity when there is no hypervisor.
    """
    fit = [state for state in hosts.values() if state.host.role is Role.HYPERVISOR and not state.deleting]
    if not fit:
        raise ApiError(
            "InsufficientInstanceCapacity", "no host: there is no hypervisor; `netorch host create NAME --underlay IP` makes one"
        )
    return min(fit, key=lambda state: (state.placements, not state.live, state.host.name))


def known_hosts(store: Store) -> dict[str, KnownHost]:
    """Return what each host is for, by name; a damaged one counts as a hypervisor, and is reported when it is used."""
    names = [kv.key.split("/")[1] for kv in store.list("host/").kvs if kv.key.endswith("/spec")]
    known = {name: KnownHost(state.host.role, state.host.pair) for name, state in read_hosts(store).items()}
    return {name: known.get(name, KnownHost(Role.HYPERVISOR)) for name in names}
