"""`netorch ca`: the cloud's certificate authority, operators, and the service by which hosts join."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from netorch.cli.context import Session, pass_session
from netorch.cli.identities.access import access_of, own_directory, setting_lines
from netorch.cli.identities.certificates import DIRECTORY
from netorch.cli.output import output_option, show_rows
from netorch.errors import IdentityError, StoreUnavailable

if TYPE_CHECKING:
    from netorch.identity.authority import Authority
    from netorch.identity.files import Own

_MEMBERS: Final = "etcd://HOST:PORT,HOST:PORT,HOST:PORT/netorch"  # in the setting of a cloud whose etcd does not run yet
_ON_MEMBER: Final = "/etc/etcd/member.pem"
COLUMNS: Final = ("kind", "name", "user", "rights", "expires")

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=DIRECTORY,
    show_default=True,
    help="Directory of the authority: ca.key and ca.pem.",
)
out_option = click.option(
    "--out", "target", type=click.Path(path_type=Path), required=True, help="The operator's directory: own.pem and ca.pem."
)


@click.group()
@pass_session
def command(session: Session) -> None:
    """Identities: the certificates by which the store knows hosts and operators.

    Run these commands as root on one secure machine, which has the authority's key, /etc/netorch/ca/ca.key. The steps are in
    docs/design/identities.md.
    """
    session.operator_only("identities")


@command.command()
@click.argument("operator")
@directory_option
@out_option
def create(operator: str, directory: Path, target: Path) -> None:
    """Create the certificate authority of a new cloud, and its first operator.

    Prints the setting for the operator's machine; write the members of etcd into it.

    Example: netorch ca create alice --out /root/.netorch/alice
    """
    from netorch.identity.authority import Authority, utc_now
    from netorch.identity.files import expect_no_authority, save_authority
    from netorch.identity.users import OPERATOR, new_user

    authority = Authority.new("netorch", utc_now())
    user = new_user(OPERATOR, _name(operator))
    expect_no_authority(directory)
    _expect_own(target, authority, operator)
    save_authority(directory, authority)
    _give_identity(authority, directory, user, target)
    click.echo(f"{directory}: the authority; keep a copy of ca.key where only you can read it")
    click.echo(f"{target}: the identity of {operator}; the setting for {operator}'s machine:")
    click.echo(setting_lines(_MEMBERS, target.absolute()))


@command.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@directory_option
@click.option("--out", "target", type=click.Path(path_type=Path), required=True, help="The PEM file of key and certificate.")
def member(names: tuple[str, ...], directory: Path, target: Path) -> None:
    """Create the certificate of a member of etcd.

    Give all names and addresses by which clients and members reach it. Copy the file, and ca.pem of the authority's directory,
    to the member. docs/design/identities.md has the whole command line of etcd.

    A file at --out is replaced only if it is an earlier certificate of this member: it has no other names than these.

    Example: netorch ca member 192.0.2.1 etcd1.example.net --out etcd1.pem
    """
    from netorch.identity.authority import key_pem, new_key, utc_now
    from netorch.identity.files import load_authority, write
    from netorch.identity.issued import MEMBER, keep

    key = new_key()
    certificate = load_authority(directory).for_member(key.public_key(), names, utc_now())
    _expect_member(target, certificate)
    write(target, key_pem(key) + certificate.encode(), secret=True)
    keep(directory, MEMBER, names[0], certificate)
    click.echo(f"{target}: written, readable only by its owner. Copy it to {names[0]} as {_ON_MEMBER}.new; then there, as root:")
    click.echo(f"chown etcd: {_ON_MEMBER}.new && mv {_ON_MEMBER}.new {_ON_MEMBER}")


@command.command()
@pass_session
def enable(session: Session) -> None:
    """Make etcd refuse clients that are not its users.

    The caller becomes an operator. Hosts that have not joined by a token lose the store: their kernels carry packets as before,
    and they follow the store again once they have joined.
    """
    from netorch.identity.files import read_own
    from netorch.identity.users import OPERATOR, name_of

    own = read_own(own_directory(session))
    if not name_of(OPERATOR, own.user):
        raise IdentityError(f"{own.user}: is not an operator; use the identity that `netorch ca create` made")
    with access_of(session) as access:
        access.enable(own.user)
    click.echo("etcd now refuses clients that are not its users")


@command.command()
@click.argument("name")
@directory_option
@out_option
@pass_session
def operator(session: Session, name: str, directory: Path, target: Path) -> None:
    """Create the identity of an operator, valid for a year. It replaces an earlier one of that name.

    Copy the directory to the operator's machine. The command prints the setting for that machine. If the enrolment service uses
    the replaced identity, run `systemctl restart netorch-enrolment`.

    Example: netorch ca operator bob --out /root/.netorch/bob
    """
    from netorch.control.identities.operators import admit, replace_earlier
    from netorch.identity.files import load_authority, read_own
    from netorch.identity.users import OPERATOR, new_user
    from netorch.store.etcd.address import parse_address

    user = new_user(OPERATOR, _name(name))
    with access_of(session) as access:
        own, authority = read_own(own_directory(session)).user, load_authority(directory)
        _expect_own(target, authority, name)
        admit(access, user)
        # The caller's own files may be in this directory: etcd must know the new user first.
        _give_identity(authority, directory, user, target)
        replace_earlier(access, user, own)
    click.echo(setting_lines(parse_address(session.store_url).text(), target.absolute()))


@command.command()
@click.argument("name")
@directory_option
@out_option
def renew(name: str, directory: Path, target: Path) -> None:
    """Sign an operator's identity again, for another year: a new key for the same user.

    This needs the authority's key and no store. So it helps when the certificates of all operators have expired. Copy the
    directory to the operator's machine.

    `netorch ca operator` makes another user instead. Use that if others may know the key: etcd then refuses the earlier
    certificate.

    Example: netorch ca renew alice --out /root/.netorch/alice
    """
    from netorch.identity.files import load_authority

    authority = load_authority(directory)
    _expect_own(target, authority, _name(name))
    own = _give_identity(authority, directory, _known_user(directory, name, target), target)
    click.echo(f"{target}: the identity of {name}, valid until {own.expires:%Y-%m-%d %H:%M} UTC")


@command.command()
@click.argument("name")
@directory_option
@pass_session
def revoke(session: Session, name: str, directory: Path) -> None:
    """Revoke an operator's identity. For a host: `netorch host revoke`.

    On the authority's machine it also removes the copy of the certificate, so `netorch status` no longer warns of its end.
    """
    from netorch.control.identities.operators import dismiss
    from netorch.identity.files import read_own
    from netorch.identity.issued import forget
    from netorch.identity.users import OPERATOR

    with access_of(session) as access:
        was_known = dismiss(access, name, read_own(own_directory(session)).user)
    had_copy = forget(directory, OPERATOR, name)
    if was_known:
        click.echo(f"{name}: the identity is revoked. Open connections keep receiving changes until they close")
    elif had_copy:
        click.echo(f"{name}: was revoked before; the copy of its certificate in {directory} is removed")
    else:
        raise IdentityError(f"operator {name}: there is none of that name; see `netorch ca list`")


@command.command("list")
@directory_option
@output_option
@pass_session
def list_(session: Session, directory: Path, output: str) -> None:
    """List the users of the store, with how many rights each has.

    On the authority's machine the list also has the authority and the members of etcd, and says when their certificates and
    those of operators expire. Hosts renew theirs: `netorch status` names one that was not renewed. If etcd does not answer, the
    list has only the certificates that this machine knows, and the command fails.

    An operator without rights was revoked from another machine: `netorch ca revoke` removes the copy of its certificate here.
    """
    from netorch.control.identities.operators import describe_users
    from netorch.identity.issued import issued

    rows, failure = list[dict[str, Any]](), None
    known = issued(directory)
    try:
        with access_of(session) as access:
            rows = describe_users(access)
    except StoreUnavailable as error:
        if not known:
            raise
        failure = error
    by_user = {row["user"]: row for row in rows}
    for one in known:
        expires = f"{one.certificate.expires:%Y-%m-%dT%H:%M:%SZ}"
        if (row := by_user.get(one.certificate.user)) is not None:
            row["expires"] = expires
        else:
            rows.append({"kind": one.kind, "name": one.name, "user": one.certificate.user, "rights": "", "expires": expires})
    show_rows([{"expires": ""} | row for row in rows], COLUMNS, output)
    if failure is not None:
        raise failure


@command.command()
@click.option("--listen", default="0.0.0.0:2390", show_default=True, metavar="HOST:PORT", help="The address to listen on.")
@click.option("--address", metavar="HOST:PORT", help="The address at which hosts reach it.  [default: this machine's name]")
@directory_option
@pass_session
def serve(session: Session, listen: str, address: str | None, directory: Path) -> None:
    """Serve hosts that join or renew, until SIGTERM.

    It also repairs the rights of hosts after interrupted commands. While it is down no host can join, and agents retry their
    renewals: they begin two weeks before their certificates expire.
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


def _expect_own(target: Path, authority: Authority, name: str) -> None:
    """Refuse a directory with an identity other than this operator's earlier one. Raises IdentityError."""
    from netorch.identity.files import AUTHORITY, OWN, read_own, read_text
    from netorch.identity.users import OPERATOR, name_of

    if not (target / OWN).exists():
        return
    user = read_own(target).user
    if name_of(OPERATOR, user) != name or read_text(target / AUTHORITY) != authority.pem:
        raise IdentityError(f"{target / OWN}: is another identity, {user}; choose another --out, or remove this file first")


def _expect_member(target: Path, certificate_pem: str) -> None:
    """Refuse to replace a file other than an earlier certificate of the same member of etcd. Raises IdentityError."""
    from netorch.identity.authority import loaded, names_of
    from netorch.identity.files import read_text

    if not target.exists():
        return
    earlier = frozenset[str]()
    with suppress(IdentityError):
        earlier = names_of(loaded(read_text(target)))
    if not earlier or not earlier <= names_of(loaded(certificate_pem)):
        if not earlier:
            raise IdentityError(f"{target}: is not a member's certificate; choose another --out")
        what = f"is the certificate of {', '.join(sorted(earlier))}"
        raise IdentityError(f"{target}: {what}; give at least these names, or choose another --out")


def _known_user(directory: Path, name: str, target: Path) -> str:
    """Return the user for which an operator's certificate was made. Raises IdentityError."""
    from netorch.identity.files import OWN, read_own
    from netorch.identity.issued import issued
    from netorch.identity.users import OPERATOR

    if (target / OWN).exists():
        return read_own(target).user
    found = [one.certificate.user for one in issued(directory) if (one.kind, one.name) == (OPERATOR, name)]
    if not found:
        raise IdentityError(f"operator {name}: no certificate of that name is known here; put its own.pem into {target} first")
    return found[0]


def _give_identity(authority: Authority, directory: Path, user: str, target: Path) -> Own:
    from netorch.identity.authority import OPERATOR_LIFE, utc_now
    from netorch.identity.files import asked_key, keep_answer
    from netorch.identity.issued import keep
    from netorch.identity.users import OPERATOR, name_of

    certificate = authority.for_user(asked_key(target).public_key(), user, utc_now(), OPERATOR_LIFE)
    own = keep_answer(target, certificate, authority.pem)
    keep(directory, OPERATOR, name_of(OPERATOR, user), certificate)
    return own
