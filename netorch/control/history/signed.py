"""A store with signed transactions: each one overwrites one key with its author, so the store's history holds all authors.

The signature is part of the transaction: no change is without one, and a failed change leaves none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from netorch.records import keys
from netorch.store.base import Compare, Delete, Put, Store, TxnResult

LONGEST: Final = 1000  # characters of a command line: netorch.control.base.writes reserves room for it in a transaction
# Today no option takes a secret as a word, except in a URL. The pattern hides words of options that might in the future.
_SECRET = re.compile(r"--[\w-]*(?:psk|password|passphrase|secret|token)[\w-]*(?<!-file)(?=$|=)")
_USERINFO = re.compile(r"(?<=://)[^/@\s]*(?=@)")
_HIDDEN: Final = "***"


class Signature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stored at `audit/last`: the author of this revision's change, the command, and the time."""

    by: str  # user@machine
    command: str
    at: float  # seconds since 1970, by the author's clock


class SignedStore:
    """A `Store` in front of another one that signs writes."""

    def __init__(self, store: Store, signature: Signature) -> None:
        self._store = store
        self._op = Put(keys.last_change(), msgspec.json.encode(signature))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a Store has
        return getattr(self._store, name)

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Commit together with the signature."""
        return self._store.txn(compares, [*ops, self._op] if ops else ops)


def spelled(words: Sequence[str]) -> str:
    """Return a command line in stored form: without secrets, shortened to LONGEST."""
    shown = []
    hide_next = False
    for word in words:
        found = _SECRET.match(word)
        shown.append(_HIDDEN if hide_next else f"{found[0]}={_HIDDEN}" if found and "=" in word else _USERINFO.sub(_HIDDEN, word))
        hide_next = bool(found) and "=" not in word
    text = shlex.join(shown).replace(f"'{_HIDDEN}'", _HIDDEN)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
