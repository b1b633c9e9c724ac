"""The operator's repair of records that are unreadable, contradictory or missing. No other code overwrites such a record.

The store keeps earlier values of a key. A record that others may depend on is put back, never removed.
"""

from __future__ import annotations

import itertools
from typing import Final

from netorch.control.base.addresses import Cursor, cursor_key
from netorch.control.base.quotas import Quotas, quota_key
from netorch.control.base.writes import ABSENT
from netorch.control.identities.tokens import Admission, EnrolmentService
from netorch.errors import ApiError, Compacted, Conflict, NewerRecord, UnreadableRecord
from netorch.model.endpoints.endpoint import BucketPolicy, GatewayService
from netorch.model.eni import EniStatus, Host, VpcStatus
from netorch.model.outside.direct_connect import Connection
from netorch.model.outside.public import AddressPool, ElasticIp
from netorch.model.outside.vpn import CustomerGateway
from netorch.model.services.dhcp_options import DhcpOptionsSet
from netorch.model.services.zones import PrivateZone
from netorch.model.status import AgentStatus, HostMtu, NatUse, PublicUse, Sealed, SealingKey, VifStatus, VpnStatus
from netorch.records import keys
from netorch.records.codec import check_sound, decode
from netorch.records.errors import invalid
from netorch.records.flows import HandedOver, HandoverWord
from netorch.records.inventory import read_inventory
from netorch.records.kinds import BY_PREFIX, BY_TYPE, mapped
from netorch.records.names import wrong_names
from netorch.records.public import wrong_addresses
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

    For each VPC the result names one missing record, or one contradictory pair, at a time, and none before all its records are
    readable. If a record is known to be deleted, the record that refers to it is not reported as wrong.
    """
    found = {kv.key: (kv.mod_revision, damage) for kv in store.list("").kvs if (damage := _damage(kv)) is not None}
    inventory = read_inventory(store)
    others = (wrong_names(inventory), wrong_addresses(inventory), wrong_ports(inventory), wrong_devices(inventory))
    violations = (*inventory.unreadable, *itertools.chain(*others))
    beside = {damage.key: (_changed_at(store, damage.key), damage) for damage in violations if damage.key not in found}
    deleted = {key for key, (revision, _) in beside.items() if revision and store.get(key) is None}
    return found | {key: entry for key, entry in beside.items() if entry[1].beside not in deleted}


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
    """Return the raw value of a key at a revision (0: now). Raises ApiError, Compacted, FutureRevision."""
    found = next((kv for kv in store.list(key, revision).kvs if kv.key == key), None)
    if found is None:
        when = f"at revision {revision}" if revision else "now"
        raise invalid(f"key {key}", f"does not exist {when}", "`netorch store check` names the keys that need repairing")
    return found.value


def put_back(store: Store, key: str, value: bytes) -> None:
    """Write a record at a key whose record is unreadable, contradictory or missing.

    Raises:
      ApiError: InvalidParameterValue for a key that needs no repair, or a value that is not such a record.
      Conflict: the key was written meanwhile.
    """
    mod_revision, kind = _known_damaged(store, key)
    if (damage := _damage(KeyValue(key, value, 0, 0))) is not None:
        what = kind.__name__ if kind is not None else "value"
        raise invalid(f"key {key}", f"the value is no {what}: it {damage.what}", "give one that is") from damage
    _commit(store, key, mod_revision, Put(key, value))


def discard(store: Store, key: str) -> None:
    """Delete an unreadable record that no other record refers to: a status, a quota, a secret, a flow log.

    Raises:
      ApiError: InvalidParameterValue for a readable record; DependencyViolation for a record that others may refer to.
      Conflict: the key was written meanwhile.
    """
    mod_revision, kind = _known_damaged(store, key)
    root = key.partition("/")[0]
    is_stray = kind is None and root not in _OTHERS  # the key itself is damaged, so no record can refer to it
    if not key.startswith(_ALONE) and not _is_alone(kind) and not is_stray:
        raise ApiError("DependencyViolation", f"key {key}: other records may refer to it; put a record back instead")
    _commit(store, key, mod_revision, Delete(key))


def _known_damaged(store: Store, key: str) -> tuple[int, type | None]:
    """Return a damaged key's revision (0: missing) and the record type of the key. Raises ApiError for any other key."""
    known, kind = store.get(key), kind_of(key)
    damage = _damage(known) if known is not None else None
    if damage is None and key in (found := damaged(store)):
        damage = found[key][1]
    if isinstance(damage, NewerRecord):
        raise invalid(f"key {key}", "a newer version of netorch wrote it", "upgrade netorch here: there is nothing to repair")
    if damage is None:
        what = "nothing is missing there" if known is None else "can be read"
        raise invalid(f"key {key}", what, "`netorch store check` names the keys that need repairing")
    return known.mod_revision if known is not None else ABSENT, kind


def _commit(store: Store, key: str, mod_revision: int, op: Put | Delete) -> None:
    if not store.txn([Compare(key, mod_revision)], [op]).succeeded:
        raise Conflict(f"key {key}: was written meanwhile; check again")
