"""Network interfaces: the holders of addresses and MACs.

An instance's primary interface is created and deleted with it, and shares the random part of its id: eni-X belongs to i-X.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from netorch.control.actions.groups import choose_groups, join
from netorch.control.base import checks
from netorch.control.base.addresses import claim_key, open_pool
from netorch.control.base.logged import Logs, delete_logs, logs_of
from netorch.control.base.named import add_name, drop_name
from netorch.control.base.pairs import expect_staying
from netorch.control.base.public import Publics, publics_of
from netorch.control.base.quotas import check_room, quotas_of
from netorch.control.base.writes import Writes, attempt
from netorch.control.placement.choice import count_on, mark_full
from netorch.errors import ApiError
from netorch.model.eni import Host, Instance, NetworkInterface, Placement, primary_eni_id
from netorch.model.ids import port_name, prefix_of, vni_of
from netorch.model.mapping import Mapping
from netorch.model.outside.gateway import GATEWAYS
from netorch.model.routing.next_hop import target_hop
from netorch.model.routing.peering import PeeringConnection
from netorch.model.vpc import Subnet, Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid
from netorch.records.hosts import read_host, read_loaded
from netorch.records.kinds import BY_PREFIX, kind_of
from netorch.records.read import Stored, mappings_of, read, read_all
from netorch.records.vpc import VpcRecords
from netorch.store.alloc import mac_address
from netorch.store.base import Store

_TARGETS: Final = (NetworkInterface, PeeringConnection, *GATEWAYS)  # targets of routes


def mac_key(vni: int, mac: str) -> str:
    """Return the key that makes a MAC unique in its VPC; another VPC may use the same MAC."""
    return f"alloc/mac/{vni:06x}/{mac}"


def create_network_interface(
    store: Store,
    caller: Caller,
    subnet_id: str,
    *,
    name: str = "",
    address: str = "",
    ipv6_address: str = "",
    mac: str = "",
    groups: Sequence[str] = (),
    tags: Tags | None = None,
) -> NetworkInterface:
    """Create an interface that is not attached and return it; omitted addresses, MAC and security groups are chosen.

    Raises:
      ApiError: InvalidSubnetID.NotFound, InvalidIPAddress.InUse, InsufficientFreeAddressesInSubnet,
        NetworkInterfaceLimitExceeded, InvalidGroup.NotFound, SecurityGroupsPerInterfaceLimitExceeded, InvalidParameterValue for
        a bad value or a taken MAC.
    """

    def decide() -> tuple[Writes, NetworkInterface]:
        vpc, subnet = read(store, caller, Subnet, subnet_id)
        taken = room_for_interfaces(store, vpc.record, 1)
        pool = open_pool(store, subnet.record)
        chosen = choose_groups(store, caller, vpc.record, groups)
        eni = NetworkInterface(
            id=fresh_id(caller, "eni", vpc.record.vni, taken),
            vni=vpc.record.vni,
            subnet=subnet_id,
            mac=choose_mac(macs_taken(store, vpc.record.vni), caller, "network interface", mac),
            address=pool.requested(address, 4) or pool.next(4),
            ipv6_address=pool.requested(ipv6_address, 6) or pool.next(6),
            groups=tuple(chosen),
            name=checks.name("network interface", name) if name else "",
            tags=checks.tags("network interface", tags),
        )
        writes = Writes()
        _in_subnet(writes, vpc, subnet)
        pool.save(writes)
        join(writes, chosen)
        create_writes(writes, vpc.record, eni)
        hold_addresses(writes, eni)
        return writes, eni

    return attempt(store, decide)


def _in_subnet(writes: Writes, vpc: Stored[Vpc], subnet: Stored[Subnet]) -> None:
    writes.expect(keys.vpc(vpc.record.vni), vpc.mod_revision)
    writes.expect(keys.resource(subnet.record.id), subnet.mod_revision)


def room_for_interfaces(store: Store, vpc: Vpc, count: int) -> set[str]:
    """Check that a VPC has room for more interfaces, and return the host names of its route targets. Cost: O(interfaces).

    Raises:
      ApiError: NetworkInterfaceLimitExceeded.
    """
    found = store.list(keys.resources(vpc.vni, "eni")).kvs
    check_room(quotas_of(store, vpc.owner), "NetworkInterfaceLimitExceeded", f"VPC {vpc.id}", len(found) + count)
    return {name for target in target_ids(store, vpc.vni) for name in host_names(target)}


def target_ids(store: Store, vni: int) -> list[str]:
    """Return the ids of a VPC's route targets: its interfaces, gateways and peering connections."""
    prefixes = (keys.resources(vni, kind_of(kind).prefix) for kind in _TARGETS)
    return [kv.key.rpartition("/")[2] for prefix in prefixes for kv in store.list(prefix).kvs]


def targets_in(records: VpcRecords) -> list[str]:
    """Return the same ids from a VPC's records in a plan."""
    return [found for kind in _TARGETS for found in records.of(kind)]


def host_names(target_id: str) -> tuple[str, str]:
    """Return the names of an interface or gateway on hosts: its port, and the next hop of routes to it."""
    return port_name(target_id), target_hop(target_id, 4)


def fresh_id(caller: Caller, kind: str, vni: int, taken: set[str]) -> str:
    """Return the id of a new interface, or of the instance that it belongs to, and add its host names to `taken`.

    Each host name holds seven of the eleven random digits, too few to be unique in a VPC. If two targets had the same next hop,
    a host could not tell which of them a route leads to.
    """
    while True:
        found = caller.new_id(kind, vni)
        if taken.isdisjoint(host_names(found)):
            taken.update(host_names(found))
            return found


def macs_taken(store: Store, vni: int) -> Callable[[str], bool]:
    """Return a function that tells whether a MAC is in use in a VPC."""
    return lambda mac: store.get(mac_key(vni, mac)) is not None


def choose_mac(taken: Callable[[str], bool], caller: Caller, where: str, request: str) -> str:
    """Return the requested MAC, or a random one that is free in the VPC. Raises ApiError: InvalidParameterValue."""
    if request:
        mac = checks.mac(request, where)
        if taken(mac):
            raise invalid(where, f"the MAC {mac} is in use in this VPC", "choose another one, or leave it out")
        return mac
    mac = mac_address(caller.entropy())
    while taken(mac):
        mac = mac_address(caller.entropy())
    return mac


def create_writes(writes: Writes, vpc: Vpc, eni: NetworkInterface) -> None:
    """Add an interface's record, its name and the claim of its MAC."""
    writes.create(keys.resource(eni.id), eni)
    add_name(writes, vpc, eni)
    writes.create(mac_key(eni.vni, eni.mac), eni.id)


def delete_writes(
    writes: Writes, vpc: Vpc, eni: Stored[NetworkInterface], mappings: dict[str, Stored[Mapping]], logs: Logs, publics: Publics
) -> None:
    """Add the deletion of an interface, attached or not, with its claims, mappings, public mappings and flow logs."""
    record = eni.record
    writes.delete(keys.resource(record.id), eni.mod_revision)
    drop_name(writes, vpc, record)
    writes.drop(mac_key(record.vni, record.mac))
    delete_logs(writes, vpc, logs, record.id)
    publics.end_all(writes, record.id)
    if record.instance:
        unmap(writes, record.id, mappings)
    else:
        for address in record.addresses:
            writes.drop(claim_key(record.vni, address))


def hold_addresses(writes: Writes, eni: NetworkInterface) -> None:
    """Add the claims of the addresses of an interface that is not attached."""
    for address in eni.addresses:
        writes.create(claim_key(eni.vni, address), eni.id)


def map_to(writes: Writes, eni: NetworkInterface, host: Host) -> None:
    """Add the mappings of an interface that has none yet, and its placement on the host."""
    for address in eni.addresses:
        mapping = Mapping(
            vni=eni.vni, address=address, eni=eni.id, mac=eni.mac, host=host.name, vtep=host.underlay, groups=eni.groups
        )
        writes.create(keys.mapping(eni.vni, address), mapping)
    writes.put(keys.placement(host.name, eni.id), Placement(id=eni.id))


def unmap(writes: Writes, eni_id: str, mappings: dict[str, Stored[Mapping]]) -> None:
    """Add the deletion of an interface's mappings, and of its placements on all hosts that have one."""
    for key, mapping in mappings.items():
        writes.delete(key, mapping.mod_revision)
    for host in hosts_of(mapping.record for mapping in mappings.values()):
        writes.drop(keys.placement(host, eni_id))
        writes.drop(keys.full(host))


def hosts_of(mappings: Iterable[Mapping]) -> list[str]:
    """Return the hosts that these mappings name: the current hosts, and the hosts that the addresses move to or come from."""
    found = set()
    for mapping in mappings:
        found.add(mapping.host)
        if mapping.move is not None:
            found.add(mapping.move.host)
    return sorted(found)


def delete_network_interface(store: Store, caller: Caller, eni_id: str) -> None:
    """Delete an interface that is not attached; its owner keeps an elastic IP that maps to its address.

    Raises:
      ApiError: InvalidNetworkInterfaceID.NotFound; InvalidNetworkInterface.InUse while it is attached; OperationNotPermitted
        for an interface of a gateway or endpoint.
    """

    def decide() -> tuple[Writes, None]:
        vpc, eni = read(store, caller, NetworkInterface, eni_id)
        refuse_managed(eni.record)
        if eni.record.instance:
            raise _attached(eni.record, "terminate the instance or detach the interface first")
        writes = Writes()
        publics = publics_of(store, vpc.record, caller.now())
        delete_writes(writes, vpc.record, eni, {}, logs_of(store, eni.record.vni), publics)
        return writes, None

    attempt(store, decide)


def refuse_managed(eni: NetworkInterface) -> None:
    """Refuse to change an interface that belongs to a gateway or endpoint. Raises ApiError: OperationNotPermitted."""
    if eni.gateway:
        holder = BY_PREFIX[prefix_of(eni.gateway)]
        what = f"belongs to {holder.noun} {eni.gateway}, and cannot be changed by itself"
        text = f"network interface {eni.id}: {what}; see `netorch {holder.command} show {eni.gateway}`"
        raise ApiError("OperationNotPermitted", text)


def _attached(eni: NetworkInterface, fix: str) -> ApiError:
    where = f"network interface {eni.id}"
    return ApiError("InvalidNetworkInterface.InUse", f"{where}: is attached to {eni.instance}; {fix}")


def modify_network_interface(store: Store, caller: Caller, eni_id: str, *, source_dest_check: bool) -> NetworkInterface:
    """Set whether an interface may only send and receive packets of its own addresses, and return the interface.

    Raises:
      ApiError: InvalidNetworkInterfaceID.NotFound, OperationNotPermitted for an interface of a gateway or endpoint.
    """

    def decide() -> tuple[Writes, NetworkInterface]:
        _, eni = read(store, caller, NetworkInterface, eni_id)
        refuse_managed(eni.record)
        writes = Writes()
        return writes, modify_writes(writes, eni, source_dest_check=source_dest_check)

    return attempt(store, decide)


def modify_writes(writes: Writes, eni: Stored[NetworkInterface], *, source_dest_check: bool) -> NetworkInterface:
    """Add the change of an interface, and return the changed interface; write nothing if nothing changes."""
    changed = msgspec.structs.replace(eni.record, source_dest_check=source_dest_check)
    if changed != eni.record:
        writes.change(keys.resource(changed.id), eni.mod_revision, changed)
    return changed


def attach_network_interface(store: Store, caller: Caller, eni_id: str, instance_id: str) -> NetworkInterface:
    """Attach an interface to an instance of the same VPC, on the instance's host, and return the interface.

    Raises:
      ApiError: InvalidNetworkInterfaceID.NotFound, InvalidNetworkInterface.InUse, InvalidInstanceID.NotFound,
        InvalidParameterValue for an instance in another VPC, AttachmentLimitExceeded, IncorrectInstanceState while it moves,
        OperationNotPermitted for an interface of a gateway or endpoint.
    """

    def decide() -> tuple[Writes, NetworkInterface]:
        vpc, eni = read(store, caller, NetworkInterface, eni_id)
        _, instance = read(store, caller, Instance, instance_id)
        refuse_managed(eni.record)
        if eni.record.instance:
            raise _attached(eni.record, "detach it first")
        if vni_of(instance_id) != eni.record.vni:
            raise invalid(
                f"network interface {eni_id}", f"instance {instance_id} is in another VPC", "choose an instance in the same VPC"
            )
        others = attached_to(store, instance.record)
        check_room(quotas_of(store, vpc.record.owner), "AttachmentLimitExceeded", f"instance {instance_id}", len(others) + 1)
        attached = msgspec.structs.replace(eni.record, instance=instance_id)
        writes = Writes()
        _on_host_of(writes, store, caller, instance.record, attached)
        writes.change(keys.resource(instance_id), instance.mod_revision, instance.record)
        writes.change(keys.resource(eni_id), eni.mod_revision, attached)
        return writes, attached

    return attempt(store, decide)


def _on_host_of(writes: Writes, store: Store, caller: Caller, instance: Instance, eni: NetworkInterface) -> None:
    _, primary = read(store, caller, NetworkInterface, primary_eni_id(instance.id))
    key = keys.mapping(eni.vni, primary.record.address)
    place = mappings_of(store, primary.record).get(key)
    if place is None or place.record.move is not None:
        raise ApiError("IncorrectInstanceState", f"instance {instance.id}: is moving; wait until it has arrived")
    writes.expect(key, place.mod_revision)
    state = read_host(store, place.record.host)
    expect_staying(writes, state)
    for address in eni.addresses:
        writes.drop(claim_key(eni.vni, address))
    map_to(writes, eni, state.host)
    if state.host.capacity:
        loaded = read_loaded(store, state.host.name)
        count_on(loaded, eni.vni, 1)
        mark_full(writes, loaded)


def detach_network_interface(store: Store, caller: Caller, eni_id: str) -> NetworkInterface:
    """Detach an interface and return it; it keeps its addresses.

    Raises:
      ApiError: InvalidNetworkInterfaceID.NotFound, InvalidAttachmentID.NotFound if it is not attached, OperationNotPermitted
        for an instance's primary interface.
    """

    def decide() -> tuple[Writes, NetworkInterface]:
        _, eni = read(store, caller, NetworkInterface, eni_id)
        record = eni.record
        where = f"network interface {eni_id}"
        if not record.instance:
            raise ApiError("InvalidAttachmentID.NotFound", f"{where}: is not attached; there is nothing to detach")
        if eni_id == primary_eni_id(record.instance):
            text = f"{where}: came with instance {record.instance}; terminate the instance instead"
            raise ApiError("OperationNotPermitted", text)
        writes = Writes()
        return writes, detach_writes(writes, eni, mappings_of(store, record))

    return attempt(store, decide)


def detach_writes(writes: Writes, eni: Stored[NetworkInterface], mappings: dict[str, Stored[Mapping]]) -> NetworkInterface:
    """Add the detachment of an interface, and return the detached interface."""
    detached = msgspec.structs.replace(eni.record, instance="")
    writes.change(keys.resource(detached.id), eni.mod_revision, detached)
    unmap(writes, detached.id, mappings)
    hold_addresses(writes, detached)
    return detached


def attached_to(store: Store, instance: Instance) -> list[Stored[NetworkInterface]]:
    """Return an instance's interfaces, the primary one first. Cost: O(interfaces of the VPC)."""
    found = [eni for eni in read_all(store, NetworkInterface, instance.vni).values() if eni.record.instance == instance.id]
    return sorted(found, key=lambda eni: (eni.record.id != primary_eni_id(instance.id), eni.record.id))
