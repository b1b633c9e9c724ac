"""Decisions of the enrolment service: who gets a certificate, and who loses it.

A certificate is worth something while its user exists in etcd. So renewal and revocation need no list of certificates: who is a
user may renew, and the certificates of a deleted user open nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from netorch.control.identities.roles import role_of, sweep, users_of
from netorch.control.identities.tokens import is_used_by, use_token
from netorch.errors import IdentityError
from netorch.identity.asking import Answer, Request
from netorch.identity.authority import HOST_LIFE, Authority, fingerprint_of_key, requested_key
from netorch.identity.users import HOST, name_of
from netorch.model import rules
from netorch.store.access import Access
from netorch.store.base import Store

_NOT_A_HOST = "this certificate is no host's that may renew it: it was revoked, or the host has joined again; ask the operator"


class Enrolment:
    """Answers requests. `store_url` is the store's URL without files; `clock` gives the time."""

    def __init__(self, store: Store, access: Access, authority: Authority, store_url: str, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._access = access
        self._authority = authority
        self._store_url = store_url
        self._clock = clock

    def answer(self, request: Request, user: str) -> Answer:
        """Return the answer to a request; `user` is that of the certificate with which it came, or empty.

        Raises:
          IdentityError: it is refused; the text is for the asker.
          StoreError: the store cannot be used.
        """
        if request.op == "authority":
            return Answer(authority=self._authority.pem)
        return self._join(request) if request.op == "join" else self._renew(request, user)

    def _join(self, request: Request) -> Answer:
        """Every step may be repeated: after a crash in between, the host asks again with the same token and key.

        The request names nobody: the user is that of the token.
        """
        host = request.host
        if rules.host_name(host):
            raise IdentityError("the token is damaged; give the line that `netorch host token` printed, whole")
        key = requested_key(request.request)
        print_of_key = fingerprint_of_key(key)
        now = self._clock()
        user = use_token(self._store, host, request.secret, print_of_key, now.timestamp())
        self._access.add_role(role_of(host))
        sweep(self._store, self._access, host)
        for earlier in users_of(self._access, host):
            if earlier != user:
                self._access.delete_user(earlier)
        try:
            self._access.add_user(user, role_of(host))
        finally:
            if not is_used_by(self._store, host, print_of_key):  # revoked meanwhile
                self._access.delete_user(user)
                raise IdentityError("the token was revoked; ask the operator for another one")
        return Answer(certificate=self._authority.for_user(key, user, now, HOST_LIFE), store=self._store_url)

    def _renew(self, request: Request, user: str) -> Answer:
        host = name_of(HOST, user)
        if not host or not self._access.has_user(user, role_of(host)):
            raise IdentityError(_NOT_A_HOST)
        key = requested_key(request.request)
        return Answer(certificate=self._authority.for_user(key, user, self._clock(), HOST_LIFE))
