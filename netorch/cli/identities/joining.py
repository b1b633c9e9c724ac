"""`netorch host token|join|revoke`: how a machine becomes a host, and how it stops being one."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import click

from netorch.cli.context import Session, complete, pass_session, state_option
from netorch.cli.identities.access import access_of, setting_lines
from netorch.errors import IdentityError

_MOST: Final = 4096  # characters of a token's file
_AFTER: Final = (
    "Its open connections keep receiving changes until they close. To close all connections, restart the members of etcd one "
    "after the other; all other clients reconnect."
)


@click.command()
@click.argument("host", shell_complete=complete("host"))
@click.option("--minutes", type=click.IntRange(1, 7 * 24 * 60), default=60, show_default=True, help="How long it is valid.")
@click.option("--file", "target", type=click.Path(path_type=Path), help="Write it to this file, readable only by its owner.")
@pass_session
def token(session: Session, host: str, minutes: int, target: Path | None) -> None:
    """Print a token by which a machine joins as HOST, once.

    The first machine that uses the token becomes the host, so send it over a secure channel. The store keeps only its hash.
    Another token for the same host replaces this one. A host that has joined keeps its identity until the new token is used.

    Example: netorch host token hv1 | ssh root@hv1 'netorch host join >>/etc/netorch/netorch.toml'
    """
    from netorch.control.identities.tokens import new_token
    from netorch.identity.files import write

    with access_of(session):
        made = new_token(session.store, host, minutes * 60.0, time.time()).text()
    if target is None:
        click.echo(made)
    else:
        write(target, f"{made}\n".encode(), secret=True)
        click.echo(f"{target}: written, readable only by its owner")


@click.command()
@click.option("--token-file", type=click.Path(path_type=Path), help="The file of the token.  [default: standard input]")
@state_option
def join(token_file: Path | None, state_dir: Path) -> None:
    """Make this machine the host that a token names.

    The token is read from standard input or a file. The private key is made here and never leaves this machine. Prints the
    settings `host` and `store`; append them to /etc/netorch/netorch.toml, which must not have them yet. The agent renews the
    certificate. If the answer is lost, run the command again with the same token.
    """
    from netorch.identity.asking import join as ask
    from netorch.identity.token import parse_token
    from netorch.identity.users import HOST, name_of

    found = parse_token(_token_in(token_file))
    directory = state_dir.absolute() / "identity"
    own, store = ask(found, directory)
    host = name_of(HOST, own.user)
    click.echo(f"{host}: joined; its certificate is valid until {own.expires:%Y-%m-%d}, and the agent renews it", err=True)
    click.echo(setting_lines(store, directory, host))


def _token_in(path: Path | None) -> str:
    """Return the text of a token. Raises IdentityError."""
    if path is None:
        return sys.stdin.readline(_MOST)
    try:
        with path.open(encoding="ascii") as file:
            return file.readline(_MOST)
    except (OSError, UnicodeDecodeError) as error:
        raise IdentityError(f"{path}: cannot be read ({error}); give the file that `netorch host token` wrote") from error


@click.command()
@click.argument("host", shell_complete=complete("host"))
@pass_session
def revoke(session: Session, host: str) -> None:
    """Revoke a host's identity.

    Its certificate and its token are no longer valid. Nothing else changes: its kernel goes on, and everything placed on the
    host stays. With a new token it can join again.
    """
    from netorch.control.identities.roles import revoke_host

    with access_of(session) as access:
        had = revoke_host(session.store, access, host)
    click.echo(f"{host}: the identity is revoked. {_AFTER}" if had else f"{host}: has no identity; its token is revoked")
