"""Hosts: the machines that carry interfaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from netorch.control.actions.direct_connect.ports import refuse_ports
from netorch.control.actions.outside.departures import changed_meanwhile, give_up_seats, refuse_placed, set_aside
from netorch.control.actions.outside.drains import admit
from netorch.control.base import checks, pairs
from netorch.control.base.pools import read_pools
from netorch.control.base.ranges import add_host, add_uplink, remove_host, revision_of
from netorch.control.base.writes import Writes, attempt
from netorch.control.placement.choice import complete_keys, mark_full
from netorch.errors import ApiError, UnreadableRecord
from netorch.model import rules
from netorch.model.check.outside import KnownHost
from netorch.model.eni import Host, Role, Uplink
from netorch.model.outside.uplink import parse_uplink, violation_of, violation_of_edge, violation_of_underlay
from netorch.model.rules import Violation
from netorch.model.status import AgentStatus
from netorch.model.vpc import Tags
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode
from netorch.records.errors import invalid
from netorch.records.hosts import HostState, condition, read_host, read_loaded, read_said, readiness
from netorch.store.base import Store


class HostInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A host with its condition according to the store."""

    host: Host
    live: bool  # its agent holds its lease
    interfaces: int  # number of interfaces placed on it
    gateways: int  # number of gateways placed on it
    state: str  # pending, available, under-assessment, drained, deleting
    readiness: str = ""  # edges: whether it can carry packets, from its agent's last status


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
    capacity: int = 0,
    tags: Tags | None = None,
) -> Host:
    """Create a host and return it; an edge carries gateways once it has a pair and an uplink: DEVICE,ADDRESS/LENGTH,GATEWAY.

    With AS numbers, of the edge and of its gateway, the edge announces its pair's pools by BGP. An edge that joins another edge
    gets seats of its partner's gateways, and is drained until then. If this is interrupted, it stays drained; `undrain_host`
    completes it.

    Raises:
      ApiError: InvalidParameterValue for a bad or taken name, a bad capacity, an underlay address that is not IPv4 or another
        host's, an address or uplink in a pool's range, an uplink address that another edge has, an underlay address in the
        uplink's network, a bad uplink or AS number, a pair that has two edges; InvalidParameterCombination for a pair without an
        uplink, an uplink without a pair, AS numbers without an uplink, or a hypervisor with any of them.
    """
    del caller  # hosts have no owner; the CLI admits only operators
    read = read_uplink(f"host {name!r}", uplink, asn, gateway_asn)
    host = make_host(name=name, underlay=underlay, role=role, pair=pair, uplink=read, capacity=capacity, tags=tags)

    def decide() -> tuple[Writes, Host]:
        if store.get(keys.host_spec(name)) is not None:
            raise invalid(f"host {name!r}", "the name is in use", "choose another name, or delete that one first")
        if store.get(keys.vtep(host.underlay)) is not None:
            raise invalid(f"host {name!r}", f"another host has the underlay address {host.underlay}", "give each host its own")
        writes = Writes()
        keep_apart(writes, store, host)
        create_writes(writes, host)
        if host.pair:
            pairs.join(writes, host, pairs.places(store.list(keys.pair_prefix(host.pair)).kvs))
        return writes, host

    if role is Role.HYPERVISOR:
        complete_keys(store)
    attempt(store, decide)
    if host.pair:
        admit(store, name)
    return host


def keep_apart(writes: Writes, store: Store, host: Host) -> None:
    """Add the guards that keep a new or changed host apart from pools and other edges. Raises ApiError."""
    pool_revision, uplink_revision = revision_of(store, keys.pool_ranges()), revision_of(store, keys.uplinks())  # read first
    add_host(writes, host, (stored.record for stored in read_pools(store).values()), pool_revision)
    edges = (edge for pair in pairs.edges_of(store).values() for edge in pair)
    add_uplink(writes, host, (read_host(store, edge).host for edge in edges), uplink_revision)


def make_host(
    *,
    name: str,
    underlay: str,
    role: Role,
    pair: str = "",
    uplink: Uplink | None = None,
    capacity: int = 0,
    tags: Tags | None = None,
) -> Host:
    """Return a host's record. Raises ApiError for a bad name, underlay address, pair, uplink or capacity."""
    where = f"host {name!r}"
    if violation := violation_of_edge(role, pair, uplink):
        raise ApiError("InvalidParameterCombination", f"{where}: {violation.what}; {violation.fix}")
    if uplink is not None and (violation := violation_of(uplink)):
        raise invalid(where, violation.what, violation.fix)
    if violation := rules.capacity(capacity, hypervisor=role is Role.HYPERVISOR):
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
        capacity=capacity,
        tags=checks.tags(where, tags),
    )


def set_capacity(store: Store, caller: Caller, name: str, capacity: int) -> Host:
    """Set how many interfaces a hypervisor may carry (0: any number), and return it. It keeps those that it has.

    Raises:
      ApiError: InvalidHostID.NotFound; InvalidParameterValue for an edge, or a number that is none.
    """
    del caller  # hosts have no owner; the CLI admits only operators

    def decide() -> tuple[Writes, Host]:
        state, writes = read_loaded(store, name), Writes()
        if violation := rules.capacity(capacity, hypervisor=state.host.role is Role.HYPERVISOR):
            raise invalid(f"host {name!r}", violation.what, violation.fix)
        host = msgspec.structs.replace(state.host, capacity=capacity)
        if host != state.host:
            writes.change(keys.host_spec(name), state.mod_revision, host)
            mark_full(writes, msgspec.structs.replace(state, host=host))
        return writes, host

    if capacity:
        complete_keys(store)  # a placement rewrites the key of a host with a capacity
    return attempt(store, decide)


def read_uplink(where: str, text: str, asn: int, gateway_asn: int) -> Uplink | None:
    """Return the uplink that a text describes, None for an empty text. Raises ApiError."""
    if not text:
        if asn or gateway_asn:
            raise ApiError("InvalidParameterCombination", f"{where}: has AS numbers but no uplink, and BGP runs over the uplink")
        return None
    found = parse_uplink(text, asn, gateway_asn)
    if isinstance(found, Violation):
        raise invalid(where, found.what, found.fix)
    return found


def create_writes(writes: Writes, host: Host) -> None:
    """Add the records of a new host."""
    writes.create(keys.host_spec(host.name), host)
    if host.role is Role.HYPERVISOR:
        writes.put(keys.accepts(host.name), host.name)
    writes.create(keys.vtep(host.underlay), host.name)


def delete_host(store: Store, caller: Caller, name: str) -> None:
    """Delete a host that carries nothing, or a drained edge, whose partner then carries all gateways alone.

    The first transaction stops all placements on the host, so nothing is placed between the checks and the deletion.

    Raises:
      ApiError: InvalidHostID.NotFound; DependencyViolation while interfaces are placed on the host, or gateways and it is not
        drained, or it has Direct Connect connections; IncorrectState while hosts still send to it, or its partner cannot take
        over.
    """
    del caller
    with set_aside(store, name) as aside:
        state = aside.state
        refuse_ports(store, name)
        if state.drained and state.host.pair:
            give_up_seats(store, aside)
            state = read_loaded(store, name)
        refuse_placed(state)
        final = Writes()
        aside.end(final)
        final.delete(keys.host_spec(name), state.mod_revision)
        final.drop(keys.vtep(state.host.underlay))
        final.drop(keys.host_drained(name))
        final.drop(keys.accepts(name))
        final.drop(keys.full(name))
        final.drop(keys.closed(name))
        pairs.leave(final, store, state.host)
        remove_host(final, store)
        if not final.commit(store):
            raise changed_meanwhile(name)
    _forget_status(store, name)


def _forget_status(store: Store, name: str) -> None:
    """Delete what the host's agent wrote of the host; no other code would."""
    left = [keys.host_live(name), keys.host_mtu(name), *(kv.key for kv in store.list(f"hoststat/{name}/").kvs)]
    for start in range(0, len(left), 100):
        writes = Writes()
        for key in left[start : start + 100]:
            writes.drop(key)
        writes.commit(store)


def describe_hosts(states: dict[str, HostState], agents: Mapping[str, AgentStatus]) -> list[HostInfo]:
    """Return all hosts by name; `agents` holds their agents' status."""
    return [_info(state, agents.get(name)) for name, state in sorted(states.items())]


def _info(state: HostState, said: AgentStatus | None) -> HostInfo:
    is_edge = state.host.role is Role.EDGE  # an edge's placements are gateways
    return HostInfo(
        host=state.host,
        live=state.live,
        interfaces=0 if is_edge else state.placements,
        gateways=state.placements if is_edge else 0,
        state=condition(state),
        readiness=readiness(state, said),
    )


def describe_host(store: Store, caller: Caller, name: str) -> HostInfo:
    """Return one host. Raises ApiError, UnreadableRecord."""
    del caller
    return _info(read_loaded(store, name), read_said(store, name))


class KnownHosts(Mapping[str, KnownHost]):
    """The stored hosts by name, each read when it is asked for: a file names few of many.

    A damaged host counts as a hypervisor, and is reported when used. Cost of a listing: O(hosts + interfaces).
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, name: str) -> KnownHost:
        """Return a host's role and pair. Raises KeyError."""
        kv = self._store.get(keys.host_spec(name))
        if kv is None:
            raise KeyError(name)
        try:
            host = decode(kv, Host)
        except UnreadableRecord:
            return KnownHost(Role.HYPERVISOR)
        return KnownHost(host.role, host.pair)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of all hosts."""
        return (kv.key.split("/")[1] for kv in self._store.list("host/").kvs if kv.key.endswith("/spec"))

    def __len__(self) -> int:
        """Return how many hosts there are."""
        return sum(1 for _ in self)
