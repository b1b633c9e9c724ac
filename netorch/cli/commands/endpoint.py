"""`netorch endpoint`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, pass_session, tag_option
from netorch.cli.nouns import (
    Actions,
    Noun,
    add_common,
    add_delete,
    add_list,
    add_show,
    add_tagging,
    resource_argument,
)
from netorch.cli.output import Columns, output_option, show_record

if TYPE_CHECKING:
    from netorch.control.actions.endpoints.gateway import EndpointInfo
    from netorch.control.actions.endpoints.interface import InterfaceEndpointInfo
    from netorch.control.actions.endpoints.services import ServiceInfo
    from netorch.model.endpoints.endpoint import BucketPolicy

COLUMNS = Columns(
    ("name", "vpc", "type", "service_name", "route_tables", "addresses", "state"),
    ("prefixes", "subnets", "security_groups", "dns_name", "private_dns_name", "pair", "edges", "tags", "id"),
)
SERVICE_COLUMNS = Columns(("name", "service_name", "prefixes", "hosts", "endpoints"), ("upstream", "tls", "tags"))
BUCKET_COLUMNS = Columns(("name", "service", "for", "policy"), ("tags",))


@click.group()
def command() -> None:
    """Endpoints: a VPC reaches services without an internet gateway.

    Gateway endpoints lead to the operator's services, such as S3. Interface endpoints lead to services of other VPCs:
    `netorch endpoint-service`.
    """


def row(info: EndpointInfo | InterfaceEndpointInfo) -> dict[str, Any]:
    """Return an endpoint as it is shown."""
    from netorch.control.actions.endpoints.gateway import EndpointInfo

    found = {
        **msgspec.structs.asdict(info.endpoint),
        "type": info.endpoint.type.value,
        "state": info.endpoint.state.value,
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "edges": list(info.edges),
    }
    if isinstance(info, EndpointInfo):
        own = {"service_name": info.service_name, "prefixes": info.prefixes, "route_tables": info.route_tables, "pair": info.pair}
    else:
        addresses = {"addresses": info.addresses, "subnets": info.subnets, "security_groups": info.groups}
        own = {"service_name": info.endpoint.service, "dns_name": info.dns_name, **addresses}
    return found | {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}


def _actions() -> Actions:
    from netorch.control.actions.endpoints.both import delete_endpoint, describe_endpoint, describe_endpoints

    return Actions(describe_endpoints, describe_endpoint, delete_endpoint)


NOUN = Noun("vpce", "endpoint", COLUMNS, row, _actions, operators=("pair", "edges"))
add_common(command, NOUN, "Delete an endpoint.\n\nIts routes are deleted with it.")

_policy_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@click.option(
    "--service", required=True, help="E.g. com.netorch.s3, or the id of an endpoint service.", shell_complete=complete("gwsvc")
)
@click.option("--type", "of_type", type=click.Choice(["Gateway", "Interface"]), default="Gateway", show_default=True)
@click.option(
    "--route-table", "tables", multiple=True, help="A table that gets a route; repeatable.", shell_complete=complete("rtb")
)
@click.option("--policy", type=_policy_file, help="A file with an IAM policy. Default: everything is permitted.")
@click.option(
    "--subnet", "subnets", multiple=True, help="A subnet for its addresses; repeatable.", shell_complete=complete("subnet")
)
@click.option(
    "--security-group",
    "groups",
    multiple=True,
    help="A security group for traffic to the endpoint; repeatable. Default: the default group.",
    shell_complete=complete("sg"),
)
@click.option("--private-dns", is_flag=True, help="Resolve the service's private DNS name to the endpoint.")
@tag_option
@output_option
@action
def create(
    session: Session,
    name: str,
    vpc: str,
    service: str,
    of_type: str,
    tables: tuple[str, ...],
    policy: Path | None,
    subnets: tuple[str, ...],
    groups: tuple[str, ...],
    private_dns: bool,
    tags: dict[str, str],
    output: str,
) -> None:
    """Create an endpoint.

    Route tables lead to a gateway endpoint, by a route to the service's prefix list: `netorch route-table show TABLE`.
    An interface endpoint has an address in each of its subnets. The provider of the service may have to accept it.
    """
    from netorch.control.actions.endpoints.gateway import create_gateway_endpoint

    if of_type == "Interface":
        if tables or policy is not None:
            raise click.UsageError("--route-table and --policy are for gateway endpoints")
        _create_interface(session, name, vpc, service, subnets, groups, tags, output, private_dns=private_dns)
        return
    if subnets or groups or private_dns:
        raise click.UsageError("--subnet, --security-group and --private-dns are for interface endpoints")
    made = create_gateway_endpoint(
        session.store,
        session.caller,
        session.id_of("vpc", vpc),
        service,
        name=name,
        route_tables=session.ids_of("rtb", tables),
        policy=_text_of(policy),
        tags=tags,
    )
    NOUN.show(session, made.id, output)


def _create_interface(
    session: Session,
    name: str,
    vpc: str,
    service: str,
    subnets: tuple[str, ...],
    groups: tuple[str, ...],
    tags: dict[str, str],
    output: str,
    *,
    private_dns: bool,
) -> None:
    """Create an endpoint of type Interface; another owner's service goes by its id alone."""
    from netorch.control.actions.endpoints.interface import create_interface_endpoint
    from netorch.model.ids import is_id

    made = create_interface_endpoint(
        session.store,
        session.caller,
        session.id_of("vpc", vpc),
        service if is_id(service, "vpce-svc") else session.id_of("vpce-svc", service),
        name=name,
        subnets=session.ids_of("subnet", subnets),
        groups=session.ids_of("sg", groups),
        private_dns=private_dns,
        tags=tags,
    )
    NOUN.show(session, made.id, output)


def _text_of(policy: Path | None) -> str:
    return policy.read_text().strip() if policy is not None else ""


@command.command()
@resource_argument("vpce", "endpoint")
@click.option(
    "--add-route-table", "more", multiple=True, help="A table that gets a route; repeatable.", shell_complete=complete("rtb")
)
@click.option(
    "--remove-route-table",
    "less",
    multiple=True,
    help="A route table that loses its route to the endpoint; repeatable.",
    shell_complete=complete("rtb"),
)
@click.option("--policy", type=_policy_file, help="A file with the new IAM policy.")
@click.option("--reset-policy", is_flag=True, help="Remove the policy: everything is permitted.")
@click.option("--add-subnet", "add_subnets", multiple=True, help="A further subnet.", shell_complete=complete("subnet"))
@click.option("--remove-subnet", "remove_subnets", multiple=True, help="A subnet to remove.", shell_complete=complete("subnet"))
@click.option("--add-security-group", "add_groups", multiple=True, help="A further group.", shell_complete=complete("sg"))
@click.option("--remove-security-group", "remove_groups", multiple=True, help="A group to remove.", shell_complete=complete("sg"))
@output_option
@action
def modify(
    session: Session,
    resource: str,
    more: tuple[str, ...],
    less: tuple[str, ...],
    policy: Path | None,
    reset_policy: bool,
    add_subnets: tuple[str, ...],
    remove_subnets: tuple[str, ...],
    add_groups: tuple[str, ...],
    remove_groups: tuple[str, ...],
    output: str,
) -> None:
    """Change an endpoint.

    Of a gateway endpoint: its route tables or its policy. Of an interface endpoint: its subnets or its security groups.
    Connections through a subnet that is removed end.
    """
    from netorch.control.actions.endpoints.gateway import modify_gateway_endpoint
    from netorch.control.actions.endpoints.interface_changes import modify_interface_endpoint

    if reset_policy and policy is not None:
        raise click.UsageError("--policy and --reset-policy are mutually exclusive; give one of them")
    if any((add_subnets, remove_subnets, add_groups, remove_groups)):
        if more or less or reset_policy or policy is not None:
            raise click.UsageError("options for gateway endpoints and for interface endpoints cannot be combined")
        made = modify_interface_endpoint(
            session.store,
            session.caller,
            session.id_of("vpce", resource),
            add_groups=session.ids_of("sg", add_groups),
            remove_groups=session.ids_of("sg", remove_groups),
            add_subnets=session.ids_of("subnet", add_subnets),
            remove_subnets=session.ids_of("subnet", remove_subnets),
        )
        NOUN.show(session, made.id, output)
        return
    changed = modify_gateway_endpoint(
        session.store,
        session.caller,
        session.id_of("vpce", resource),
        add_route_tables=session.ids_of("rtb", more),
        remove_route_tables=session.ids_of("rtb", less),
        policy=_text_of(policy) if policy is not None or reset_policy else None,
    )
    NOUN.show(session, changed.id, output)


@command.group("service")
def services() -> None:
    """Services behind gateway endpoints. The operator creates them."""


def service_row(info: ServiceInfo) -> dict[str, Any]:
    """Return a service as the operator sees it."""
    return {
        **msgspec.structs.asdict(info.service),
        "service_name": info.service.service_name,
        "endpoints": info.endpoints,
    }


def _service_actions() -> Actions:
    from netorch.control.actions.endpoints.services import delete_service, describe_service, describe_services

    return Actions(describe_services, describe_service, delete_service)


SERVICE = Noun(
    "gwsvc",
    "service",
    SERVICE_COLUMNS,
    service_row,
    _service_actions,
    operators=("upstream", "tls", "endpoints"),
    within_vpcs=False,
)
add_common(services, SERVICE, "Delete services that no endpoint leads to.")

_prefixes_help = "Addresses at which VPCs reach the service, e.g. 198.19.0.0/24; repeatable."
_upstream_help = "The server that edges reach from the outside: http://ADDRESS:PORT."
_tls_help = "ADDRESS:PORT to which edges pass TLS on unchanged. Default: no TLS."
_host_help = "A host name of the service in VPCs, e.g. s3.example.net; repeatable."


@services.command("create")
@click.argument("name")
@click.option("--prefix", "prefixes", multiple=True, required=True, help=_prefixes_help)
@click.option("--upstream", required=True, help=_upstream_help)
@click.option("--tls", default="", help=_tls_help)
@click.option("--host", "hosts", multiple=True, help=f"{_host_help} Default: NAME.netorch.internal.")
@tag_option
@output_option
@action
def create_service(
    session: Session,
    name: str,
    prefixes: tuple[str, ...],
    upstream: str,
    tls: str,
    hosts: tuple[str, ...],
    tags: dict[str, str],
    output: str,
) -> None:
    """Create a service, such as s3."""
    from netorch.control.actions.endpoints import services as actions

    made = actions.create_service(
        session.store, session.caller, name=name, prefixes=prefixes, upstream=upstream, tls=tls, hosts=hosts, tags=tags
    )
    SERVICE.show(session, made.name, output)


@services.command("modify")
@resource_argument("gwsvc", "service")
@click.option("--prefix", "prefixes", multiple=True, help=f"{_prefixes_help} Replaces all existing ones.")
@click.option("--upstream", default="", help=_upstream_help)
@click.option("--tls", default=None, help=f"{_tls_help} '' for none.")
@click.option("--host", "hosts", multiple=True, help=f"{_host_help} Replaces all existing ones.")
@output_option
@action
def modify_service(
    session: Session,
    resource: str,
    prefixes: tuple[str, ...],
    upstream: str,
    tls: str | None,
    hosts: tuple[str, ...],
    output: str,
) -> None:
    """Change a service. VPCs that use it follow the change."""
    from netorch.control.actions.endpoints import services as actions

    changed = actions.modify_service(
        session.store, session.caller, resource, prefixes=prefixes, upstream=upstream, tls=tls, hosts=hosts
    )
    SERVICE.show(session, changed.name, output)


@command.group("bucket-policy")
def buckets() -> None:
    """Policies of buckets. The operator assigns a bucket to an owner. The owner decides who may use it, and from which VPCs."""


def bucket_row(bucket: BucketPolicy) -> dict[str, Any]:
    """Return a bucket as it is shown: `for` is its owner, who is no part of its name."""
    found = msgspec.structs.asdict(bucket)
    return {"for" if field == "owner" else field: value for field, value in found.items()}


def _bucket_actions() -> Actions:
    from netorch.control.actions.endpoints.buckets import delete_bucket_policy, describe_bucket, describe_buckets

    return Actions(describe_buckets, describe_bucket, delete_bucket_policy)


BUCKET = Noun("bucket", "bucket", BUCKET_COLUMNS, bucket_row, _bucket_actions, within_vpcs=False)
_delete_help = "Delete policies. If the operator does so, the bucket has no owner any more."
add_list(buckets, "List buckets that have an owner.", BUCKET_COLUMNS, BUCKET.rows, within_vpcs=False)
add_show(buckets, "bucket", "bucket", "Show buckets.", BUCKET.show_several)
add_tagging(buckets, "bucket", "bucket")
add_delete(buckets, "bucket", "bucket", _delete_help, lambda: BUCKET.actions().delete)


@buckets.command("put")
@click.argument("bucket", shell_complete=complete("bucket"))
@click.option("--policy", type=_policy_file, help="A file with an IAM policy. Default: none.")
@click.option("--for", "owner", default="", metavar="OWNER", help="The owner of the bucket; only the operator sets it.")
@click.option("--service", default="", help="The bucket's service; set by the operator.", shell_complete=complete("gwsvc"))
@output_option
@action
def put(session: Session, bucket: str, policy: Path | None, owner: str, service: str, output: str) -> None:
    """Set the policy of a bucket. It replaces an existing one."""
    from netorch.control.actions.endpoints.buckets import put_bucket_policy

    made = put_bucket_policy(session.store, session.caller, bucket, _text_of(policy), service=service, owner=owner)
    show_record(bucket_row(made), output)


@buckets.command("get")
@click.argument("bucket", shell_complete=complete("bucket"))
@pass_session
def get(session: Session, bucket: str) -> None:
    """Print a bucket's policy as it was written, or nothing if it has none."""
    from netorch.control.actions.endpoints.buckets import describe_bucket

    click.echo(describe_bucket(session.store, session.caller, bucket).policy)
