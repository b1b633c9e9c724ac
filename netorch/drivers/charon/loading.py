"""Loading of connections into charon, and its answers about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from netorch.drivers.charon.control import Control, sections, strings, text
from netorch.drivers.charon.kept import Kept
from netorch.drivers.charon.messages import child_name, load_conn, load_shared, shared_id
from netorch.drivers.charon.sas import IkeSa, ike_sas
from netorch.model.ids import is_id, vni_of
from netorch.model.outside.secrets import Secret
from netorch.state.base import HOST_SLICE
from netorch.state.daemons.ike import IkeConnection


def loaded(control: Control, kept: Mapping[str, Kept]) -> Iterator[IkeConnection]:
    """Yield charon's connections. Raises CharonError."""
    secrets = _secrets(control)
    for answer in control.stream("list-conns", "list-conn"):
        for name, found in sections(answer).items():
            known = kept.get(name)
            if known is not None and _is_whole(known, set(sections(found, "children")), secrets):
                yield known.connection
            else:
                yield _strange(name)


def load(control: Control, connection: IkeConnection, secret: Secret) -> Kept:
    """Load a connection, replacing one with the same name; SAs are kept. Raises CharonError."""
    if connection.certificate:
        key = text(control.ask("load-key", {"type": "any", "data": secret.key}), "id")
    else:
        key = ""
        control.ask("load-shared", load_shared(connection, secret.psk))
    control.ask("load-conn", load_conn(connection))
    return Kept(connection=connection, key=key)


def unload(control: Control, name: str) -> None:
    """Unload a connection and terminate its SAs; absence is fine. Raises CharonError."""
    control.tell("unload-conn", {"name": name})
    control.tell("terminate", {"ike": name, "force": "yes"})


def end_childless(control: Control, names: Set[str]) -> None:
    """Terminate these connections' IKE_SAs that have no CHILD_SA, and so do not show which options they were made with.

    Raises:
      CharonError: charon does not answer.
    """
    for sa in list_sas(control) if names else ():
        if sa.name in names and not sa.children:
            control.tell("terminate", {"ike-id": sa.id, "force": "yes", "timeout": "-1"})


def forget_secrets(control: Control, kept: Mapping[str, Kept]) -> None:
    """Unload all secrets except those of these connections. Raises CharonError."""
    wanted = {known.key or shared_id(known.connection) for known in kept.values()}
    for command, secret in (("unload-shared", "get-shared"), ("unload-key", "get-keys")):
        for found in strings(control.ask(secret), "keys"):
            if found not in wanted:
                control.ask(command, {"id": found})


def list_sas(control: Control) -> tuple[IkeSa, ...]:
    """Return the present IKE_SAs. Raises CharonError."""
    return tuple(ike_sas(control.stream("list-sas", "list-sa")))


def _secrets(control: Control) -> set[str]:
    return {*strings(control.ask("get-shared"), "keys"), *strings(control.ask("get-keys"), "keys")}


def _is_whole(known: Kept, children: set[str], secrets: set[str]) -> bool:
    connection = known.connection
    return children == {child_name(connection)} and (known.key or shared_id(connection)) in secrets


def _strange(name: str) -> IkeConnection:
    """Return a connection that is never wanted, in place of one that others have loaded."""
    vpn = name.rpartition("-")[0]
    return IkeConnection(
        vni=vni_of(vpn) if is_id(vpn, "vpn") else HOST_SLICE,
        name=name,
        version=0,
        local="",
        remote="",
        local_identity="",
        remote_identity="",
        proposals=(),
        child_proposals=(),
        local_traffic="",
        remote_traffic="",
        if_id=0,
        lifetime=0,
        child_lifetime=0,
        rekey_margin=0,
        rekey_fuzz=0,
        replay_window=0,
        dpd_delay=0,
        dpd_action="",
        initiates=False,
        secret="",
    )
