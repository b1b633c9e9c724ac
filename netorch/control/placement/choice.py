"""Which hypervisor carries a new instance: the best of a few that are drawn at random.

A hypervisor that accepts new instances has a key, `alloc/accepts/<digits>/<host>`, whose digits are a hash of its name. Random
digits lead to a random host: the shorter the digits, the more hosts have them. So a draw costs the same in a cloud of ten hosts
and in one of 100,000. With four draws the fullest host has little more than the mean (the power of d choices: Mitzenmacher,
IEEE TPDS 12(10), 2001).

Beside it a full host has another key, `alloc/accepts/<digits>/<host>/full`, so a choice need not read it. This one is a hint:
whatever fills a host writes it, and whatever leaves it drops it, without a comparison. At last a choice looks at some of those
that seem full. A drained host has `alloc/accepts/<digits>/<host>/drained` instead, a hint, too: a search for hosts without
keys skips it.

The key is also the guard. Draining and deleting a host removes it, and the transaction that places an instance compares it. On a
host with a capacity the transaction rewrites it, too, so of two placements at the same time one is decided again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import Final, NamedTuple, Protocol

from netorch.control.base.pairs import expect_staying
from netorch.control.base.writes import ABSENT, Writes, attempt
from netorch.errors import ApiError, UnreadableRecord
from netorch.model.eni import Host, Role
from netorch.model.rules import Violation
from netorch.records import keys
from netorch.records.codec import decode
from netorch.records.errors import invalid, not_found
from netorch.records.hosts import HostState, condition, read_host, read_loaded
from netorch.store.base import KeyValue, Store
from netorch.store.rules import prefix_end

CHOICES: Final = 4  # hosts that are compared
DRAWS: Final = 32  # after so many draws every host that is not marked as full is looked at: nearly all are full or dead
LOOKS: Final = 16  # of the hosts that are marked as full so many are looked at: the mark of one may be old
LEVELS: Final = 4  # hex digits of the first draw: 65,536 places
COMPLETED: Final = 60  # hosts that get their keys in one transaction: two compares each
CROWD: Final = 8  # a draw is among so many hosts at least, so that hosts with few neighbours are not drawn more often


class Accepting(NamedTuple):
    """Hypervisors that accept new instances, in the order of their keys."""

    open: list[str]
    full: list[str]  # marked as full


def accepting_of(found: Iterable[str]) -> Accepting:
    """Return the hypervisors that have these keys below `keys.accepting()`."""
    names, marked = list[str](), set[str]()
    for key in found:
        _, _, _, name, *hint = key.split("/")
        if not hint:
            names.append(name)
        elif key == keys.full(name):
            marked.add(name)
    return Accepting([name for name in names if name not in marked], [name for name in names if name in marked])


class Hosts(Protocol):
    """The hosts of a cloud, for placement."""

    def accepting(self, digits: str) -> Accepting:
        """Return the hypervisors that accept new instances and whose keys begin with these digits."""
        ...

    def state(self, name: str) -> HostState:
        """Return a host's state, complete; the same object each time. Raises ApiError, UnreadableRecord."""
        ...


class StoredHosts:
    """The hosts in the store, each read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._states: dict[str, HostState] = {}
        self._listed: dict[str, Accepting] = {}

    def accepting(self, digits: str) -> Accepting:
        """Return the accepting hypervisors with these digits; of a store without any such key all hypervisors."""
        if digits not in self._listed:
            found = accepting_of(kv.key for kv in self._store.list(keys.accepting(digits)).kvs)
            is_older = not digits and not found.open and not found.full
            self._listed[digits] = Accepting(unlisted(self._store.list("host/").kvs), []) if is_older else found
        return self._listed[digits]

    def state(self, name: str) -> HostState:
        """Return a host's state. Raises ApiError, UnreadableRecord."""
        if name not in self._states:
            self._states[name] = read_loaded(self._store, name)
        return self._states[name]


class PlannedHosts:
    """The hosts of a plan, as they will be after it."""

    def __init__(self, states: Mapping[str, HostState], candidates: Collection[str] | None) -> None:
        """`candidates` are those that may be chosen, because the plan knows their load; None: all."""
        self._states = states
        self._candidates = states.keys() if candidates is None else candidates
        self._keys: list[str] = []

    def accepting(self, digits: str) -> Accepting:
        """Return the accepting hypervisors with these digits, none of them as full: looking at them costs nothing."""
        if not self._keys:
            states = {name: state for name in self._candidates if (state := self._states.get(name)) is not None}
            fit = (name for name, state in states.items() if state.host.role is Role.HYPERVISOR and not state.drained)
            self._keys = sorted(map(keys.accepts, fit))
        prefix = keys.accepting(digits)
        end = bisect_left(self._keys, prefix_end(prefix) or "")
        return accepting_of(self._keys[bisect_left(self._keys, prefix) : end])

    def state(self, name: str) -> HostState:
        """Return a host's state. Raises ApiError."""
        if name not in self._states:
            raise not_found("host", name)
        return self._states[name]


def unlisted(kvs: Iterable[KeyValue]) -> list[str]:
    """Return the hypervisors that are not drained, of a store that an older netorch wrote: none has its key yet.

    `kvs` are all hosts' keys.
    """
    found: set[str] = set()
    drained: set[str] = set()
    for kv in kvs:
        _, name, kind = kv.key.split("/", 2)
        if kind == "drained":
            drained.add(name)
        elif kind == "spec":
            with suppress(UnreadableRecord):  # `netorch status` reports it
                found |= {name} if decode(kv, Host).role is Role.HYPERVISOR else set()
    return sorted(found - drained)


def complete_keys(store: Store) -> None:
    """Give each hypervisor that is not drained its key, if an older netorch registered it without one.

    Else the hosts with keys would get all instances. The next call completes an interrupted one. Cost: O(hosts). It reads only
    hosts that have neither their key nor the mark of a drain, and gives them one of the two.
    """
    held = {kv.key.split("/")[3] for kv in store.list(keys.accepting()).kvs}
    missing = sorted(_names(store, keys.vteps()) - _names(store, keys.pair_prefix()) - held)
    for first in range(0, len(missing), COMPLETED):
        attempt(store, partial(_opening, store, missing[first : first + COMPLETED]))


def _names(store: Store, prefix: str) -> set[str]:
    """Return the hosts that have the keys with a prefix."""
    found = set()
    for kv in store.list(prefix).kvs:
        with suppress(UnreadableRecord):  # `netorch store check` reports it
            found.add(decode(kv, str))
    return found


def _opening(store: Store, names: Iterable[str]) -> tuple[Writes, None]:
    """Return the writes that give hypervisors their keys, or mark them as drained, unless that changes meanwhile."""
    writes = Writes()
    for name in names:
        with suppress(ApiError, UnreadableRecord):
            state = read_host(store, name)
            if state.host.role is not Role.HYPERVISOR:
                continue
            writes.expect(keys.host_spec(name), state.mod_revision)
            if state.drained:
                writes.put(keys.closed(name), name)
            else:
                writes.expect(keys.host_drained(name), ABSENT)
                writes.put(keys.accepts(name), name)
    return writes, None


def choose_host(hosts: Hosts, name: str, vni: int, seed: str, interfaces: int = 1) -> HostState:
    """Return the hypervisor with a name, or without a name the best of a few for an instance of a VPC; `seed` is the randomness.

    A chosen one has room for so many interfaces.

    Raises:
      ApiError: InvalidHostID.NotFound, InvalidParameterValue for a host that is no hypervisor, InsufficientInstanceCapacity.
      UnreadableRecord: the named host's record is damaged.
    """
    if not name:
        return _best(hosts, vni, seed, interfaces)
    state = hosts.state(name)
    if state.host.role is not Role.HYPERVISOR:
        raise invalid(f"host {name}", f"its role is {state.host.role.value}", "choose a hypervisor")
    return state


def _best(hosts: Hosts, vni: int, seed: str, interfaces: int) -> HostState:
    unfit: Counter[str] = Counter()
    fit = list(islice(_fit(hosts, sample(hosts.accepting, seed), interfaces, unfit), CHOICES))
    fit = fit or list(islice(_fit(hosts, marked_full(hosts.accepting, seed), interfaces, unfit), 1))
    if not fit:
        why = ", ".join(f"{count} {'is' if count == 1 else 'are'} {word}" for word, count in sorted(unfit.items()))
        what = f"no hypervisor accepts new instances{f' (of those looked at, {why})' if why else ''}"
        fix = "see netorch host list; `netorch host create NAME --underlay IP` makes one, `netorch host undrain NAME` reopens one"
        raise ApiError("InsufficientInstanceCapacity", f"no host: {what}; {fix}")
    return min(fit, key=lambda state: rank(state, vni))


def _fit(hosts: Hosts, names: Iterable[str], interfaces: int, unfit: Counter[str]) -> Iterator[HostState]:
    """Yield those of the hosts that may get so many interfaces; count the others by the reason."""
    for name in names:
        with suppress(ApiError, UnreadableRecord):  # the key of a host that is gone or damaged; `netorch status` reports it
            state = hosts.state(name)
            if state.host.role is not Role.HYPERVISOR:  # an older netorch drains and deletes hosts without their keys
                continue
            if state.silent or state.deleting or state.drained:
                unfit[condition(state)] += 1
            elif not state.has_room(interfaces):
                unfit["full"] += 1
            else:
                yield state


def rank(state: HostState, vni: int) -> tuple[int, bool, int, str]:
    """Return what orders hosts for an instance of a VPC, the best first.

    First comes the host with the fewest interfaces of the VPC, so that its failure hurts the VPC least; then one whose agent
    runs, then the one with the fewest interfaces in all, then the first by name.
    """
    return (state.in_vpcs[vni], not state.live, state.placements, state.host.name)


def sample(accepting: Callable[[str], Accepting], seed: str) -> Iterator[str]:
    """Yield hypervisors that are not marked as full, in random order, each once; all of them if asked long enough.

    `accepting` is as of `Hosts`. A draw costs one listing of a few hundred keys at most, the first one up to five listings. If
    few hosts are not full, the last listing has the keys of all hosts.
    """
    drawn: set[str] = set()
    depth = LEVELS
    for number in range(DRAWS):
        digits = blake2b(f"{seed}/{number}".encode(), digest_size=8).hexdigest()
        while len((found := accepting(digits[:depth])).open) < CROWD and depth:
            depth -= 1
        if not depth:
            break
        name = found.open[int(digits[8:], 16) % len(found.open)]
        if name not in drawn:
            drawn.add(name)
            yield name
    every = accepting("") if depth else found
    yield from _shuffled((name for name in every.open if name not in drawn), seed)


def marked_full(accepting: Callable[[str], Accepting], seed: str) -> Iterator[str]:
    """Yield some of the hypervisors that are marked as full, in random order: the last resort, because a mark may be old."""
    yield from _shuffled(accepting("").full, seed)[:LOOKS]


def _shuffled(names: Iterable[str], seed: str) -> list[str]:
    return sorted(names, key=lambda name: blake2b(f"{seed}/{name}".encode(), digest_size=8).digest())


def refusal(state: HostState, interfaces: int) -> tuple[str, Violation] | None:
    """Return why a hypervisor does not accept this many more interfaces, with EC2's error code; None if it does."""
    name = state.host.name
    if state.drained:
        fix = f"choose another host, or reopen it: netorch host undrain {name}"
        return "IncorrectState", Violation("is drained and accepts no new instances", fix)
    if not state.has_room(interfaces):
        what = f"may carry {state.host.capacity} interfaces and has {state.placements}"
        fix = f"choose another host, or let the operator raise its capacity: netorch host update {name} --capacity NUMBER"
        return "InsufficientCapacityOnHost", Violation(what, fix)
    return None


def place_on(writes: Writes, state: HostState, vni: int, interfaces: int = 1) -> None:
    """Add the condition of a new placement: the hypervisor still accepts instances, and has room. Count the interfaces.

    Raises:
      ApiError: IncorrectState for a host that is drained, being deleted or changed; InsufficientCapacityOnHost for a full one.
    """
    name = state.host.name
    expect_staying(writes, state)
    if refused := refusal(state, interfaces):
        code, why = refused
        raise ApiError(code, f"host {name}: {why.what}; {why.fix}")
    if not state.accepts:  # an older netorch registered the host, and wrote no key
        writes.expect(keys.host_drained(name), ABSENT)
    writes.expect(keys.accepts(name), state.accepts)
    count_on(state, vni, interfaces)
    if state.host.capacity:
        writes.put(keys.accepts(name), name)
        mark_full(writes, state)


def mark_full(writes: Writes, state: HostState) -> None:
    """Mark a hypervisor as full, or as not full; `state` is complete."""
    if state.has_room():
        writes.drop(keys.full(state.host.name))
    else:
        writes.put(keys.full(state.host.name), state.host.name)


def count_on(state: HostState, vni: int, interfaces: int) -> None:
    """Count more interfaces of a VPC on a host that the same decision has read, or fewer."""
    state.placements += interfaces
    state.in_vpcs[vni] += interfaces
