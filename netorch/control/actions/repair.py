"""The operator's repair of records that are unreadable, contradictory or missing. No other code overwrites such a record.

The store keeps earlier values of a key. A record that others may depend on is put back, never removed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from netorch.control.base.addresses import Cursor, cursor_key
from netorch.control.base.quotas import Quotas, quota_key
from netorch.control.base.writes import ABSENT
from netorch.control.identities.tokens import Admission, EnrolmentService
from netorch.errors import ApiError, Compacted, Conflict, NewerRecord, UnreadableRecord
from netorch.model.endpoints.endpoint import BucketPolicy, GatewayService
from netorch.model.eni import EniStatus, Host, VpcStatus
from netorch.model.ids import is_id, prefix_of, vni_of
from netorch.model.outside.direct_connect import Connection
from netorch.model.outside.public import AddressPool, ElasticIp
from netorch.model.outside.vpn import CustomerGateway
from netorch.model.services.dhcp_options import DhcpOptionsSet
from netorch.model.services.zones import PrivateZone
from netorch.model.status import AgentStatus, HostMtu, NatUse, PublicUse, Sealed, SealingKey, VifStatus, VpnStatus
from netorch.records import keys
from netorch.records.codec import check_sound, decode, decode_value, encode, encode_at, is_keyed
from netorch.records.errors import invalid
from netorch.records.flows import HandedOver, HandoverWord
from netorch.records.inventory import read_inventory
from netorch.records.kinds import BY_PREFIX, BY_TYPE, mapped
from netorch.records.names import wrong_names
from netorch.records.public import wrong_addresses
from netorch.records.valid.accepting import wrong_accepting
from netorch.records.valid.devices import wrong_devices
from netorch.records.valid.ports import wrong_ports
from netorch.store.base import Compare, Delete, KeyValue, Put, Store
from netorch.store.replay import history

# No record refers to records below these prefixes.
_ALONE: Final = (
    "quota/",
    "hoststat/",
    "named/",
    "secret/",
    "join/",
    keys.mtu_prefix(),
    cursor_key(""),
)
_WHOLE: Final[dict[str, type]] = {  # root -> type of all records below it
    "eip": ElasticIp,
    "pool": AddressPool,
    "dxcon": Connection,
    "cgw": CustomerGateway,
    "gwsvc": GatewayService,
    "bucket": BucketPolicy,
    "dopt": DhcpOptionsSet,
    "zone": PrivateZone,
    "secret": Sealed,
}
_ID_TAIL: Final = re.compile(rb"[a-z]+-[0-9a-f]{17}")  # the last word and the digits of an id within a value
_OTHERS: Final = ("host", "name", "alloc")  # roots with other values besides records


def kind_of(key: str) -> type | None:
    """Return the type of the record at a key; None if the value is not decoded as a record."""
    root, _, rest = key.partition("/")
    _, _, what = rest.partition("/")
    if root == "vpc":
        found = BY_PREFIX.get(what.partition("/")[0])
        return found.type if found is not None else None
    if root == "map":
        return mapped(what)
    if root == "host":
        return Host if what == "spec" else None
    if root in _WHOLE:
        return _WHOLE[root]
    if root == "hoststat":
        return AgentStatus if what == "agent" else _status_kind(what)
    if root == "join":
        return EnrolmentService if key == keys.enrolment() else Admission
    if key.startswith(keys.mtu_prefix()):
        return HostMtu
    if key.startswith(quota_key("")):
        return Quotas
    return Cursor if key.startswith(cursor_key("")) else None


def _is_alone(of: type | None) -> bool:
    kind = BY_TYPE.get(of) if of is not None else None
    return kind is not None and not kind.isolates


def _status_kind(what: str) -> type:
    of = {
        "vpc-": VpcStatus,
        "flows/": HandedOver,
        "handover/word": HandoverWord,
        "handover/": HandedOver,
        "nat-": NatUse,
        "eip-": PublicUse,
        "vpn-": VpnStatus,
        "dxvif-": VifStatus,
        "sealing": SealingKey,
    }
    return next((kind for prefix, kind in of.items() if what.startswith(prefix)), EniStatus)


def damaged(store: Store) -> dict[str, tuple[int, UnreadableRecord]]:
    """Return the unreadable, contradictory and missing records by key, with the revision of the damage. Cost: O(store).

    Among them are placements of what is not there, unless another record names it: then its own is to be put back.

    For each VPC the result names one missing record, or one contradictory pair, at a time, and none before all its records are
    readable. If a record is known to be deleted, the record that refers to it is not reported as wrong.
    """
    kvs = store.list("").kvs
    found = {kv.key: (kv.mod_revision, damage) for kv in kvs if (damage := _damage(kv)) is not None}
    inventory = read_inventory(store)
    others = (
        wrong_names(inventory),
        wrong_addresses(inventory),
        wrong_ports(inventory),
        wrong_devices(inventory),
        wrong_accepting(inventory),
    )
    violations = (*inventory.unreadable, *itertools.chain(*others))
    beside = {damage.key: (_changed_at(store, damage.key), damage) for damage in violations if damage.key not in found}
    deleted = {key for key, (revision, _) in beside.items() if revision and store.get(key) is None}
    found |= {key: entry for key, entry in beside.items() if entry[1].beside not in deleted}
    return found | {damage.key: (revision, damage) for revision, damage in _strays(kvs)}


def _strays(kvs: Sequence[KeyValue]) -> Iterator[tuple[int, UnreadableRecord]]:
    """Yield the placements of what is not there and what no record of its VPC names; `kvs` are all records."""
    held = {kv.key for kv in kvs}
    absent = [(kv, placed) for kv in kvs if (placed := _placed(kv.key)) and held.isdisjoint(_needed(placed))]
    concerned = {prefix for _, placed in absent for prefix in (keys.vpc_prefix(vni_of(placed)), keys.map_prefix(vni_of(placed)))}
    named = {tail for kv in kvs if _prefix_of_vpc(kv.key) in concerned for tail in _ID_TAIL.findall(kv.value)}
    for kv, placed in absent:
        if not named.intersection(_ID_TAIL.findall(placed.encode())):
            what = f"places {placed}, which is not there; `netorch store delete {kv.key}` removes it"
            yield kv.mod_revision, UnreadableRecord(kv.key, what)


def _prefix_of_vpc(key: str) -> str:
    """Return `vpc/<vni>/` or `map/<vni>/` of a key of a VPC's record."""
    return "/".join((*key.split("/", 2)[:2], ""))


def _placed(key: str) -> str:
    """Return the id of what a key places on a host; empty for another key, or a kind that this version does not know."""
    root, _, rest = key.partition("/")
    _, _, placed = rest.partition("/placement/")
    return placed if root == "host" and is_id(placed) and prefix_of(placed) in BY_PREFIX else ""


def _needed(placed: str) -> tuple[str, ...]:
    """Return the keys of which one exists if a host has to carry something: its record, its mapping, its instance."""
    instance = f"i-{placed[-17:]}"  # that of a primary interface
    return keys.resource(placed), keys.gateway_mapping(vni_of(placed), placed), keys.resource(instance)


def _changed_at(store: Store, key: str) -> int:
    """Return the revision that last wrote or deleted a key, 0 if the store no longer has it."""
    known = store.get(key)
    if known is not None:
        return known.mod_revision
    try:
        events = [event for event in history(store, [key], 1) if event.key == key]
    except Compacted:
        return 0
    return events[-1].mod_revision if events else 0


def _damage(kv: KeyValue) -> UnreadableRecord | None:
    kind = kind_of(kv.key)
    try:
        check_sound(kv.key, kv.value)
        if kind is not None:
            decode(kv, kind)
    except UnreadableRecord as error:
        return error
    return None


def as_it_was(store: Store, key: str, revision: int = 0) -> bytes:
    """Return the value of a key at a revision (0: now). Where the stored value leaves out its id and VNI, they are added.

    So the value says whose it is, and `put_back` refuses it at another key. An unreadable value is returned unchanged.

    Raises:
      ApiError, Compacted, FutureRevision.
    """
    found = next((kv for kv in store.list(key, revision).kvs if kv.key == key), None)
    if found is None:
        when = f"at revision {revision}" if revision else "now"
        raise invalid(f"key {key}", f"does not exist {when}", "`netorch store check` names the keys that need repairing")
    kind = kind_of(key)
    return encode(decode(found, kind)) if kind is not None and is_keyed(kind) and _damage(found) is None else found.value


def put_back(store: Store, key: str, value: bytes) -> None:
    """Write a record at a key whose record is unreadable, contradictory or missing.

    The value has its id, as `as_it_was` returns it: another record of this kind would be as readable, and isolate nothing.

    Raises:
      ApiError: InvalidParameterValue for a key that needs no repair, or a value that is not such a record, or another key's.
      Conflict: the key was written meanwhile.
    """
    mod_revision, kind = _known_damaged(store, key)
    if (damage := _damage(KeyValue(key, value, 0, 0))) is not None:
        what = kind.__name__ if kind is not None else "value"
        raise invalid(f"key {key}", f"the value is not a {what}: it {damage.what}", "give a valid one") from damage
    if kind is not None and is_keyed(kind):
        if "id" not in msgspec.json.decode(value):
            own = f'"id":"{key.rpartition("/")[2]}"'
            fix = f"take what `netorch store get` prints; or add {own}, if the value is this record's"
            raise invalid(f"key {key}", f"the value does not say which {kind.__name__} it is", fix)
        value = encode_at(key, decode_value(key, value, kind))
    _commit(store, key, mod_revision, Put(key, value))


def discard(store: Store, key: str) -> None:
    """Delete an unreadable record that no other record refers to: a status, a quota, a secret, a flow log.

    Or a placement of something that is not there: the host's agent then removes what it has of it.

    Raises:
      ApiError: InvalidParameterValue for a readable record; DependencyViolation for a record that others may refer to.
      Conflict: the key was written meanwhile.
    """
    mod_revision, kind = _known_damaged(store, key)
    root = key.partition("/")[0]
    is_stray = kind is None and root not in _OTHERS  # the key itself is damaged, so no record can refer to it
    placed = _placed(key)
    if not key.startswith(_ALONE) and not _is_alone(kind) and not is_stray and not placed:
        raise ApiError("DependencyViolation", f"key {key}: other records may refer to it; restore a record instead")
    absent = [Compare(needed, ABSENT) for needed in _needed(placed)] if placed else []
    _commit(store, key, mod_revision, Delete(key), absent)


def _known_damaged(store: Store, key: str) -> tuple[int, type | None]:
    """Return a damaged key's revision (0: missing) and the record type of the key. Raises ApiError for any other key."""
    known, kind = store.get(key), kind_of(key)
    damage = _damage(known) if known is not None else None
    if damage is None and key in (found := damaged(store)):
        damage = found[key][1]
    if isinstance(damage, NewerRecord):
        raise invalid(f"key {key}", "a newer version of netorch wrote it", "upgrade netorch here: there is nothing to repair")
    if damage is None:
        what = "there is nothing to repair" if known is None else "is readable"
        raise invalid(f"key {key}", what, "`netorch store check` names the keys that need repairing")
    return known.mod_revision if known is not None else ABSENT, kind


def _commit(store: Store, key: str, mod_revision: int, op: Put | Delete, absent: Sequence[Compare] = ()) -> None:
    if not store.txn([Compare(key, mod_revision), *absent], [op]).succeeded:
        raise Conflict(f"key {key}: was changed meanwhile; check again")
