"""Keeps the roles of hosts in etcd equal to what the records ask for.

Rights are not part of a transaction of records. So a change grants first, commits, and revokes after that. After a crash in
between, a host has a right too many for a while, never one too few for what it carries; `sweep` repairs that.

Two changes at the same time cannot leave a host without a right: whoever revokes reads the records again afterwards, and whoever
commits reads the rights again afterwards. One of the two sees the other.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from netorch.control.identities.rights import (
    OWN,
    excess,
    mapping_key,
    missing,
    move_rights,
    own_rights,
    rights_in,
    vni_of_right,
)
from netorch.control.identities.tokens import drop_token
from netorch.errors import UnreadableRecord
from netorch.identity.users import HOST, name_of
from netorch.model.eni import Host, NetworkInterface
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import Mapping
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.target import TargetKind
from netorch.records import keys
from netorch.records.codec import decode
from netorch.records.kinds import of_vpc
from netorch.records.part import read_part
from netorch.records.read import get, mappings_of
from netorch.store.access import Access, Right
from netorch.store.base import Compare, Delete, KeyValue, Put, Store, TxnResult
from netorch.store.trial import TrialStore

log = logging.getLogger(__name__)

_ROUNDS: Final = 8  # of reading again after a change; others may change the same role at the same time
_PLACED: Final = tuple(kind.prefix for kind in of_vpc() if kind.placed)


class Touched(msgspec.Struct):
    """Where the rights of one host may change."""

    vnis: set[int] = msgspec.field(default_factory=set)  # OWN: rights that depend on no VPC
    mappings: set[str] = msgspec.field(default_factory=set)  # keys of mappings that begin or end to move


def role_of(host: str) -> str:
    """Return the name of a host's role."""
    return f"host/{host}"


class GrantingStore:
    """A `Store` in front of another one: a transaction that places something on a host gives the host's role what it needs."""

    def __init__(self, store: Store, roles: Access) -> None:
        self._store = store
        self._roles = roles

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a Store has
        return getattr(self._store, name)

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Grant what hosts will need, commit, and revoke what they need no longer."""
        if not any(map(_concerns_rights, ops)):
            return self._store.txn(compares, ops)
        ahead = TrialStore(self._store)
        ahead.txn((), ops)
        touched = touched_by(ops, self._store, ahead)
        for host, where in touched.items():
            held = self._roles.rights(role_of(host))
            if held is not None:
                self._roles.grant(role_of(host), missing(_wanted(ahead, host, where, held)[0], held))
        result = self._store.txn(compares, ops)
        gone = {op.key.split("/")[1] for op in ops if isinstance(op, Delete) and op.key.endswith("/spec") and result.succeeded}
        for host, where in touched.items():
            if host in gone:
                revoke_host(self._store, self._roles, host)
            else:
                settle(self._store, self._roles, host, where)
        return result

    def close(self) -> None:
        """Close both connections."""
        self._roles.close()
        self._store.close()


def users_of(access: Access, host: str) -> list[str]:
    """Return the users that stand for a host of this store."""
    named = (user for user in access.users() if name_of(HOST, user) == host)
    return [user for user in named if access.has_user(user, role_of(host))]


def revoke_host(store: Store, access: Access, host: str) -> bool:
    """Take a host's token and rights away; return whether it had any. Repeat it after an interruption.

    The token goes first, so that a host that is joining now does not become a user after its users were deleted. Its sign of life
    goes last: the host may have written it without a lease, and could not be evacuated as dead as long as it stays.
    """
    drop_token(store, host)
    users, had_role = users_of(access, host), access.rights(role_of(host)) is not None
    for user in users:
        access.delete_user(user)
    access.delete_role(role_of(host))
    store.txn((), [Delete(keys.host_live(host))])
    return bool(users) or had_role


def settle(store: Store, roles: Access, host: str, where: Touched) -> None:
    """Make the rights of a host there what the records ask for; a host without a role has not joined."""
    for _ in range(_ROUNDS):
        held = roles.rights(role_of(host))
        if held is None:
            return
        wanted, known = _wanted(store, host, where, held)
        more, less = missing(wanted, held), excess(wanted, [right for right in held if vni_of_right(right) in known])
        if not more and not less:
            return
        roles.grant(role_of(host), more)
        roles.revoke(role_of(host), less)
    log.warning("rights change again and again host=%s", host)


def sweep(store: Store, roles: Access, host: str) -> None:
    """Make all rights of a host what the records ask for. Cost: O(what is placed on the host)."""
    held = roles.rights(role_of(host))
    if held is None:
        return
    listed = (kv.key.rpartition("/")[2] for kv in store.list(f"{keys.host_prefix(host)}placement/").kvs)
    placed = set(filter(is_id, listed))
    vnis = {OWN, *map(vni_of, placed), *map(vni_of_right, held)}
    mappings = {key for found in placed if is_id(found, "eni") for key in _mappings_of(store, found)}
    settle(store, roles, host, Touched(vnis | {peer for vni in vnis - {OWN} for peer in _peers(store, vni)}, mappings))


def touched_by(ops: Sequence[Put | Delete], before: Store, ahead: Store) -> dict[str, Touched]:
    """Return where a transaction may change rights, by host; `ahead` is the store with its operations applied."""
    touched: dict[str, Touched] = {}
    for op in ops:
        for host, vni in _touched_by(op, before, ahead):
            where = touched.setdefault(host, Touched())
            where.vnis.add(vni)
            if op.key.startswith(keys.map_prefix(vni)):
                where.mappings.add(op.key)
    for where in touched.values():
        where.vnis |= {peer for vni in where.vnis - {OWN} for store in (before, ahead) for peer in _peers(store, vni)}
    return touched


def _concerns_rights(op: Put | Delete) -> bool:
    root, _, rest = op.key.partition("/")
    return root in ("host", "map") or (root == "vpc" and rest[6:11] == "/pcx/") or op.key.startswith(keys.pair_prefix())


def _touched_by(op: Put | Delete, before: Store, ahead: Store) -> Iterator[tuple[str, int]]:
    root, _, rest = op.key.partition("/")
    if root == "host":
        name, _, what = rest.partition("/")
        last = what.rpartition("/")[2]
        yield name, vni_of(last) if is_id(last) else OWN
    elif op.key.startswith(keys.pair_prefix()):
        places = (store.list(keys.pair_prefix(op.key.split("/")[2])).kvs for store in (before, ahead))
        yield from ((decode(kv, str), OWN) for kvs in places for kv in kvs)
    elif root == "map" and rest.count("/") == 1 and not is_id(rest[7:]):
        found = (store.get(op.key) for store in (before, ahead))
        yield from ((host, int(rest[:6], 16)) for kv in found if kv is not None for host in _hosts_of_move(kv))
    elif root == "vpc" and rest[6:11] == "/pcx/":
        vni = int(rest[:6], 16)
        yield from ((host, vni) for store in (before, ahead) for host in read_part(store, [vni]).hosts)


def _hosts_of_move(found: KeyValue) -> tuple[str, ...]:
    with suppress(UnreadableRecord):
        mapping = decode(found, Mapping)
        return (mapping.host, mapping.move.host) if mapping.move is not None else ()
    return ()


def _wanted(store: Store, host: str, where: Touched, held: Collection[Right]) -> tuple[set[Right], set[int]]:
    """Return the rights that a host needs there, and the VNIs of which all records could be read."""
    wanted: set[Right] = set()
    known: set[int] = set()
    for vni in where.vnis:
        prefix = keys.map_prefix(vni)
        moving = {key for key in {*where.mappings, *map(mapping_key, held)} if key.startswith(prefix)}
        with suppress(UnreadableRecord):  # then nothing is revoked there, as in the kernel
            wanted |= _own(store, host) if vni == OWN else _in_vpc(store, host, vni, moving)
            known.add(vni)
    return wanted, known


def _own(store: Store, host: str) -> set[Right]:
    spec = store.get(keys.host_spec(host))
    if spec is None:
        return set()
    found = decode(spec, Host)
    places = store.list(keys.pair_prefix(found.pair)).kvs if found.pair else ()
    return own_rights(found, {decode(kv, str) for kv in places} - {host})


def _in_vpc(store: Store, host: str, vni: int, moving: Collection[str]) -> set[Right]:
    """Return a host's rights in a VPC. Cost: O(peers of the VPC + `moving`)."""
    peerings = _peerings(store, vni)
    placed = {known: _placed(store, host, known) for known in {vni, *(peering.peer_vni for peering in peerings)}}
    mappings = (decode(kv, Mapping) for key in moving if (kv := store.get(key)) is not None)
    own = (mapping for mapping in mappings if _is_own(store, mapping))
    return rights_in(host, vni, placed, peerings).union(*(move_rights(host, mapping) for mapping in own))


def _is_own(store: Store, mapping: Mapping) -> bool:
    """Return whether a mapping's address is its interface's. A host of a move, which may write it, could name any interface."""
    eni = get(store, keys.resource(mapping.eni), NetworkInterface)
    return eni is not None and mapping.address in eni.record.addresses


def _placed(store: Store, host: str, vni: int) -> frozenset[str]:
    """Return the ids that are placed on a host in a VPC, whatever else the host carries."""
    kvs = (kv for kind in _PLACED for kv in store.list(keys.placements_in(host, kind, vni)).kvs)
    return frozenset(kv.key.rpartition("/")[2] for kv in kvs)


def _peerings(store: Store, vni: int) -> list[PeeringConnection]:
    return [decode(kv, PeeringConnection) for kv in store.list(keys.resources(vni, TargetKind.PEERING.value)).kvs]


def _peers(store: Store, vni: int) -> set[int]:
    with suppress(UnreadableRecord):
        return {peering.peer_vni for peering in _peerings(store, vni)}
    return set()


def _mappings_of(store: Store, eni_id: str) -> set[str]:
    with suppress(UnreadableRecord):
        eni = get(store, keys.resource(eni_id), NetworkInterface)
        return set(mappings_of(store, eni.record)) if eni is not None else set()
    return set()
