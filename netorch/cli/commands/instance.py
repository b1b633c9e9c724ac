"""`netorch instance`."""

from __future__ import annotations

import base64
import errno
import os
import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import (
    Session,
    action,
    complete,
    group_option,
    pass_session,
    public_option,
    source_dest_option,
    tag_option,
)
from netorch.cli.nouns import Actions, Noun, add_common, resources_argument
from netorch.cli.output import MACHINE, Columns, list_output_option, show_rows
from netorch.errors import KernelError, NetorchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netorch.control.views.describe import InstanceInfo

COLUMNS = Columns(
    ("name", "vpc", "address", "public_address", "ipv6_address", "host", "state"),
    ("system_status", "mac", "security_groups", "tags", "id"),
)
STATES = ("pending", "running", "moving", "failed")  # of control.describe, which is not imported to read a command line
POLL_S = 0.05


@click.group()
def command() -> None:
    """Instances: namespaces, containers and virtual machines with an address in a VPC."""


def row(info: InstanceInfo) -> dict[str, Any]:
    """Return an instance as it is shown."""
    from netorch.model.services.metadata import option_words

    own = info.interfaces[0] if info.interfaces else None
    first = own.eni if own is not None else None
    return {
        **msgspec.structs.asdict(info.instance),
        "user_data": bool(info.instance.user_data),  # whether it has some, which may be secret
        "metadata": option_words(info.instance.metadata),
        "attachment": info.instance.attachment.value,
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "address": first.address if first is not None else "",
        "ipv6_address": first.ipv6_address if first is not None else "",
        "public_address": own.public.address if own is not None and own.public is not None else "",
        "mac": first.mac if first is not None else "",
        "security_groups": list(own.groups) if own is not None else [],
        "host": info.host,
        "state": info.state.value,
        "system_status": info.system_status.value,
        "reason": info.reason,
        "interfaces": [interface.eni.id for interface in info.interfaces],
    }


def _actions() -> Actions:
    from netorch.control.actions.instances import terminate_instance
    from netorch.control.views.describe import instance_info, instances_of

    return Actions(instances_of, instance_info, terminate_instance)


NOUN = Noun("i", "instance", COLUMNS, row, _actions, filters={"host": (), "state": STATES})
add_common(command, NOUN, "Terminate instances.\n\nThis deletes their own interfaces and addresses.", verb="terminate")


def _rows(session: Session, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of instances of one VPC or more, in that order."""
    from netorch.control.views.describe import describe_instances

    found = {info.instance.id: info for info in describe_instances(session.around([("i", i) for i in ids]), session.caller)}
    return [row(found[instance_id]) for instance_id in ids]


def wait_until(session: Session, ids: Sequence[str], state: str, timeout_s: float) -> list[dict[str, Any]]:
    """Return the rows of instances once all have reached a state. Raises NetorchError when one failed or time is over."""
    end = time.monotonic() + timeout_s
    while True:
        rows = _rows(session, ids)
        if session.dry_run or all(found["state"] == state for found in rows):
            return rows
        failed = next((found for found in rows if found["state"] == "failed"), None)
        if time.monotonic() > end:
            late = failed or next(found for found in rows if found["state"] != state)
            why = f": {late['reason']}" if late["reason"] else f"; is the agent of host {late['host']} running? `netorch status`"
            raise NetorchError(f"instance {late['name']}: still {late['state']} after {timeout_s:g} s{why}")
        time.sleep(POLL_S)


def metadata_options(command: Any) -> Any:  # noqa: ANN401 - what click makes of a function
    """Add the options that say how an instance may ask for its metadata."""
    words = (
        ("--http-endpoint", ["enabled", "disabled"], "Whether the instance can read its metadata. Default: enabled."),
        ("--http-tokens", ["required", "optional"], "Whether metadata requests need a token (IMDSv2). Default: required."),
        ("--instance-metadata-tags", ["enabled", "disabled"], "Whether metadata contain the tags. Default: disabled."),
    )
    for option, choice, text in words:
        command = click.option(option, type=click.Choice(choice), help=text)(command)
    text = "Hop limit of answers with a token, 1 to 64. Default: 1."
    return click.option("--http-put-response-hop-limit", type=int, metavar="HOPS", help=text)(command)


def asked_options(requests: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of metadata that were asked for, as they are stored."""
    fields = ("http_endpoint", "http_tokens", "instance_metadata_tags", "http_put_response_hop_limit")
    said = {field: requests[field] for field in fields if requests[field] is not None}
    on = {"enabled": True, "required": True, "disabled": False, "optional": False}
    return {field: on.get(value, value) for field, value in said.items()}


@command.command("modify-metadata-options")
@click.argument("instance", shell_complete=complete("i"))
@metadata_options
@action
def modify_metadata_options(session: Session, instance: str, **requests: Any) -> None:  # noqa: ANN401
    """Change how an instance reads its metadata.

    Options that you leave out stay as they are.
    """
    from netorch.control.actions.services.metadata import modify_metadata_options as modify
    from netorch.model.services.metadata import option_words

    changed = modify(session.store, session.caller, session.id_of("i", instance), asked_options(requests))
    told = ", ".join(f"{word.replace('_', '-')} {value}" for word, value in option_words(changed.metadata).items())
    click.echo(f"{instance}: {told}")


@command.command()
@click.argument("name")
@click.option("--vpc", help="Use this VPC's only subnet. Default: the default VPC.", shell_complete=complete("vpc"))
@click.option("--subnet", help="Default: the only one of --vpc.", shell_complete=complete("subnet"))
@click.option(
    "--host",
    default="",
    help="Default: netorch chooses: few interfaces of this VPC first, then few overall.",
    shell_complete=complete("host"),
)
@click.option("--address", default="", help="Default: the next free one.")
@click.option("--ipv6-address", default="", help="Default: the next free one, if the subnet has an IPv6 range.")
@click.option("--attachment", type=click.Choice(["netns", "existing", "tap"]), default="netns", show_default=True)
@click.option("--netns", default="", help="With --attachment existing, the operator's only: a name in /run/netns, or a path.")
@group_option
@source_dest_option(default=True, show_default=True)
@public_option(
    "--public-address/--no-public-address",
    "Whether it gets an ephemeral public address. Default: the subnet's setting.",
    default=None,
)
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Run this many; they are called NAME-0, NAME-1 ...",
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is running.")
@click.option("--timeout", type=float, default=30.0, show_default=True, metavar="SECONDS")
@click.option(
    "--user-data", type=click.File("rb"), help="A file that the instance reads, up to 16 KiB, e.g. for cloud-init; - is stdin."
)
@metadata_options
@tag_option
@list_output_option
@action
def run(session: Session, /, name: str, count: int, wait: bool, timeout: float, output: str, **requests: Any) -> None:  # noqa: ANN401
    """Run an instance.

    With only a name it runs in the default VPC, on a host that netorch chooses."""
    from netorch.control.actions.instances import RunRequest, run_instances
    from netorch.model.eni import Attachment
    from netorch.model.services.metadata import MetadataOptions

    vpc = session.id_of("vpc", requests["vpc"]) if requests["vpc"] else ""
    subnet = session.id_beside("subnet", requests["subnet"], vpc) if requests["subnet"] else ""
    request = RunRequest(
        name=name,
        vpc=vpc,
        subnet=subnet,
        host=requests["host"],
        address=requests["address"],
        ipv6_address=requests["ipv6_address"],
        groups=tuple(session.id_beside("sg", group, subnet or vpc) for group in requests["groups"]),
        source_dest_check=requests["source_dest_check"],
        public_address=requests["public_address"],
        attachment=Attachment(requests["attachment"]),
        netns=requests["netns"],
        user_data=base64.b64encode(requests["user_data"].read()).decode() if requests["user_data"] else "",
        metadata=MetadataOptions(**asked_options(requests)),
        tags=requests["tags"],
    )
    ids = [placed.instance.id for placed in run_instances(session.store, session.caller, request, count)]
    if wait:
        wait_until(session, ids, "running", timeout)
    rows = _rows(session, ids)
    shown = rows if output in MACHINE else session.named(rows, session.around([("i", ids[0])]))
    show_rows(shown, COLUMNS, output)


@command.command()
@resources_argument("i", "instance", "host")
@click.argument("host", shell_complete=complete("host"))
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until they have moved.")
@click.option("--timeout", type=float, default=30.0, show_default=True, metavar="SECONDS")
@action
def move(session: Session, resources: tuple[str, ...], host: str, wait: bool, timeout: float) -> None:
    """Move instances to another host.

    Their traffic goes on.
    """
    from netorch.control.actions.moves import move_instance

    ids = session.ids_of("i", resources)
    for instance_id in ids:
        move_instance(session.store, session.caller, instance_id, host)
    if wait:
        wait_until(session, ids, "running", timeout)
    for instance in dict.fromkeys(resources):
        click.echo(f"{instance} is on {host}" if wait else f"{instance} moves to {host}")


@command.command("set-groups")
@click.argument("instance", shell_complete=complete("i"))
@click.argument("groups", nargs=-1, required=True, shell_complete=complete("sg"))
@action
def set_groups(session: Session, instance: str, groups: tuple[str, ...]) -> None:
    """Set the security groups of an instance.

    This changes its own interface only; others keep their groups.
    """
    from netorch.control.actions.memberships import modify_instance_groups

    found = session.find("i", instance)[1]
    ids = [session.id_beside("sg", group, found.id) for group in groups]
    changed = modify_instance_groups(session.store, session.caller, found.id, ids)
    click.echo(f"{instance} is in {' '.join(changed.groups)}")


@command.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("instance", shell_complete=complete("i"))
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_session
def exec_(session: Session, instance: str, argv: tuple[str, ...]) -> None:
    """Run a command inside an instance.

    Runs in its namespace: on the host that carries it, or in a lab.

    Example: netorch instance exec acme/web-1 -- ping 10.44.13.5
    """
    from netorch.drivers import netns
    from netorch.model.eni import Attachment

    found = session.find("i", instance)[1]
    if found.attachment is Attachment.TAP:
        raise NetorchError(f"instance {instance}: is a virtual machine and has no namespace; log in to it instead")
    namespace = found.netns or found.id
    try:
        os.close(netns.find(namespace))
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        host = _rows(session, [found.id])[0]["host"]
        what = f"its namespace {namespace} is not on this machine"
        raise NetorchError(f"instance {instance}: {what}; it runs on {host}: run this there, as root") from error
    session.close()
    netns.exec_inside(namespace, argv)


command.add_command(run, "create")
command.add_command(command.commands["terminate"], "delete")
