"""When certificates end that only people renew: those of operators and of members of etcd."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from netorch.errors import IdentityError, StoreUnavailable

if TYPE_CHECKING:
    from netorch.identity.files import Own

DIRECTORY: Final = "/etc/netorch/ca"  # of the authority


def notices(url: str, directory: Path, now: datetime) -> Iterator[str]:
    """Yield the certificates in the last third of their lives: the caller's, and on the authority's machine all known ones."""
    own = _own(url)
    if own is not None and now >= own[0].soon_at:
        yield _notice(f"your certificate {own[1]}", own[0], _fix(own[0]), now)
    if not os.path.exists(directory):
        return
    from netorch.identity.issued import MEMBER, issued
    from netorch.identity.users import OPERATOR

    for one in issued(directory):
        if now < one.certificate.soon_at or (own is not None and own[0].user and own[0].user == one.certificate.user):
            continue
        fix = {
            OPERATOR: f"netorch ca renew {one.name} --out DIRECTORY, or netorch ca revoke {one.name}",
            MEMBER: f"`netorch ca member` with its names makes the next one; remove {one.path} if there is no such member",
        }.get(one.kind, 'docs/design/identities.md, "Renewal", replaces the authority')
        yield _notice(f"the certificate of {one.kind} {one.name}", one.certificate, fix, now)


@contextlib.contextmanager
def explaining(url: str) -> Iterator[None]:
    """Let an error say that a store cannot be opened because the caller's certificate has expired."""
    try:
        yield
    except StoreUnavailable as error:
        from netorch.identity.authority import utc_now

        own, now = _own(url), utc_now()
        if own is None or now < own[0].expires:
            raise
        raise StoreUnavailable(f"{error}; {_notice(f'your certificate {own[1]}', own[0], _fix(own[0]), now)}") from error


def _own(url: str) -> tuple[Own, Path] | None:
    """Return the certificate that opens a store, and its file; None if there is none, or it cannot be read."""
    from netorch.store import certificate_of

    path = certificate_of(url)
    if path is None:
        return None
    from netorch.identity.authority import loaded
    from netorch.identity.files import own_of, read_text

    with contextlib.suppress(IdentityError):
        return own_of(loaded(read_text(path))), path
    return None


def _fix(own: Own) -> str:
    from netorch.identity.users import HOST, OPERATOR, name_of

    if host := name_of(HOST, own.user):
        return f"the host must join again: netorch host token {host}"
    name = name_of(OPERATOR, own.user) or "NAME"
    return f"on the authority's machine: netorch ca renew {name} --out DIRECTORY"


def _notice(subject: str, own: Own, fix: str, now: datetime) -> str:
    date = f"{own.expires:%Y-%m-%d %H:%M} UTC"
    when = f"expires {date}, in {(own.expires - now).days} days" if now < own.expires else f"has expired {date}"
    return f"{subject} {when}; {fix}"
