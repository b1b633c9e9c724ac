"""`netorch diff`."""

from __future__ import annotations

import difflib
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from netorch.cli.context import Session, pass_session
from netorch.cli.planning import file_option, make_plan, read_cloud
from netorch.model.cloud import TunnelDecl
from netorch.model.normal import (
    normal_bucket,
    normal_connection,
    normal_customer_gateway,
    normal_dhcp_options,
    normal_elastic_ip,
    normal_pool,
    normal_service,
    normal_vpc,
    normal_zone,
)
from netorch.model.outside.vif_rules import other_end

if TYPE_CHECKING:
    from netorch.model.cloud import Cloud, ElasticIpDecl, InstanceDecl, VirtualInterfaceDecl, VpcDecl, VpnConnectionDecl
    from netorch.model.endpoints.declared import BucketDecl, EndpointServiceDecl


@click.command()
@file_option
@pass_session
@click.pass_context
def command(context: click.Context, session: Session, path: Path) -> None:
    """Show how the cloud differs from a file, as a unified diff of two vpc.yaml; `plan` shows what would happen.

    Only what the file declares is compared. Exit codes: 0 no difference, 2 differences.
    """
    from netorch.control.views.export import export_inventory
    from netorch.model.outside.provided import relative
    from netorch.records.caller import Caller
    from netorch.records.inventory import read_inventory
    from netorch.spec.export import to_yaml

    cloud = read_cloud(session, path)
    if not make_plan(session, path, cloud).changes:
        return
    inventory = read_inventory(session.store)
    pools = {(vpc.owner, vpc.name): vpc.ipv6_pools for records in inventory.vpcs.values() for vpc in (records.vpc.record,)}
    named = [relative(vpc, pools.get((vpc.owner, vpc.name), ())) for vpc in cloud.vpcs]
    exported = export_inventory(inventory, Caller(operator=True))
    found, wanted = _comparable(exported, msgspec.structs.replace(cloud, vpcs=named))
    lines = difflib.unified_diff(
        to_yaml(found).splitlines(keepends=True), to_yaml(wanted).splitlines(keepends=True), "cloud", str(path)
    )
    for line in lines:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[0])
        click.echo(click.style(line, fg=colour), nl=False)
    context.exit(2)


def _comparable(stored: Cloud, wanted: Cloud) -> tuple[Cloud, Cloud]:
    """Return both sides in one order, the stored one without what the file does not name, the file with its choices made."""
    vpcs = {(vpc.owner, vpc.name): vpc for vpc in stored.vpcs}
    hosts, pools = {host.name for host in wanted.hosts}, {pool.name for pool in wanted.address_pools}
    devices = {(decl.owner, decl.name) for decl in wanted.customer_gateways}
    sets = {(decl.owner, decl.name) for decl in wanted.dhcp_options}
    zones = {(decl.owner, decl.name) for decl in wanted.private_zones}
    ports = {decl.name for decl in wanted.connections}
    services = {decl.name for decl in wanted.gateway_services}
    policies = {decl.name: decl.policy for decl in stored.buckets}
    buckets = {decl.name: _with_policy(decl, policies) for decl in wanted.buckets}
    known = {(decl.owner, decl.name): decl for decl in stored.elastic_ips}
    elastic = {key: _held(decl, known.get(key)) for decl in wanted.elastic_ips for key in ((decl.owner, decl.name),)}
    named = [vpcs[key] for key in sorted((vpc.owner, vpc.name) for vpc in wanted.vpcs) if key in vpcs]
    chosen = [_chosen(vpc, vpcs.get((vpc.owner, vpc.name))) for vpc in wanted.vpcs]
    found = msgspec.structs.replace(
        stored,
        hosts=[host for host in stored.hosts if host.name in hosts],
        address_pools=[normal_pool(pool) for pool in stored.address_pools if pool.name in pools],
        connections=[normal_connection(decl) for decl in stored.connections if decl.name in ports],
        gateway_services=[normal_service(decl) for decl in stored.gateway_services if decl.name in services],
        buckets=[normal_bucket(decl) for decl in stored.buckets if decl.name in buckets],
        customer_gateways=[
            normal_customer_gateway(decl) for decl in stored.customer_gateways if (decl.owner, decl.name) in devices
        ],
        dhcp_options=[normal_dhcp_options(decl) for decl in stored.dhcp_options if (decl.owner, decl.name) in sets],
        private_zones=[decl for decl in stored.private_zones if (decl.owner, decl.name) in zones],
        elastic_ips=[normal_elastic_ip(decl) for decl in stored.elastic_ips if (decl.owner, decl.name) in elastic],
        vpcs=[normal_vpc(vpc) for vpc in named],
        instances=[],
    )
    ordered = msgspec.structs.replace(
        wanted,
        hosts=sorted(wanted.hosts, key=lambda host: host.name),
        address_pools=sorted(map(normal_pool, wanted.address_pools), key=lambda pool: pool.name),
        connections=sorted(map(normal_connection, wanted.connections), key=lambda decl: decl.name),
        gateway_services=sorted(map(normal_service, wanted.gateway_services), key=lambda decl: decl.name),
        buckets=sorted(map(normal_bucket, buckets.values()), key=lambda decl: decl.name),
        customer_gateways=sorted(
            map(normal_customer_gateway, wanted.customer_gateways), key=lambda decl: (decl.owner, decl.name)
        ),
        dhcp_options=sorted(map(normal_dhcp_options, wanted.dhcp_options), key=lambda decl: (decl.owner, decl.name)),
        private_zones=sorted(map(normal_zone, wanted.private_zones), key=lambda decl: (decl.owner, decl.name)),
        elastic_ips=sorted(map(normal_elastic_ip, elastic.values()), key=lambda decl: (decl.owner, decl.name)),
        vpcs=sorted((normal_vpc(vpc) for vpc in chosen), key=lambda vpc: (vpc.owner, vpc.name)),
    )
    return found, ordered


def _with_policy(decl: BucketDecl, policies: dict[str, str | msgspec.UnsetType]) -> BucketDecl:
    """Return a declared bucket with the policy that it has, if the file leaves that to its owner."""
    stays = decl.policy is msgspec.UNSET
    return msgspec.structs.replace(decl, policy=policies.get(decl.name, msgspec.UNSET)) if stays else decl


def _chosen(vpc: VpcDecl, stored: VpcDecl | None) -> VpcDecl:
    known = {instance.name: instance for instance in stored.instances} if stored is not None else {}
    instances = [_filled(instance, known.get(instance.name)) for instance in vpc.instances]
    vni = vpc.vni if vpc.vni is not None or stored is None else stored.vni
    found = {vif.name: vif for vif in stored.virtual_interfaces} if stored is not None else {}
    vifs = [_drawn(vif, found.get(vif.name)) for vif in vpc.virtual_interfaces]
    told = {vpn.name: vpn for vpn in stored.vpn_connections} if stored is not None else {}
    vpns = [_numbered(vpn, told.get(vpn.name)) for vpn in vpc.vpn_connections]
    accepted = {one.name: one.accept for one in stored.endpoint_services} if stored is not None else {}
    services = [_accepting(one, accepted.get(one.name, msgspec.UNSET)) for one in vpc.endpoint_services]
    fields = {"instances": instances, "virtual_interfaces": vifs, "vpn_connections": vpns, "endpoint_services": services}
    return msgspec.structs.replace(vpc, vni=vni, **fields)


def _accepting(decl: EndpointServiceDecl, accepted: list[str] | msgspec.UnsetType) -> EndpointServiceDecl:
    """Return a declared service with the connections that commands have accepted, if the file leaves that to them."""
    return msgspec.structs.replace(decl, accept=accepted) if decl.accept is msgspec.UNSET else decl


def _numbered(vpn: VpnConnectionDecl, stored: VpnConnectionDecl | None) -> VpnConnectionDecl:
    """Return a declared VPN connection with the networks inside its tunnels that netorch has drawn."""
    if stored is None:
        return vpn
    pairs = zip_longest(vpn.tunnels, stored.tunnels, fillvalue=TunnelDecl())
    tunnels = [msgspec.structs.replace(wanted, inside_cidr=wanted.inside_cidr or known.inside_cidr) for wanted, known in pairs]
    return msgspec.structs.replace(vpn, tunnels=tunnels)


def _drawn(vif: VirtualInterfaceDecl, stored: VirtualInterfaceDecl | None) -> VirtualInterfaceDecl:
    """Return a declared virtual interface with the addresses that netorch has drawn, and a key by the name that stands for it."""
    if stored is None:
        return vif
    if not vif.address:
        vif = msgspec.structs.replace(vif, address=stored.address, peer=stored.peer)
    key_file = stored.key_file if vif.key_file and stored.key_file else vif.key_file
    return msgspec.structs.replace(vif, peer=vif.peer or other_end(vif.address), key_file=key_file)


def _filled(instance: InstanceDecl, stored: InstanceDecl | None) -> InstanceDecl:
    """Return a declared instance with what was left to netorch as netorch has chosen it."""
    if stored is None:
        return instance
    left_out = ("subnet", "host", "address", "ipv6_address", "mac")
    fields = {name: getattr(stored, name) for name in left_out if not getattr(instance, name)}
    if not instance.user_data and not instance.user_data_base64:
        fields |= {name: getattr(stored, name) for name in ("user_data", "user_data_base64")}
    if instance.public_address is msgspec.UNSET and not instance.elastic_ip:
        fields["public_address"] = stored.public_address
    return msgspec.structs.replace(instance, **fields)


def _held(decl: ElasticIpDecl, stored: ElasticIpDecl | None) -> ElasticIpDecl:
    """Return a declared elastic IP with the address that netorch has chosen."""
    if stored is None:
        return decl
    return msgspec.structs.replace(decl, pool=decl.pool or stored.pool, address=decl.address or stored.address)
