"""The store's keys: the only place that knows how they are spelled."""

from __future__ import annotations


def vpc_prefix(vni: int) -> str:
    """Return the prefix of everything that describes a VPC: one prefix = one watch = ordered."""
    return f"vpc/{vni:06x}/"


def vpc(vni: int) -> str:
    """Return the key of the VPC record itself."""
    return f"{vpc_prefix(vni)}vpc"


def resource(vni: int, kind: str, resource_id: str) -> str:
    """Return the key of what a VPC has, by the kind in its id; without an id the prefix of all of that kind."""
    return f"{vpc_prefix(vni)}{kind}/{resource_id}"


def subnet(vni: int, resource_id: str) -> str:
    """Return a subnet's key."""
    return resource(vni, "subnet", resource_id)


def route_table(vni: int, resource_id: str) -> str:
    """Return a route table's key."""
    return resource(vni, "rtb", resource_id)


def eni(vni: int, resource_id: str) -> str:
    """Return a network interface's key."""
    return resource(vni, "eni", resource_id)


def instance(vni: int, resource_id: str) -> str:
    """Return an instance's key."""
    return resource(vni, "i", resource_id)


def security_group(vni: int, resource_id: str) -> str:
    """Return a security group's key."""
    return resource(vni, "sg", resource_id)


def network_acl(vni: int, resource_id: str) -> str:
    """Return a network ACL's key."""
    return resource(vni, "acl", resource_id)


def prefix_list(vni: int, resource_id: str) -> str:
    """Return a prefix list's key."""
    return resource(vni, "pl", resource_id)


def flow_log(vni: int, resource_id: str) -> str:
    """Return a flow log's key."""
    return resource(vni, "fl", resource_id)


def map_prefix(vni: int) -> str:
    """Return the prefix of all mappings of a VPC."""
    return f"map/{vni:06x}/"


def mapping(vni: int, address: str) -> str:
    """Return the key of one mapping; `address` is canonical."""
    return f"map/{vni:06x}/{address}"


def host_prefix(name: str) -> str:
    """Return the prefix of what a host is and what it is to carry."""
    return f"host/{name}/"


def host_spec(name: str) -> str:
    """Return a host's own record."""
    return f"host/{name}/spec"


def want(host: str, eni_id: str) -> str:
    """Return the key that asks `host` to carry an interface."""
    return f"host/{host}/want/{eni_id}"


def host_live(name: str) -> str:
    """Return the key that a living agent keeps with a lease."""
    return f"host/{name}/live"


def eni_status(host: str, eni_id: str) -> str:
    """Return the key of a host's word on an interface."""
    return f"hoststat/{host}/{eni_id}"


def eni_flows(host: str, eni_id: str) -> str:
    """Return the key of the connections of an interface that is on its way from a host."""
    return f"hoststat/{host}/flows/{eni_id}"


def vpc_status(host: str, vni: int) -> str:
    """Return the key of a host's word on a VPC."""
    return f"hoststat/{host}/vpc-{vni:06x}"


def agent_status(host: str) -> str:
    """Return the key of an agent's word on itself."""
    return f"hoststat/{host}/agent"


def mtu_prefix() -> str:
    """Return the prefix of what all hosts say of their underlays: few and small, and every agent follows them all."""
    return "underlay/mtu/"


def host_mtu(host: str) -> str:
    """Return the key of a host's word on its underlay."""
    return f"{mtu_prefix()}{host}"


def name(owner: str, kind: str, text: str) -> str:
    """Return the key that makes a name unique for its owner."""
    return f"name/{owner}/{kind}/{text}"


def vtep(underlay: str) -> str:
    """Return the key that makes an underlay address unique."""
    return f"alloc/vtep/{underlay}"


def host_drain(name: str) -> str:
    """Return the key that stands while a host is being deleted; whoever places an interface compares that it is absent."""
    return f"alloc/drain/{name}"
