"""Instance metadata on a hypervisor: a listener in each VRF, and the content for each instance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from netorch.compiler.base import HostView, LocalEni, LocalTable, Part, Phase, VpcPart, VpcView
from netorch.model.eni import Instance, NetworkInterface, Role, primary_eni_id
from netorch.model.mapping import PublicMapping
from netorch.model.security import SecurityGroup
from netorch.model.services.metadata import InstanceFacts, InterfaceFacts, tree
from netorch.model.services.private_names import DOMAIN, address_label, public_name
from netorch.model.vpc import Subnet, Vpc
from netorch.state.base import KernelObject
from netorch.state.daemons.services.metadata import InstanceMetadata, MetadataListener
from netorch.state.names import vrf_name


class GroupName(msgspec.Struct, frozen=True, kw_only=True):
    """A security group's name: all that metadata shows of a group, so changed rules do not change metadata."""

    id: str
    name: str


def _listeners(view: VpcView) -> Iterator[KernelObject]:
    """Yield the listener for instances in each VRF."""
    for table in view.of(LocalTable) if view.local else ():
        yield MetadataListener(vni=view.vni, ifname=vrf_name(view.vni, table.number))


def _instances(view: VpcView) -> Iterator[KernelObject]:
    """Yield the metadata of each instance on this host."""
    by_instance: dict[str, list[LocalEni]] = {}
    for item in view.local:
        if item.phase is not Phase.INCOMING:
            by_instance.setdefault(item.instance.id, []).append(item)
    names = {group.id: group.name for group in view.of(GroupName)}
    public = {mapping.eni: mapping.address for mapping in view.of(PublicMapping)}
    for items in by_instance.values():
        yield _instance(view, items, names, public)


def _instance(view: VpcView, items: Sequence[LocalEni], names: dict[str, str], public: dict[str, str]) -> InstanceMetadata:
    instance, vpc = items[0].instance, view.vpc
    ordered = sorted(items, key=lambda item: (item.eni.id != primary_eni_id(instance.id), item.eni.address))
    options = instance.metadata
    facts = InstanceFacts(
        id=instance.id,
        owner=vpc.owner,
        vpc=vpc.id,
        cidrs=vpc.cidrs,
        ipv6_cidrs=vpc.ipv6_cidrs,
        interfaces=[_interface(item, names, public, vpc) for item in ordered],
        tags=tuple(_tags(instance)) if options.instance_metadata_tags else (),
    )
    return InstanceMetadata(
        vni=view.vni,
        id=instance.id,
        places=tuple((view.vrf_of(item.subnet), item.eni.address) for item in ordered),
        enabled=options.http_endpoint,
        needs_token=options.http_tokens,
        hop_limit=options.http_put_response_hop_limit,
        tree=tuple(sorted(tree(facts).items())),
        user_data=instance.user_data,
    )


def _tags(instance: Instance) -> Iterator[tuple[str, str]]:
    """Yield the tags that an instance may see: not netorch's own, and none whose key would be a path."""
    for key, value in sorted(instance.tags.items()):
        if not key.startswith("netorch:") and "/" not in key:
            yield key, value


def _interface(item: LocalEni, names: dict[str, str], public: dict[str, str], vpc: Vpc) -> InterfaceFacts:
    eni, subnet = item.eni, item.subnet
    public_address = public.get(eni.id, "")
    groups = sorted(((group, names[group]) for group in eni.groups if group in names), key=lambda pair: pair[1])
    return InterfaceFacts(
        id=eni.id,
        mac=eni.mac,
        address=eni.address,
        ipv6_address=eni.ipv6_address,
        subnet=subnet.id,
        subnet_cidr=subnet.cidr,
        subnet_ipv6_cidr=subnet.ipv6_cidr,
        hostname=f"{address_label(eni.address)}.{vpc.dhcp.domain_name or DOMAIN}",
        public_address=public_address,
        public_hostname=public_name(public_address) if public_address and vpc.has_hostnames else "",
        groups=tuple(groups),
    )


class MetadataCompiler:
    """Yields the objects that serve instance metadata on hypervisors."""

    name: Final = "metadata"
    reads: Final[frozenset[type]] = frozenset({Vpc, Subnet, NetworkInterface, Instance, SecurityGroup, PublicMapping})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(
            id="metadata.listeners",
            compile=_listeners,
            inputs=frozenset({HostView, LocalEni, LocalTable}),
            role=Role.HYPERVISOR,
        ),
        VpcPart(
            id="metadata",
            compile=_instances,
            inputs=frozenset({HostView, Vpc, LocalEni, LocalTable, GroupName, PublicMapping}),
            role=Role.HYPERVISOR,
        ),
    )
