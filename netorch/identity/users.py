"""Names of users: the common names of certificates, which are the users of etcd.

    host/NAME/GENERATION        a host
    operator/NAME/GENERATION    an operator

A generation is random. A host that was revoked and joins again gets another one, so its earlier certificate stays worthless.
"""

from __future__ import annotations

import secrets
from typing import Final

HOST: Final = "host"
OPERATOR: Final = "operator"
_GENERATION_BYTES: Final = 4
_MOST: Final = 64  # characters of a common name: RFC 5280, ub-common-name
MOST_NAME: Final = _MOST - len(OPERATOR) - 2 - 2 * _GENERATION_BYTES


def new_user(kind: str, name: str) -> str:
    """Return a new user of a kind, HOST or OPERATOR."""
    return f"{kind}/{name}/{secrets.token_hex(_GENERATION_BYTES)}"


def name_of(kind: str, user: str) -> str:
    """Return the name of the host or operator that a user stands for; empty for a user of another kind."""
    found = user.split("/")
    return found[1] if len(found) == 3 and found[0] == kind and all(found) else ""
