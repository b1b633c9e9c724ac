"""The context of every command: the store, opened on first use, and the caller."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from netorch.cli.output import MACHINE, show_value
from netorch.cli.settings import DEFAULT_STORE, SETTINGS, default_of, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netorch.errors import UnreadableRecord
    from netorch.model.vpc import Vpc
    from netorch.records.caller import Caller
    from netorch.records.inventory import Inventory
    from netorch.records.vpc import VpcRecords
    from netorch.store.base import Store

T = TypeVar("T")

_PATIENCE_S = 5.0  # for the names in a lab, after the user has pressed Tab


class Session:
    """One invocation of the command line."""

    def __init__(self, store: str | None, owner: str | None, words: Sequence[str] = ()) -> None:
        """Start a session; `words` is the command line, for the history."""
        self.store_url = store or machine().find("store").value
        self.creates = False  # whether the command may create a store where there never was one
        self.dry_run = False  # whether all writes are only tried
        self._owner = owner
        self._words = words
        self._store: Store | None = None
        self._warned = False

    @property
    def store(self) -> Store:
        """Return the open store. Raises StoreUnavailable."""
        if self._store is None:
            from netorch.cli.identities.certificates import explaining
            from netorch.store import open_to_create, open_to_read
            from netorch.store.modes import make_directory
            from netorch.store.trial import TrialStore

            if self.creates and not self.dry_run and self.store_url == DEFAULT_STORE and os.geteuid() == 0:
                make_directory(Path(self.store_url).parent)
            with explaining(self.store_url):
                store = open_to_create(self.store_url) if self.creates else open_to_read(self.store_url)
            self._store = TrialStore(store) if self.dry_run else self._signed(self._granting(store))
        return self._store

    def _granting(self, store: Store) -> Store:
        """Return a store that gives hosts the rights that they need for what its writes place on them."""
        from netorch.store import open_access

        access = open_access(self.store_url)
        if access is None:
            return store
        from netorch.control.identities.roles import GrantingStore

        return cast("Store", GrantingStore(store, access))

    def _signed(self, store: Store) -> Store:
        """Return a store that records this command line in the history of its writes."""
        from netorch.control.history.signed import Signature, SignedStore, spelled

        by = f"{_user()}@{socket.gethostname()}"
        return cast("Store", SignedStore(store, Signature(by=by, command=spelled(self._words), at=time.time())))

    @property
    def caller(self) -> Caller:
        """Return the caller: the named owner, or the operator, who sees all owners and creates as the default owner."""
        from netorch.records.caller import Caller

        return Caller(owner=self._owner) if self._owner is not None else Caller(operator=True)

    def operator_only(self, what: str) -> None:
        """Refuse an operator's command for customers. Raises ApiError: UnauthorizedOperation."""
        from netorch.errors import ApiError

        if not self.caller.operator:
            raise ApiError("UnauthorizedOperation", f"{what}: only the operator may do this; leave --owner and NETORCH_OWNER out")

    def inventory(self) -> Inventory:
        """Return the whole cloud. Warn once about objects that are left out because they are unreadable."""
        from netorch.records.inventory import read_inventory

        inventory = read_inventory(self.store)
        if not self._warned:
            for what, error in self.left_out(inventory).items():
                warn(f"{what} is left out: {error}")
        self._warned = True
        return inventory

    def left_out(self, inventory: Inventory) -> dict[str, UnreadableRecord]:
        """Return the unreadable objects that are left out and that the caller may see."""
        vpcs = {f"VPC {found.path}": found.error for found in inventory.isolated.values() if found.is_known_to(self.caller)}
        hosts = {f"host {name}": error for name, error in inventory.isolated_hosts.items()}
        return vpcs | hosts if self.caller.operator else vpcs

    def around(self, named: Sequence[tuple[str, str]]) -> Inventory:
        """Return the VPCs of resources, given by kind and id or name. If one is not found, return everything for the error.

        Cost: O(records of these VPCs) if all names exist, independent of the rest of the store.
        """
        return self._part(named, self._vnis_of(named))

    def neighbourhood(self, named: Sequence[tuple[str, str]], addresses: Sequence[str] = ()) -> Inventory:
        """Return the same, with the neighbour VPCs and the VPCs of these public addresses: all VPCs that packets may reach."""
        from netorch.records.part import with_neighbours
        from netorch.records.public import vni_of_address

        public = {vni for address in addresses if (vni := vni_of_address(self.store, address))}
        return self._part(named, with_neighbours(self.store, self._vnis_of(named)) | public)

    def _vnis_of(self, named: Sequence[tuple[str, str]]) -> set[int]:
        from netorch.records.names import vnis_of

        return {vni for kind, text in named for vni in vnis_of(self.store, self.caller, kind, text)}

    def _part(self, named: Sequence[tuple[str, str]], vnis: set[int]) -> Inventory:
        from netorch.control.views.describe import resolve
        from netorch.errors import ApiError, UnreadableRecord
        from netorch.records.part import read_part

        part = read_part(self.store, vnis)
        try:
            for kind, text in named:
                resolve(part, self.caller, kind, text)
        except (ApiError, UnreadableRecord):
            return self.inventory()
        return part

    def find(self, kind: str, text: str) -> tuple[VpcRecords, Any]:
        """Return a resource by id or name, with its VPC's records. Raises ApiError."""
        from netorch.control.views.describe import resolve

        return resolve(self.around([(kind, text)]), self.caller, kind, text)

    def id_of(self, kind: str, text: str) -> str:
        """Return the id of a resource given by id or name. Raises ApiError."""
        return self.ids_of(kind, [text])[0]

    def ids_of(self, kind: str, texts: Sequence[str]) -> list[str]:
        """Return the ids of all named resources, before any change. Hosts and pools are identified by name."""
        from netorch.control.actions.outside.addresses import allocation_of
        from netorch.control.base.named import owned_id
        from netorch.control.views.describe import resolve
        from netorch.records.kind import Scope
        from netorch.records.kinds import BY_PREFIX

        scope = BY_PREFIX[kind].scope
        if scope is Scope.OPERATOR:
            return list(dict.fromkeys(texts))
        if scope is Scope.OWNER:
            if kind == "eipalloc":  # also identified by its address
                return list(dict.fromkeys(allocation_of(self.store, self.caller, text) for text in texts))
            return list(dict.fromkeys(owned_id(self.store, self.caller, kind, text) for text in texts))
        inventory = self.around([(kind, text) for text in texts])
        return list(dict.fromkeys(resolve(inventory, self.caller, kind, text)[1].id for text in texts))

    def beside(self, rows: Sequence[Mapping[str, Any]]) -> Inventory:
        """Return the VPCs that rows belong to."""
        from netorch.records.part import read_part

        return read_part(self.store, [row["vni"] for row in rows if row.get("vni")])

    def view(self, vpc: str | None) -> Inventory:
        """Return the named VPC with its hosts, or everything. Raises ApiError."""
        from netorch.records.part import read_part

        return read_part(self.store, [self.find("vpc", vpc)[0].vni]) if vpc else self.inventory()

    def named(self, rows: Sequence[dict[str, Any]], inventory: Inventory) -> list[dict[str, Any]]:
        """Return rows with names instead of ids if the inventory knows them, except for the row's own id."""
        from netorch.control.views.describe import names_by_id

        names = names_by_id(inventory, self.caller)

        def spoken(value: Any) -> Any:  # noqa: ANN401 - whatever a row holds
            if isinstance(value, list | tuple):
                return [spoken(item) for item in value]
            return names.get(value, value) if isinstance(value, str) else value

        return [{field: value if field == "id" else spoken(value) for field, value in row.items()} for row in rows]

    def id_beside(self, kind: str, text: str, beside: str) -> str:
        """Return the id of a resource in the VPC of the id `beside`, where its bare name is enough.

        Raises:
          ApiError: it does not exist. With an empty `beside`: as for `id_of`.
        """
        from netorch.model.ids import is_id, vni_of
        from netorch.records.read import seen_vpc

        if not beside or "/" in text or is_id(text, kind):
            return self.id_of(kind, text)
        vpc = seen_vpc(self.store, self.caller, vni_of(beside))
        return self.id_of(kind, f"{vpc.record.owner}/{vpc.record.name}/{text}" if vpc is not None else text)

    def vpcs(self, vpc: str | None) -> list[Vpc]:
        """Return the named VPC, or all that the caller sees. Raises ApiError."""
        from netorch.control.views.describe import describe_vpcs

        return [self.find("vpc", vpc)[1]] if vpc else describe_vpcs(self.inventory(), self.caller)

    def of_vpcs(self, vpc: str | None, describe: Callable[[Store, Caller, str], list[T]]) -> list[T]:
        """Return the results of `describe` for the named VPC, or for all that the caller sees. Raises ApiError."""
        return [found for record in self.vpcs(vpc) for found in describe(self.store, self.caller, record.id)]

    def close(self) -> None:
        """Close the store if it was opened."""
        if self._store is not None:
            self._store.close()
            self._store = None


def warn(text: str) -> None:
    """Print a warning on stderr in the requested format."""
    from netorch.cli import called

    if called.wants_machine_format(sys.argv[1:]):
        from netorch.cli.errors import warning_as_json

        click.echo(warning_as_json(called.as_called(text)), err=True)
    else:
        click.echo(f"warning: {called.as_called(text)}", err=True)


def _user() -> str:
    """Return this process's user. For root it is the user of sudo(8); any other user may set SUDO_USER at will."""
    if os.geteuid() == 0 and (name := os.environ.get("SUDO_USER")):
        return name
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


pass_session = click.make_pass_decorator(Session)


def action(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - what click makes of it depends on what else decorates it
    """Pass the session to a command that changes the cloud, and add `--dry-run`."""

    @click.option("--dry-run", is_flag=True, help="Report whether the request would succeed; change nothing.")
    @pass_session
    @functools.wraps(function)
    def run(session: Session, /, *arguments: Any, dry_run: bool, **words: Any) -> None:  # noqa: ANN401
        if not dry_run:
            function(session, *arguments, **words)
            return
        session.dry_run = True
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # it would show missing objects
            function(session, *arguments, **words)
        code, text = "DryRunOperation", "the request would have succeeded; nothing was changed"
        if words.get("output") in MACHINE:
            show_value({"code": code, "message": text}, words["output"])
        else:
            click.echo(f"{code}: {text}")

    return run


def parse_tags(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Return `--tag key=value` options as tags."""
    tags = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE", context, parameter)
        tags[key] = text
    return tags


tag_option = click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", callback=parse_tags, help="Repeatable.")


def complete(*kinds: str) -> Any:  # noqa: ANN401 - click's own callback type is private
    """Return a completion function for the names of some kinds of resources."""

    def offer(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        options = context.find_root().params
        names = [name for kind in kinds for name in names_of(kind, options)]
        paths = [name for name in names if name.startswith(incomplete)]
        return sorted({*paths} or {last for name in names if (last := name.rpartition("/")[2]).startswith(incomplete)})

    return offer


def names_of(kind: str, options: Mapping[str, Any]) -> list[str]:
    """Return the command-line names of all resources of a kind, or nothing if they cannot be read."""
    from netorch.control.views.describe import resource_names
    from netorch.errors import NetorchError
    from netorch.records.inventory import read_inventory

    if options.get("lab"):
        return _names_in_lab(kind, options)
    try:
        session = Session(options.get("store"), options.get("owner"))
    except NetorchError:
        return []
    try:
        return resource_names(read_inventory(session.store), session.caller, kind)
    except NetorchError:
        return []
    finally:
        session.close()


def _names_in_lab(kind: str, options: Mapping[str, Any]) -> list[str]:
    """Return the names in a lab's store, which only a command inside the lab can read."""
    import subprocess

    from netorch.records.kinds import BY_PREFIX

    owner = ["--owner", options["owner"]] if options.get("owner") else []
    words = BY_PREFIX[kind].command.split()
    command = [sys.executable, "-m", "netorch", "--lab", options["lab"], *owner, *words, "list", "-o", "name"]
    plain = {name: value for name, value in os.environ.items() if name != "_NETORCH_COMPLETE"}
    try:
        done = subprocess.run(command, env=plain, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return []
    return [path.partition("/")[2] or path for path in done.stdout.split()]


def setting_option(name: str, help_text: str, **settings: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - click's own
    """Return the option of a setting. It overrides the setting's variable, which overrides the file."""
    setting = SETTINGS[name]
    return click.option(
        f"--{name.replace('_', '-')}",
        envvar=setting.variable,
        show_envvar=True,
        default=default_of(name),
        help=help_text,
        **{"show_default": setting.default(), **settings},
    )


host_option = setting_option(
    "host", "The host's name in the store.", show_default="the machine's name", shell_complete=complete("host")
)
state_option = setting_option(
    "state_dir",
    "Directory of the lock and of the snapshot, which the agent uses while the store is unreachable.",
    type=click.Path(path_type=Path),
)
flow_log_option = setting_option(
    "flow_log_dir", "Directory of flow logs, one subdirectory per owner.", type=click.Path(path_type=Path)
)
vpc_option = click.option("--vpc", help="Only this VPC.", shell_complete=complete("vpc"))
group_option = click.option(
    "--security-group",
    "groups",
    multiple=True,
    shell_complete=complete("sg"),
    help="A security group; repeatable. Default: the VPC's default group.",
)


class _Switch(click.Option):
    """An option of two words. An error shows both."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return " or ".join(map(repr, (*self.opts, *self.secondary_opts)))


def public_option(words: str, help_text: str, **settings: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - click's own
    """Return an option of two words for public addresses."""
    return click.option(words, cls=_Switch, help=help_text, **settings)


def source_dest_option(**settings: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - click's own
    """Return the option that switches the source/destination check of an interface on or off."""
    help_text = "Drop packets that are neither from nor to the interface's own addresses."
    return click.option("--source-dest-check/--no-source-dest-check", cls=_Switch, help=help_text, **settings)
