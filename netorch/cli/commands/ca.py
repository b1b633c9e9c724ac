"""`netorch ca`: the cloud's certificate authority, operators, and the service by which hosts join."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from netorch.cli.context import Session, pass_session
from netorch.cli.identities.access import access_of, own_directory, setting_lines
from netorch.cli.output import output_option, show_rows
from netorch.errors import IdentityError

if TYPE_CHECKING:
    from netorch.identity.authority import Authority

DIRECTORY: Final = "/etc/netorch/ca"
COLUMNS: Final = ("kind", "name", "user", "rights")

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=DIRECTORY,
    show_default=True,
    help="Directory of the authority's key and certificate.",
)
out_option = click.option("--out", "target", type=click.Path(path_type=Path), required=True, help="A directory for it.")


@click.group()
@pass_session
def command(session: Session) -> None:
    """Identities: who hosts and operators are for the store.

    Run it on one well-kept machine, which has the authority's key, /etc/netorch/ca/ca.key. The steps are in
    docs/design/identities.md.
    """
    session.operator_only("identities")


@command.command()
@click.argument("operator")
@directory_option
@out_option
def create(operator: str, directory: Path, target: Path) -> None:
    """Make the authority of a new cloud, and its first operator.

    Example: netorch ca create alice --out /root/.netorch
    """
    from netorch.identity.authority import Authority, utc_now
    from netorch.identity.files import save_authority
    from netorch.identity.users import OPERATOR, new_user

    authority = Authority.new("netorch", utc_now())
    user = new_user(OPERATOR, _name(operator))
    save_authority(directory, authority)
    _give_identity(authority, user, target)
    click.echo(
        f"{directory}: the authority; keep a copy of ca.key where nobody else reads it\n{target}: the identity of {operator}"
    )


@command.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@directory_option
@click.option("--out", "target", type=click.Path(path_type=Path), required=True, help="The PEM file of key and certificate.")
def member(names: tuple[str, ...], directory: Path, target: Path) -> None:
    """Make the certificate of a member of etcd.

    It needs all names and addresses by which clients and members reach it. The file serves etcd as --cert-file and
    --key-file; DIR/ca.pem is its --trusted-ca-file, with --client-cert-auth.

    Example: netorch ca member 192.0.2.1 etcd1.example.net --out etcd1.pem
    """
    from netorch.identity.authority import key_pem, new_key, utc_now
    from netorch.identity.files import load_authority, write

    key = new_key()
    certificate = load_authority(directory).for_member(key.public_key(), names, utc_now())
    write(target, key_pem(key) + certificate.encode(), secret=True)
    click.echo(f"{target}: written, for its owner only; let etcd's user read it on the member, and nobody else")


@command.command()
@pass_session
def enable(session: Session) -> None:
    """Let etcd refuse whoever is no user.

    The caller becomes an operator. Hosts that have not joined by a token lose the store: their kernels go on, and they follow
    again once they have joined.
    """
    from netorch.identity.files import read_own
    from netorch.identity.users import OPERATOR, name_of

    own = read_own(own_directory(session))
    if not name_of(OPERATOR, own.user):
        raise IdentityError(f"{own.user}: is no operator; use the identity that `netorch ca create` made")
    with access_of(session) as access:
        access.enable(own.user)
    click.echo("etcd refuses whoever is no user")


@command.command()
@click.argument("name")
@directory_option
@out_option
@pass_session
def operator(session: Session, name: str, directory: Path, target: Path) -> None:
    """Make the identity of an operator, for a year. It replaces an earlier one of that name.

    Copy the directory to the operator's machine; what it prints is the setting there.
    """
    from netorch.control.identities.operators import admit
    from netorch.identity.files import load_authority
    from netorch.identity.users import OPERATOR, new_user
    from netorch.store.etcd.address import parse_address

    user = new_user(OPERATOR, _name(name))
    with access_of(session) as access:
        _give_identity(load_authority(directory), user, target)
        admit(access, user)
    click.echo(setting_lines(parse_address(session.store_url).text(), target.absolute()))


@command.command()
@click.argument("name")
@pass_session
def revoke(session: Session, name: str) -> None:
    """Take an operator's identity away. For a host: `netorch host revoke`."""
    from netorch.control.identities.operators import dismiss
    from netorch.identity.files import read_own

    with access_of(session) as access:
        dismiss(access, name, read_own(own_directory(session)).user)
    click.echo(f"{name}: the identity is revoked. Connections that are open still get changes, until they end")


@command.command("list")
@output_option
@pass_session
def list_(session: Session, output: str) -> None:
    """List the users of the store, with how many rights each has."""
    from netorch.control.identities.operators import describe_users

    with access_of(session) as access:
        show_rows(describe_users(access), COLUMNS, output)


@command.command()
@click.option("--listen", default="0.0.0.0:2390", show_default=True, metavar="HOST:PORT", help="Where it listens.")
@click.option("--address", metavar="HOST:PORT", help="Where hosts reach it.  [default: this machine's name]")
@directory_option
@pass_session
def serve(session: Session, listen: str, address: str | None, directory: Path) -> None:
    """Serve hosts that join or renew, until SIGTERM.

    It also repairs the rights of hosts after interrupted commands. While it is away nobody joins, and agents try again to
    renew: they begin two weeks before their certificates expire.
    """
    from netorch.agent.service.logs import log_as
    from netorch.agent.service.notify import ServiceManager
    from netorch.control.identities.service import serve_store
    from netorch.identity.files import load_authority
    from netorch.store.etcd.address import parse_address

    log_as("text", verbose=False)
    session.creates = True
    manager, authority = ServiceManager(), load_authority(directory)
    url = parse_address(session.store_url).text()
    reached = address or f"{socket.gethostname()}:{listen.rpartition(':')[2]}"
    with access_of(session) as access:
        serve_store(session.store, access, authority, url, directory, listen, reached, manager.ready)


def _name(text: str) -> str:
    """Return an operator's name. Raises IdentityError."""
    from netorch.identity.users import MOST_NAME
    from netorch.model import rules

    if (violation := rules.host_name(text)) or len(text) > MOST_NAME:
        what = f"{violation.what}; {violation.fix}" if violation else f"it is longer than {MOST_NAME} characters"
        raise IdentityError(f"operator: {what}")
    return text


def _give_identity(authority: Authority, user: str, target: Path) -> None:
    from netorch.identity.authority import OPERATOR_LIFE, utc_now
    from netorch.identity.files import asked_key, keep_answer

    certificate = authority.for_user(asked_key(target).public_key(), user, utc_now(), OPERATOR_LIFE)
    keep_answer(target, certificate, authority.pem)
