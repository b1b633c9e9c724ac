"""The store's users and roles, as a command needs them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from netorch.cli.context import Session
from netorch.cli.identities.certificates import explaining
from netorch.errors import IdentityError

if TYPE_CHECKING:
    from netorch.store.access import Access

URL: Final = "'etcd://HOST:PORT/NAME?ca=FILE&cert=FILE&key=FILE'"  # quoted, because a shell would take it apart


@contextlib.contextmanager
def access_of(session: Session) -> Iterator[Access]:
    """Yield the access to users and roles. Raises IdentityError for a store that has none."""
    from netorch.store import open_access

    with explaining(session.store_url):
        access = open_access(session.store_url)
    if access is None:
        raise IdentityError(
            f"store {session.store_url}: has no identities; these need etcd with TLS: --store {URL}. One machine with SQLite "
            'needs none; several machines: docs/design/identities.md, "A new cloud"'
        )
    with contextlib.closing(access), explaining(session.store_url):
        yield access


def own_directory(session: Session) -> Path:
    """Return the directory of the identity with which a command opens the store. Raises IdentityError."""
    from netorch.store.etcd.address import parse_address

    path = parse_address(session.store_url).cert
    if path is None:
        raise IdentityError(f"store {session.store_url}: has no certificate; give --store {URL}")
    return path.parent


def setting_lines(store: str, directory: Path, host: str = "") -> str:
    """Return the lines of netorch.toml for a machine whose identity is in a directory."""
    from netorch.identity.files import AUTHORITY, OWN

    own = directory / OWN
    url = f'store = "{store}?ca={directory / AUTHORITY}&cert={own}&key={own}"'
    return f'host = "{host}"\n{url}' if host else url
