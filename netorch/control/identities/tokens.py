"""Tokens in the store: one for each host that may join, as a hash.

A token serves one key. Its use is a transaction that writes the key's fingerprint beside the hash. So of two users at the same
time one is refused; and a host that got no answer repeats its request, with the same key, until the token expires.
"""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError, IdentityError
from netorch.identity.token import Token, hash_of, is_same, new_secret
from netorch.identity.users import HOST, MOST_NAME, new_user
from netorch.records import keys
from netorch.records.errors import invalid
from netorch.records.hosts import read_host
from netorch.records.read import get
from netorch.store.base import Store

_REFUSED: Final = "the token is wrong, expired, or used already; the operator makes another one with `netorch host token`"
_NOBODY: Final = hash_of("")  # compared where there is no token, so that the time does not say so


class EnrolmentService(msgspec.Struct, frozen=True, kw_only=True):
    """The record at `join/service`."""

    address: str  # HOST:PORT
    authority: str  # SHA-256 of the authority's certificate


class Admission(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The record at `join/token/<host>`."""

    hash: str
    expires: float  # seconds since 1970, by the clock of the service
    key: str = ""  # SHA-256 of the public key that has used the token
    user: str = ""  # of that key


def announce(store: Store, address: str, authority: str) -> None:
    """Record where the enrolment service is, for tokens and for renewals."""
    said = EnrolmentService(address=address, authority=authority)
    if enrolment_of(store) != said:
        writes = Writes()
        writes.put(keys.enrolment(), said)
        writes.commit(store)


def enrolment_of(store: Store) -> EnrolmentService | None:
    """Return where the enrolment service is, as it last said."""
    found = get(store, keys.enrolment(), EnrolmentService)
    return found.record if found is not None else None


def new_token(store: Store, host: str, life_s: float, now: float) -> Token:
    """Return a token by which a host can join once; earlier tokens of the host are worthless from now on.

    Raises:
      ApiError: InvalidHostID.NotFound; InvalidParameterValue for a name that is too long for a certificate; IncorrectState if
        no enrolment service has run.
    """

    def decide() -> tuple[Writes, Token]:
        read_host(store, host)
        service = enrolment_of(store)
        if len(host) > MOST_NAME:
            fix = f"give the host a name of at most {MOST_NAME} characters"
            raise invalid(f"host {host}", f"its name has {len(host)} characters, too many for a certificate", fix)
        if service is None:
            raise ApiError("IncorrectState", f"host {host}: no enrolment service has run; start `netorch ca serve` first")
        secret = new_secret()
        writes = Writes()
        writes.put(keys.join_token(host), Admission(hash=hash_of(secret), expires=now + life_s))
        return writes, Token(host=host, service=service.address, authority=service.authority, secret=secret)

    return attempt(store, decide)


def use_token(store: Store, host: str, secret: str, key: str, now: float) -> str:
    """Return the user for the key with this fingerprint, once the token is known to serve this key and no other.

    Raises:
      IdentityError: the token is wrong, expired, or another key's. The text does not say which.
    """

    def decide() -> tuple[Writes, str]:
        found = get(store, keys.join_token(host), Admission)
        right = is_same(secret, found.record.hash if found is not None else _NOBODY)
        if found is None or not right or now >= found.record.expires or found.record.key not in ("", key):
            raise IdentityError(_REFUSED)
        writes = Writes()
        if found.record.key:
            return writes, found.record.user
        used = msgspec.structs.replace(found.record, key=key, user=new_user(HOST, host))
        writes.change(keys.join_token(host), found.mod_revision, used)
        return writes, used.user

    return attempt(store, decide)


def is_used_by(store: Store, host: str, key: str) -> bool:
    """Return whether a host's token still stands and serves this key."""
    found = get(store, keys.join_token(host), Admission)
    return found is not None and found.record.key == key


def drop_token(store: Store, host: str) -> None:
    """Delete a host's token."""
    writes = Writes()
    writes.drop(keys.join_token(host))
    writes.commit(store)
