"""Instances: running and terminating them. The mappings of its interfaces tell which host an instance runs on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import msgspec

from netorch.control.actions.enis import (
    attached_to,
    choose_mac,
    create_writes,
    delete_writes,
    detach_writes,
    fresh_id,
    hosts_of,
    macs_taken,
    map_to,
    room_for_interfaces,
)
from netorch.control.actions.groups import choose_groups, join
from netorch.control.actions.vpcs import default_vpc_writes
from netorch.control.base import checks, namespaces
from netorch.control.base.addresses import AddressPool, open_pool
from netorch.control.base.logged import Logs, logs_of
from netorch.control.base.named import add_name, drop_name
from netorch.control.base.public import Publics, ephemeral_of, publics_of
from netorch.control.base.writes import Writes, ahead, attempt, take_name
from netorch.control.placement.choice import StoredHosts, choose_host, place_on
from netorch.errors import ApiError
from netorch.model import rules
from netorch.model.cloud import DEFAULT_SUBNET_NAME, DEFAULT_VPC_NAME
from netorch.model.eni import Attachment, Host, Instance, NetworkInterface, primary_eni_id
from netorch.model.mapping import Mapping
from netorch.model.security import SecurityGroup
from netorch.model.services import metadata as told
from netorch.model.services.metadata import MetadataOptions
from netorch.model.vpc import Subnet, Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name, invalid
from netorch.records.hosts import HostState
from netorch.records.read import Stored, mappings_of, read, read_all, read_vpc
from netorch.store.alloc import holder_of
from netorch.store.base import Store

# An instance takes up to six compares, three for a host of its own, and three for a public address from a pool of its own. All
# together take up to 16 for their security groups and five for the VPC. The store takes 128.
PER_TRANSACTION = 8


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A new instance with its interface and its host."""

    instance: Instance
    eni: NetworkInterface
    host: Host


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of a new instance; omitted ones are chosen."""

    name: str = ""
    subnet: str = ""  # id
    vpc: str = ""  # id; its only subnet is used
    host: str = ""
    address: str = ""
    ipv6_address: str = ""
    mac: str = ""
    groups: tuple[str, ...] = ()  # ids; default: the VPC's default group
    source_dest_check: bool = True
    public_address: bool | None = None  # None: the subnet decides
    attachment: Attachment = Attachment.NETNS
    netns: str = ""
    user_data: str = ""  # base64
    metadata: MetadataOptions = MetadataOptions()
    tags: Tags = {}


def run_instance(store: Store, caller: Caller, request: RunRequest) -> Placed:
    """Create an instance with one interface, mapped to its host, and return it.

    Without a subnet and a VPC it runs in the owner's default VPC, which the first such instance creates.

    Raises:
      ApiError: InvalidSubnetID.NotFound, InvalidVpcID.NotFound, InvalidHostID.NotFound, InvalidIPAddress.InUse,
        InsufficientFreeAddressesInSubnet, InsufficientAddressCapacity, InsufficientInstanceCapacity,
        NetworkInterfaceLimitExceeded, InvalidGroup.NotFound, SecurityGroupsPerInterfaceLimitExceeded, InvalidParameterValue;
        UnauthorizedOperation for a customer who names an existing namespace.
    """
    return run_instances(store, caller, request, 1)[0]


def run_instances(store: Store, caller: Caller, request: RunRequest, count: int) -> list[Placed]:
    """Create `count` instances and return them. With several, each name ends in a number; a transaction holds up to 8.

    Raises:
      ApiError: as `run_instance`; then none runs, unless another writer was faster after the first transaction.
    """
    if count < 1:
        raise invalid("instances", f"{count} instances were requested", "ask for 1 or more")
    if count > 1 and (request.address or request.ipv6_address or request.mac or request.netns):
        text = "instances: several cannot share an address, a MAC or a namespace; leave these out"
        raise ApiError("InvalidParameterCombination", text)
    _check_request(caller, request)
    names = [f"{request.name}-{number}" if request.name and count > 1 else request.name for number in range(count)]
    first = 1 if _has_no_default_vpc(store, caller, request) else PER_TRANSACTION  # the VPC takes room in its transaction
    if count > first:
        _decide(store, caller, request, names)  # check all at once: if anything is refused, nothing runs
    placed: list[Placed] = []
    while len(placed) < count:
        some = names[len(placed) :][: PER_TRANSACTION if placed else first]
        placed += attempt(store, partial(_decide, store, caller, request, some))
    return placed


def _decide(store: Store, caller: Caller, request: RunRequest, names: list[str]) -> tuple[Writes, list[Placed]]:
    """Return the writes that run instances; they create the default VPC if the instances need it and it is missing."""
    made = Writes()
    if _has_no_default_vpc(store, caller, request):
        subnet_id = default_vpc_writes(made, store, caller)[1].id
        store = ahead(store, made)
    else:
        subnet_id = _choose_subnet(store, caller, request)
    writes, placed = _run(store, caller, request, subnet_id, names)
    made.absorb(writes)
    return made, placed


def _has_no_default_vpc(store: Store, caller: Caller, request: RunRequest) -> bool:
    return not request.subnet and not request.vpc and store.get(keys.name(caller.owner, "vpc", DEFAULT_VPC_NAME)) is None


def _check_request(caller: Caller, request: RunRequest) -> None:
    where = f"instance {request.name!r}"
    if request.name:
        checks.name(where, request.name)
    checks.tags(where, request.tags)
    check_told(where, request.user_data, request.metadata)
    if request.attachment is Attachment.EXISTING:
        if violation := rules.netns(request.netns):
            raise invalid(where, violation.what, violation.fix)
        namespaces.check_right(caller, where, request.attachment)
    elif request.netns:
        raise invalid(where, f"netns {request.netns!r} is set, but the attachment is {request.attachment.value}", "leave one out")


def check_told(where: str, user_data: str, options: MetadataOptions) -> None:
    """Refuse user data and metadata options that no instance can have. Raises ApiError: InvalidParameterValue."""
    found = [told.hop_limit(options.http_put_response_hop_limit), told.user_data(user_data) if user_data else None]
    for violation in filter(None, found):
        raise invalid(where, violation.what, violation.fix)


def _choose_subnet(store: Store, caller: Caller, request: RunRequest) -> str:
    if request.subnet:
        return request.subnet
    if request.vpc:
        vpc = read_vpc(store, caller, request.vpc).record
    else:
        vpc = read_vpc(store, caller, holder_of(store.get(keys.name(caller.owner, "vpc", DEFAULT_VPC_NAME)))).record
    subnets = [stored.record for stored in read_all(store, Subnet, vpc.vni).values()]
    if len(subnets) == 1:
        return subnets[0].id
    for subnet in subnets:
        if vpc.is_default and subnet.name == DEFAULT_SUBNET_NAME:
            return subnet.id
    names = ", ".join(sorted(subnet.name for subnet in subnets))
    fix = f"choose one of its subnets: {names}" if names else "create a subnet in it first"
    raise ApiError("MissingParameter", f"VPC {vpc.name} ({vpc.id}): no subnet is chosen; {fix}")


def _run(store: Store, caller: Caller, request: RunRequest, subnet_id: str, names: list[str]) -> tuple[Writes, list[Placed]]:
    vpc, subnet = read(store, caller, Subnet, subnet_id)
    host_names = room_for_interfaces(store, vpc.record, len(names))
    pool = open_pool(store, subnet.record)
    groups = choose_groups(store, caller, vpc.record, request.groups)
    hosts = StoredHosts(store)
    ephemeral = ephemeral_of(store, caller, vpc) if wants_public(request.public_address, subnet.record) else None
    taken = macs_taken(store, vpc.record.vni)
    writes = Writes()
    placed = []
    for name in names:
        if name and store.get(keys.name(vpc.record.id, "i", name)) is not None:
            raise duplicate_name("i", name, f"VPC {vpc.record.name}")
        instance = make_instance(
            caller,
            vpc.record.vni,
            host_names,
            name=name,
            attachment=request.attachment,
            netns=request.netns,
            user_data=request.user_data,
            metadata=request.metadata,
            tags=request.tags,
        )
        eni = make_interface(
            pool,
            instance,
            groups,
            mac=choose_mac(taken, caller, "network interface", request.mac),
            address=pool.requested(request.address, 4),
            ipv6_address=pool.requested(request.ipv6_address, 6),
            source_dest_check=request.source_dest_check,
        )
        state = choose_host(hosts, request.host, vpc.record.vni, instance.id)
        run_writes(writes, vpc, subnet, groups, instance, eni, state)
        namespaces.take(store, writes, instance, state.host.name)
        if ephemeral is not None:
            ephemeral.give(writes, eni)
        placed.append(Placed(instance=instance, eni=eni, host=state.host))
    pool.save(writes)
    return writes, placed


def wants_public(asked: bool | None, subnet: Subnet) -> bool:
    """Return whether a new instance gets an ephemeral public address: as requested, else as its subnet decides."""
    return subnet.public_on_launch if asked is None else asked


def make_instance(
    caller: Caller,
    vni: int,
    host_names: set[str],
    *,
    name: str,
    attachment: Attachment,
    netns: str,
    tags: Tags,
    user_data: str = "",
    metadata: MetadataOptions | None = None,
) -> Instance:
    """Return a new instance of a VPC; `host_names` are the taken names on hosts. The default name derives from the id."""
    instance_id = fresh_id(caller, "i", vni, host_names)
    return Instance(
        id=instance_id,
        vni=vni,
        name=name or f"instance-{instance_id[-11:]}",
        attachment=attachment,
        netns=rules.normal_netns(netns),
        user_data=user_data,
        metadata=metadata or MetadataOptions(),
        tags=tags,
    )


def make_interface(
    pool: AddressPool,
    instance: Instance,
    groups: Iterable[str],
    *,
    mac: str,
    address: str,
    ipv6_address: str,
    source_dest_check: bool,
) -> NetworkInterface:
    """Return a new instance's primary interface; omitted addresses are the subnet's next ones."""
    return NetworkInterface(
        id=primary_eni_id(instance.id),
        vni=instance.vni,
        subnet=pool.subnet.id,
        mac=mac,
        address=address or pool.next(4),
        ipv6_address=ipv6_address or pool.next(6),
        instance=instance.id,
        groups=tuple(groups),
        source_dest_check=source_dest_check,
    )


def run_writes(
    writes: Writes,
    vpc: Stored[Vpc],
    subnet: Stored[Subnet],
    groups: dict[str, Stored[SecurityGroup]],
    instance: Instance,
    eni: NetworkInterface,
    host: HostState,
) -> None:
    """Add an instance with its interface on a host. The caller adds the namespace and the pool's cursor."""
    writes.expect(keys.vpc(vpc.record.vni), vpc.mod_revision)
    writes.expect(keys.resource(subnet.record.id), subnet.mod_revision)
    place_on(writes, host, vpc.record.vni)
    join(writes, groups)
    writes.create(keys.resource(instance.id), instance)
    add_name(writes, vpc.record, instance)
    writes.claim(take_name(vpc.record.id, "i", instance.name, instance.id))
    create_writes(writes, vpc.record, eni)
    map_to(writes, eni, host.host)


def terminate_instance(store: Store, caller: Caller, instance_id: str) -> None:
    """Terminate an instance and delete its primary interface; other interfaces are detached and stay.

    Raises:
      ApiError: InvalidInstanceID.NotFound.
    """

    def decide() -> tuple[Writes, None]:
        vpc, instance = read(store, caller, Instance, instance_id)
        enis = [(eni, mappings_of(store, eni.record)) for eni in attached_to(store, instance.record)]
        hosts = hosts_of(mapping.record for _, mappings in enis for mapping in mappings.values())
        writes = Writes()
        logs, publics = logs_of(store, vpc.record.vni), publics_of(store, vpc.record, caller.now())
        terminate_writes(writes, vpc.record, instance, enis, logs, publics)
        namespaces.release(store, writes, instance.record, hosts)
        return writes, None

    attempt(store, decide)


def terminate_writes(
    writes: Writes,
    vpc: Vpc,
    instance: Stored[Instance],
    enis: Iterable[tuple[Stored[NetworkInterface], dict[str, Stored[Mapping]]]],
    logs: Logs,
    publics: Publics,
    *,
    whole: bool = False,
) -> None:
    """Add the deletion of an instance and its primary interface. Others are detached, or with `whole` deleted too."""
    writes.delete(keys.resource(instance.record.id), instance.mod_revision)
    drop_name(writes, vpc, instance.record)
    writes.drop(keys.name(vpc.id, "i", instance.record.name))
    for eni, mappings in enis:
        if whole or eni.record.id == primary_eni_id(instance.record.id):
            delete_writes(writes, vpc, eni, mappings, logs, publics)
        else:
            detach_writes(writes, eni, mappings)
