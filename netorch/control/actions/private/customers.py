"""Customer gateways: an owner's description of the device at the other end of VPN connections. They never change."""

from __future__ import annotations

import msgspec

from netorch.control.base import checks
from netorch.control.base.named import create_owned, delete_owned
from netorch.control.base.quotas import check_room, quotas_of
from netorch.control.base.uses import drop_last_mark, use_key, use_revision
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model.outside import vpn_rules
from netorch.model.outside.vpn import CUSTOMER_ASN, CustomerGateway
from netorch.model.rules import Violation
from netorch.model.vpc import Tags
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name, invalid
from netorch.records.read import Stored, listed, read_all_owned, read_owned
from netorch.store.base import Store


class CustomerGatewayInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A customer gateway, with the connections that lead to it."""

    gateway: CustomerGateway
    connections: tuple[str, ...]  # ids


def create_customer_gateway(
    store: Store,
    caller: Caller,
    *,
    name: str = "",
    asn: int = CUSTOMER_ASN,
    address: str = "",
    identity: str = "",
    tags: Tags | None = None,
) -> CustomerGateway:
    """Create a customer gateway and return it, or return an existing one with this AS number, address and identity, as in EC2.

    Raises:
      ApiError: CustomerGatewayLimitExceeded, InvalidParameterValue for a bad value or a taken name, MissingParameter without an
        address and an identity.
    """
    where = f"customer gateway {name!r}" if name else "customer gateway"
    asked = checked(where, CustomerGateway(id="", owner=caller.owner, name=name, asn=asn, address=address, identity=identity))

    def decide() -> tuple[Writes, CustomerGateway]:
        writes = Writes()
        others = {found.record.id: found.record for found in customer_gateways(store, asked.owner)}
        for other in others.values():
            if described(other) == described(asked):
                return writes, other
        mark = use_key(owner_mark(asked.owner))
        writes.change(mark, use_revision(store, owner_mark(asked.owner)), True)
        check_room(quotas_of(store, asked.owner), "CustomerGatewayLimitExceeded", f"owner {asked.owner}", len(others) + 1)
        if name and any(other.name == name for other in others.values()):
            raise duplicate_name("cgw", name, f"owner {asked.owner}")
        made = msgspec.structs.replace(asked, id=caller.new_id("cgw", 0), tags=checks.tags(where, tags))
        create_owned(writes, made)
        return writes, made

    return attempt(store, decide)


def checked(where: str, asked: CustomerGateway) -> CustomerGateway:
    """Return a customer gateway if its values are valid. Raises ApiError: InvalidParameterValue, MissingParameter."""
    checks.name(f"owner {asked.owner!r}", asked.owner)
    if asked.name:
        checks.name(where, asked.name)
    if not asked.address and not asked.identity:
        text = f"{where}: has no address; give its public IPv4 address or its IKE identity"
        raise ApiError("MissingParameter", text)
    found: list[Violation | None] = [vpn_rules.customer_asn(asked.asn)]
    found += [vpn_rules.customer_address(asked.address)] if asked.address else []
    found += [vpn_rules.identity(asked.identity)] if asked.identity else []
    for violation in filter(None, found):
        raise invalid(where, violation.what, violation.fix)
    return asked


def described(gateway: CustomerGateway) -> tuple[int, str, str]:
    """Return the fields by which two customer gateways are the same."""
    return gateway.asn, gateway.address, gateway.identity


def owner_mark(owner: str) -> str:
    """Return the mark (`use_key`) by which simultaneous creations of an owner's customer gateways conflict."""
    return f"cgw/{owner}"


def delete_customer_gateway(store: Store, caller: Caller, gateway_id: str) -> None:
    """Delete a customer gateway that no connection leads to.

    Raises:
      ApiError: InvalidCustomerGatewayID.NotFound, IncorrectState while it is in use.
    """

    def decide() -> tuple[Writes, None]:
        held = read_owned(store, caller, CustomerGateway, gateway_id)
        if users := connections_to(store, held.record):
            text = f"customer gateway {gateway_id}: The customer gateway is in use by {', '.join(users)}; delete these first"
            raise ApiError("IncorrectState", text)
        writes = Writes()
        delete_owned(writes, held)
        owner = held.record.owner
        drop_last_mark(writes, store, owner_mark(owner), keys.owned_prefix("cgw", owner))
        return writes, None

    attempt(store, decide)


def customer_gateways(store: Store, owner: str) -> list[Stored[CustomerGateway]]:
    """Return an owner's customer gateways. Raises UnreadableRecord."""
    return list(listed(store, keys.owned_prefix("cgw", owner), CustomerGateway).values())


def connections_to(store: Store, gateway: CustomerGateway) -> list[str]:
    """Return the ids of the connections that lead to a customer gateway."""
    return [kv.key.rpartition("/")[2] for kv in store.list(keys.vpn_use(gateway.owner, gateway.id)).kvs]


def describe_customer_gateways(store: Store, caller: Caller) -> list[CustomerGatewayInfo]:
    """Return the customer gateways that the caller sees, by owner and name. Raises UnreadableRecord."""
    found = read_all_owned(store, caller, CustomerGateway)
    return [_info(store, gateway) for gateway in sorted(found, key=lambda one: (one.owner, one.name, one.id))]


def describe_customer_gateway(store: Store, caller: Caller, gateway_id: str) -> CustomerGatewayInfo:
    """Return one customer gateway. Raises ApiError: InvalidCustomerGatewayID.NotFound."""
    return _info(store, read_owned(store, caller, CustomerGateway, gateway_id).record)


def _info(store: Store, gateway: CustomerGateway) -> CustomerGatewayInfo:
    return CustomerGatewayInfo(gateway=gateway, connections=tuple(connections_to(store, gateway)))
