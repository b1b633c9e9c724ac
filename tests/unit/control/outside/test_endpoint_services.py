"""Endpoint services, their connections and interface endpoints: EC2's states and refusals, and the stored records."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from netorch.control.actions import enis, groups, subnets, vpcs
from netorch.control.actions.endpoints import both, connections, interface, offered
from netorch.control.actions.endpoints.interface_changes import modify_interface_endpoint
from netorch.control.actions.services.attributes import modify_vpc
from netorch.control.actions.services.zones import create_zone, delete_zone
from netorch.control.apply.cloud import apply_cloud, plan_destruction
from netorch.control.base.quotas import set_quotas
from netorch.errors import ApiError
from netorch.model.endpoints.endpoint import EndpointState, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService, ServicePort, connection_of
from netorch.model.eni import Host, NetworkInterface
from netorch.model.mapping import GatewayMapping
from netorch.model.security import TCP
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.read import get, read_all
from netorch.store.base import Put, Store
from tests.unit.control.conftest import refused
from tests.unit.control.outside.conftest import clean


def refuses(code: str, does: Callable[..., object], *args: object) -> None:
    """Check that a call fails with a code."""
    with refused(code):
        does(*args)


PORTS = (ServicePort(protocol=TCP, port=443, target_port=8443),)


@pytest.fixture
def globex() -> Caller:
    return Caller(owner="globex")


@pytest.fixture
def service(store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, west: list[Host]) -> EndpointService:
    """A service of acme that globex may use."""
    del west
    target = enis.create_network_interface(store, acme, subnet.id)
    return offered.create_endpoint_service(
        store, acme, vpc.id, name="db", subnets=[subnet.id], ports=PORTS, targets=[target.id], principals=["globex"]
    )


@pytest.fixture
def theirs(store: Store, globex: Caller) -> Subnet:
    """A subnet of globex with the same addresses as acme's."""
    made = vpcs.create_vpc(store, globex, name="shop", cidrs=["10.0.0.0/16"])
    return subnets.create_subnet(store, globex, made.id, name="app", cidr="10.0.0.0/24")


def vpc_of(store: Store, subnet: Subnet) -> str:
    found = get(store, keys.vpc(subnet.vni), Vpc)
    assert found is not None
    return found.record.id


def ask(store: Store, caller: Caller, service: EndpointService, subnet: Subnet) -> VpcEndpoint:
    return interface.create_interface_endpoint(store, caller, vpc_of(store, subnet), service.id, subnets=[subnet.id])


def states(store: Store, endpoint: VpcEndpoint, service: EndpointService) -> set[EndpointState]:
    """Return the states of a connection in all its records; one if they agree."""
    halves = [get(store, keys.member(vni, connection_of(endpoint.id)), EndpointConnection) for vni in (endpoint.vni, service.vni)]
    own = get(store, keys.resource(endpoint.id), VpcEndpoint)
    assert own is not None
    assert all(half is not None and half.record.vni == vni for half, vni in zip(halves, (endpoint.vni, service.vni), strict=True))
    return {own.record.state, *(half.record.state for half in halves if half is not None)}


def test_a_connection_is_pending_available_and_rejected(
    store: Store, acme: Caller, globex: Caller, service: EndpointService, theirs: Subnet, west: list[Host]
) -> None:
    endpoint = ask(store, globex, service, theirs)
    connection = connection_of(endpoint.id)
    assert states(store, endpoint, service) == {EndpointState.PENDING_ACCEPTANCE}
    assert get(store, keys.gateway_mapping(endpoint.vni, connection), GatewayMapping) is None
    refuses("OperationNotPermitted", connections.accept_connection, store, globex, connection)
    made = connections.accept_connection(store, acme, connection)
    assert states(store, endpoint, service) == {EndpointState.AVAILABLE}
    eni = get(store, keys.resource(made.eni), NetworkInterface)
    assert eni is not None
    assert (eni.record.vni, eni.record.gateway, eni.record.address) == (service.vni, service.id, made.address)
    seats = [get(store, keys.gateway_mapping(vni, found), GatewayMapping) for vni, found in _seated(service, endpoint)]
    assert len({mapping.record.seats for mapping in seats if mapping is not None}) == 1
    assert all(store.get(keys.placement(edge.name, connection)) for edge in west)
    refuses("InvalidState", connections.accept_connection, store, acme, connection)
    refuses("ExistingVpcEndpointConnections", offered.delete_endpoint_service, store, acme, service.id)
    refuses("OperationNotPermitted", enis.delete_network_interface, store, acme, made.eni)
    refuses("DependencyViolation", subnets.delete_subnet, store, acme, service.subnets[0])
    clean(store)
    connections.reject_connection(store, acme, connection)
    assert states(store, endpoint, service) == {EndpointState.REJECTED}
    assert get(store, keys.resource(made.eni), NetworkInterface) is None
    assert not any(store.get(keys.placement(edge.name, connection)) for edge in west)
    refuses("InvalidState", connections.reject_connection, store, acme, connection)
    connections.accept_connection(store, acme, connection)
    clean(store)
    both.delete_endpoint(store, globex, endpoint.id)
    offered.delete_endpoint_service(store, acme, service.id)
    for vni in (endpoint.vni, service.vni):
        assert read_all(store, EndpointConnection, vni) == {}
        assert not [found for found in read_all(store, NetworkInterface, vni).values() if found.record.gateway]
    clean(store)


def _seated(service: EndpointService, endpoint: VpcEndpoint) -> tuple[tuple[int, str], tuple[int, str]]:
    return (service.vni, service.id), (endpoint.vni, connection_of(endpoint.id))


def test_who_is_not_permitted_hears_of_no_service(
    store: Store, acme: Caller, globex: Caller, service: EndpointService, theirs: Subnet, vpc: Vpc, subnet: Subnet
) -> None:
    offered.modify_endpoint_service(store, acme, service.id, remove_principals=["globex"])
    refuses("InvalidServiceName", ask, store, globex, service, theirs)
    refuses("InvalidServiceName", ask, store, globex, msgspec.structs.replace(service, id="vpce-svc-00ffff00000000000"), theirs)
    refuses("InvalidVpcEndpointServiceId.NotFound", offered.describe_endpoint_service, store, globex, service.id)
    refuses("InvalidParameterValue", ask, store, acme, service, subnet)  # the endpoint's VPC is the service's
    own = vpcs.create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    beside = subnets.create_subnet(store, acme, own.id, name="app", cidr="10.0.0.0/24")
    assert (
        ask(store, acme, service, beside).state is EndpointState.PENDING_ACCEPTANCE
    )  # the provider's own VPCs need no permission
    assert vpc.id != own.id


def test_quotas(store: Store, acme: Caller, globex: Caller, service: EndpointService, theirs: Subnet) -> None:
    set_quotas(store, "globex", {"interface_endpoints_per_vpc": 1})
    offered.modify_endpoint_service(store, acme, service.id, acceptance_required=False)
    assert ask(store, globex, service, theirs).state is EndpointState.AVAILABLE
    refuses("VpcEndpointLimitExceeded", ask, store, globex, service, theirs)
    set_quotas(store, "acme", {"endpoint_services_per_vpc": 1})
    vpc_id = vpc_of(store, msgspec.structs.replace(theirs, vni=service.vni))
    with refused("VpcEndpointServiceLimitExceeded"):
        offered.create_endpoint_service(store, acme, vpc_id, name="more", subnets=service.subnets, ports=PORTS)


@pytest.mark.parametrize("first", ["provider", "consumer"])
def test_a_vpc_that_is_destroyed_takes_its_side_along(
    store: Store, operator: Caller, acme: Caller, globex: Caller, service: EndpointService, theirs: Subnet, first: str
) -> None:
    endpoint = ask(store, globex, service, theirs)
    connections.accept_connection(store, acme, connection_of(endpoint.id))
    gone, left = (service.vni, endpoint.vni) if first == "provider" else (endpoint.vni, service.vni)
    vpc = get(store, keys.vpc(gone), Vpc)
    assert vpc is not None
    apply_cloud(store, plan_destruction(store, operator, [vpc.record.id]))
    assert get(store, keys.vpc(gone), Vpc) is None
    assert read_all(store, EndpointConnection, left) == {}
    if first == "provider":
        own = get(store, keys.resource(endpoint.id), VpcEndpoint)
        assert own is not None
        assert own.record.state is EndpointState.REJECTED
        both.delete_endpoint(store, globex, endpoint.id)
    else:
        offered.delete_endpoint_service(store, acme, service.id)
    clean(store)


@pytest.fixture
def named(store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, west: list[Host]) -> EndpointService:
    """A service with a private DNS name."""
    del west
    return offered.create_endpoint_service(
        store,
        acme,
        vpc.id,
        name="db",
        subnets=[subnet.id],
        ports=PORTS,
        principals=["globex"],
        private_dns_name="db.acme.example",
    )


def ask_named(store: Store, caller: Caller, service: EndpointService, subnet: Subnet) -> VpcEndpoint:
    vpc_id = vpc_of(store, subnet)
    return interface.create_interface_endpoint(store, caller, vpc_id, service.id, subnets=[subnet.id], private_dns=True)


def test_a_private_name_needs_host_names_and_a_domain_of_its_own(
    store: Store, acme: Caller, globex: Caller, named: EndpointService, theirs: Subnet
) -> None:
    vpc_id = vpc_of(store, theirs)
    with pytest.raises(ApiError, match="needs DNS support and DNS host names"):
        ask_named(store, globex, named, theirs)
    modify_vpc(store, globex, vpc_id, enable_dns_hostnames=True)
    zone = create_zone(store, globex, vpc_id, name="db.acme.example")
    with pytest.raises(ApiError, match=f"{zone.id} already has the domain"):
        ask_named(store, globex, named, theirs)
    other = create_zone(store, globex, vpc_id, name="acme.example")
    assert other.domain == "acme.example"
    delete_zone(store, globex, zone.id)
    endpoint = ask_named(store, globex, named, theirs)
    assert endpoint.private_dns_name == "db.acme.example"
    with pytest.raises(ApiError, match="ConflictingDomainExists"):
        create_zone(store, globex, vpc_id, name="db.acme.example")
    connections.accept_connection(store, acme, connection_of(endpoint.id))
    stored = get(store, keys.resource(endpoint.id), VpcEndpoint)
    assert stored is not None
    assert stored.record.is_named
    clean(store)
    both.delete_endpoint(store, globex, endpoint.id)
    create_zone(store, globex, vpc_id, name="db.acme.example")


def test_a_service_without_a_private_name_and_one_within_netorchs_domains_give_none(
    store: Store, globex: Caller, named: EndpointService, theirs: Subnet
) -> None:
    modify_vpc(store, globex, vpc_of(store, theirs), enable_dns_hostnames=True)
    for name, said in (("", "has no private DNS name"), ("a.compute.internal", "whose names netorch generates")):
        changed = msgspec.structs.replace(named, private_dns_name=name)
        store.txn([], [Put(keys.resource(changed.id), encode(changed))])
        with pytest.raises(ApiError, match=said):
            ask_named(store, globex, named, theirs)


def test_another_subnet_and_other_groups(
    store: Store, acme: Caller, globex: Caller, service: EndpointService, theirs: Subnet
) -> None:
    offered.modify_endpoint_service(store, acme, service.id, acceptance_required=False)
    endpoint, vpc_id = ask(store, globex, service, theirs), vpc_of(store, theirs)
    beside = subnets.create_subnet(store, globex, vpc_id, name="beside", cidr="10.0.1.0/24")
    group = groups.create_security_group(store, globex, vpc_id, name="clients", description="d")

    def modify(**changes: list[str]) -> list[NetworkInterface]:
        made = modify_interface_endpoint(store, globex, endpoint.id, **changes)
        clean(store)
        found = [get(store, keys.resource(eni_id), NetworkInterface) for eni_id in made.interfaces]
        return [eni.record for eni in found if eni is not None]

    (before,) = modify(remove_subnets=[])
    first, second = modify(add_subnets=[beside.id], add_groups=[group.id], remove_groups=list(before.groups))
    assert (first.address, first.mac, first.groups) == (before.address, before.mac, (group.id,))
    assert (second.subnet, second.groups, second.gateway) == (beside.id, (group.id,), endpoint.id)
    assert modify(remove_subnets=[theirs.id]) == [second]
    subnets.delete_subnet(store, globex, theirs.id)
    for code, changes in (
        ("InvalidParameterValue", {"remove_subnets": [beside.id]}),
        ("InvalidParameterValue", {"add_subnets": [beside.id]}),
        ("InvalidParameterValue", {"remove_groups": list(before.groups)}),
        ("InvalidSubnetID.NotFound", {"add_subnets": [service.subnets[0]]}),
        ("MissingParameter", {"remove_groups": [group.id]}),
    ):
        with refused(code):
            modify(**changes)
    with refused("InvalidVpcEndpointId.NotFound"):
        modify_interface_endpoint(store, acme, endpoint.id, add_subnets=[])


def test_who_is_no_principal_any_more_keeps_what_it_has(
    store: Store, acme: Caller, globex: Caller, service: EndpointService, theirs: Subnet
) -> None:
    available, pending = ask(store, globex, service, theirs), ask(store, globex, service, theirs)
    connections.accept_connection(store, acme, connection_of(available.id))
    offered.modify_endpoint_service(store, acme, service.id, remove_principals=["globex"])
    assert states(store, available, service) == {EndpointState.AVAILABLE}
    assert states(store, pending, service) == {EndpointState.PENDING_ACCEPTANCE}
    refuses("InvalidServiceName", ask, store, globex, service, theirs)
    connections.accept_connection(store, acme, connection_of(pending.id))
    assert states(store, pending, service) == {EndpointState.AVAILABLE}
    clean(store)


def test_a_service_goes_when_all_its_connections_were_rejected_and_their_endpoints_stay(
    store: Store, acme: Caller, globex: Caller, service: EndpointService, theirs: Subnet
) -> None:
    endpoint = ask(store, globex, service, theirs)
    refuses("ExistingVpcEndpointConnections", offered.delete_endpoint_service, store, acme, service.id)
    connections.reject_connection(store, acme, connection_of(endpoint.id))
    offered.delete_endpoint_service(store, acme, service.id)
    own = both.describe_endpoint(store, globex, endpoint.id).endpoint
    assert own.state is EndpointState.REJECTED
    assert read_all(store, EndpointConnection, endpoint.vni) == {}
    refuses("InvalidVpcEndpointId.NotFound", connections.accept_connection, store, acme, connection_of(endpoint.id))
    both.delete_endpoint(store, globex, endpoint.id)
    clean(store)
