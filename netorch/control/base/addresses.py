"""Choose the next free address of a subnet, and tell which addresses are taken.

A mapping holds an address of a VPC. While the interface is not attached, the key `alloc/ip/<vni>/<address>` holds it.
Every interface that is added advances the cursor of its subnet. So a freed address is reused as late as possible, and a search
does not visit all taken addresses. Of two interfaces that are added at the same time, one is decided again. A deletion of the
subnet detects that an interface was added meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netorch.control.base import checks
from netorch.control.base.writes import ABSENT, Writes
from netorch.errors import ApiError
from netorch.model.addr import Prefix, format_ip, parse_prefix
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.codec import decode
from netorch.store.base import Store

_PROBES = 16  # single look-ups before the code lists the VPC's addresses instead
_IPV6_WINDOW = 1 << 32  # an IPv6 subnet is never full, but a search must end


class Cursor(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where the search for the next free address starts: offsets from the first address that the subnet gives out."""

    ipv4: int = 0
    ipv6: int = 0


def cursor_key(subnet_id: str) -> str:
    """Return the key of a subnet's cursor."""
    return f"alloc/subnet/{subnet_id}"


def claim_prefix(vni: int) -> str:
    """Return the prefix of the addresses that unattached interfaces hold."""
    return f"alloc/ip/{vni:06x}/"


def claim_key(vni: int, address: str) -> str:
    """Return the key by which an unattached interface holds an address."""
    return claim_prefix(vni) + address


def cursor_revision(store: Store, subnet_id: str) -> int:
    """Return the revision of a subnet's cursor, 0 when it never moved."""
    kv = store.get(cursor_key(subnet_id))
    return ABSENT if kv is None else kv.mod_revision


class Taken:
    """Tells from the store which addresses of a VPC are taken: a few by single look-ups, many by one listing."""

    def __init__(self, store: Store, vni: int) -> None:
        self._store = store
        self._vni = vni
        self._probes = 0
        self._listed: set[str] | None = None

    def __call__(self, address: str) -> bool:
        if self._listed is None and self._probes < _PROBES:
            self._probes += 1
            found = self._store.get(keys.mapping(self._vni, address)) or self._store.get(claim_key(self._vni, address))
            return found is not None
        if self._listed is None:
            prefixes = (keys.map_prefix(self._vni), claim_prefix(self._vni))
            self._listed = {kv.key.removeprefix(prefix) for prefix in prefixes for kv in self._store.list(prefix).kvs}
        return address in self._listed


class AddressPool:
    """The addresses of one subnet during one decision."""

    def __init__(self, subnet: Subnet, cursor: Cursor, mod_revision: int, taken: Callable[[str], bool]) -> None:
        self.subnet = subnet
        self._cursor = cursor
        self._mod_revision = mod_revision
        self._taken = taken
        self._given: set[str] = set()
        self._prefixes = {4: parse_prefix(subnet.cidr)}
        if subnet.ipv6_cidr:
            self._prefixes[6] = parse_prefix(subnet.ipv6_cidr)

    def requested(self, text: str, version: int) -> str:
        """Return the requested address in canonical form, or nothing if none was requested.

        Raises:
          ApiError: InvalidIPAddress.InUse, InvalidParameterValue for an address that the subnet does not give out.
        """
        if not text:
            return ""
        where = f"subnet {self.subnet.name} ({self.subnet.id})"
        address = checks.address(text, where, version)
        if version not in self._prefixes:
            raise ApiError("InvalidParameterValue", f"{where}: {text} is IPv6, which the subnet does not have; leave it out")
        checks.inside(self.subnet.id, self._prefixes[version], address)
        if address in self._given or self._taken(address):
            raise ApiError("InvalidIPAddress.InUse", f"{where}: {address} is in use; choose another address, or leave it out")
        self._given.add(address)
        return address

    def next(self, version: int) -> str:
        """Return the next free address; nothing for an IP version that the subnet does not have.

        Raises:
          ApiError: InsufficientFreeAddressesInSubnet.
        """
        if version not in self._prefixes:
            return ""
        prefix = self._prefixes[version]
        pool = checks.usable(prefix)
        start = self._cursor.ipv6 if version == 6 else self._cursor.ipv4
        for step in range(min(pool.stop - pool.start, _IPV6_WINDOW)):
            offset = (start + step) % (pool.stop - pool.start)
            address = format_ip(version, pool.start + offset)
            if address not in self._given and not self._taken(address):
                self._given.add(address)
                self._advance(version, offset + 1, prefix)
                return address
        text = f"subnet {self.subnet.name} ({self.subnet.id}): has no free address in {prefix}; use another subnet"
        raise ApiError("InsufficientFreeAddressesInSubnet", text)

    def _advance(self, version: int, offset: int, prefix: Prefix) -> None:
        pool = checks.usable(prefix)
        offset %= pool.stop - pool.start
        if version == 6:
            self._cursor.ipv6 = offset
        else:
            self._cursor.ipv4 = offset

    def save(self, writes: Writes) -> None:
        """Add the cursor's new position, and the condition that the subnet exists. No interface may be added without them."""
        writes.change(cursor_key(self.subnet.id), self._mod_revision, self._cursor)


def open_pool(store: Store, subnet: Subnet) -> AddressPool:
    """Return the addresses of a subnet according to the store."""
    kv = store.get(cursor_key(subnet.id))
    cursor = Cursor() if kv is None else decode(kv, Cursor)
    return AddressPool(subnet, cursor, kv.mod_revision if kv else ABSENT, Taken(store, subnet.vni))
