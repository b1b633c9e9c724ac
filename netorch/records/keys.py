"""The store's keys: the only place that knows how they are spelled."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

PUBLIC: Final = "eip/"  # what the keys of public addresses begin with among a VPC's mappings
REACH: Final = "reach/"  # what those of prefixes begin with that edges reach
ZONE: Final = "zone/"  # what those of private zones begin with


def vpc_prefix(vni: int) -> str:
    """Return the prefix of everything that describes a VPC: one prefix = one watch = ordered."""
    return f"vpc/{vni:06x}/"


def vpc(vni: int) -> str:
    """Return the key of the VPC record itself."""
    return f"{vpc_prefix(vni)}vpc"


def resources(vni: int, prefix: str) -> str:
    """Return the prefix of a VPC's resources of one kind, by the prefix of their ids."""
    return f"{vpc_prefix(vni)}{prefix}/"


def resource(resource_id: str) -> str:
    """Return the key of something that belongs to a VPC, or of a VPC: the id says which VPC and which kind."""
    prefix = resource_id[:-18]
    return f"vpc/{resource_id[-17:-11]}/{prefix}/{resource_id}" if prefix != "vpc" else f"vpc/{resource_id[-17:-11]}/vpc"


def member(vni: int, resource_id: str) -> str:
    """Return the key of something in the VPC of a VNI; what two VPCs share is in both, and its id says one of them."""
    return f"{vpc_prefix(vni)}{resource_id[:-18]}/{resource_id}"


def map_prefix(vni: int) -> str:
    """Return the prefix of all mappings of a VPC."""
    return f"map/{vni:06x}/"


def mapping(vni: int, address: str) -> str:
    """Return the key of one mapping; `address` is canonical."""
    return f"map/{vni:06x}/{address}"


def gateway_mapping(vni: int, gateway_id: str) -> str:
    """Return the key of the mapping of a gateway: an id has a dash, and no address has."""
    return mapping(vni, gateway_id)


def public_mapping(vni: int, address: str) -> str:
    """Return the key of what a public address stands for in a VPC."""
    return mapping(vni, f"{PUBLIC}{address}")


def reach(vni: int, gateway_id: str, edge: str) -> str:
    """Return the key of what an edge reaches through a gateway."""
    return mapping(vni, f"{REACH}{gateway_id}/{edge}")


def vpc_zone(vni: int, zone_id: str) -> str:
    """Return the key of what a private zone says in a VPC."""
    return mapping(vni, f"{ZONE}{zone_id}")


def zone_use(owner: str, zone_id: str, vpc_id: str = "") -> str:
    """Return the key that says that a VPC is associated with a private zone, or the prefix of a zone's."""
    return f"alloc/zone/{owner}/{zone_id}/{vpc_id}"


def secret_prefix(edge: str) -> str:
    """Return the prefix of what is sealed for an edge: its agent follows it."""
    return f"secret/{edge}/"


def secret(edge: str, resource_id: str) -> str:
    """Return the key of what is sealed for an edge that belongs to a VPN connection or a virtual interface."""
    return f"{secret_prefix(edge)}{resource_id}"


def vpn_uses() -> str:
    """Return the prefix of the keys that say which customer gateway each connection leads to."""
    return "alloc/vpn/"


def dhcp_use(owner: str, set_id: str, vpc_id: str = "") -> str:
    """Return the key that says that a VPC is associated with a DHCP options set, or the prefix of a set's."""
    return f"alloc/dopt/{owner}/{set_id}/{vpc_id}"


def ike_peers() -> str:
    """Return the prefix of the keys that say which connection leads to which device."""
    return "alloc/ike/"


def vpn_use(owner: str, customer_gateway: str = "", vpn_id: str = "") -> str:
    """Return the key that says which customer gateway a connection leads to, or the prefix of an owner's, or of one gateway's."""
    found = f"{vpn_uses()}{owner}/"
    return f"{found}{customer_gateway}/{vpn_id}" if customer_gateway else found


def ike_peer(pair: str, identity: str) -> str:
    """Return the key that says which connection of a pair of edges leads to the device that names itself so in IKE."""
    return f"{ike_peers()}{pair}/{quote(identity, safe='')}"


def edge_key(edge: str) -> str:
    """Return the key of the public key that secrets are sealed with for an edge; its agent writes it."""
    return f"hoststat/{edge}/sealing"


def tunnel_status(edge: str, vpn_id: str) -> str:
    """Return the key of an edge's word on the tunnels of a VPN connection, or on a virtual interface, that end there."""
    return f"hoststat/{edge}/{vpn_id}"


def connection_prefix() -> str:
    """Return the prefix of all connections of Direct Connect."""
    return "dxcon/"


def connection(name: str) -> str:
    """Return the key of a Direct Connect connection."""
    return f"{connection_prefix()}{name}"


def connection_vlans(name: str = "") -> str:
    """Return the prefix of the VLANs of one connection that virtual interfaces have, or of all connections."""
    return f"alloc/vlan/{name}/" if name else "alloc/vlan/"


def connection_vlan(name: str, outer_vlan: int, vlan: int) -> str:
    """Return the key that says which virtual interface has a VLAN of a connection."""
    return f"{connection_vlans(name)}{outer_vlan}.{vlan}"


def ports(host: str = "") -> str:
    """Return the prefix of the devices of one edge that are connections of Direct Connect, or of all edges."""
    return f"alloc/dxport/{host}/" if host else "alloc/dxport/"


def port(host: str, device: str) -> str:
    """Return the key that says which connection a device of an edge is."""
    return f"{ports(host)}{device}"


def service_prefix() -> str:
    """Return the prefix of all services that gateway endpoints lead to: few and small, and every edge follows them all."""
    return "gwsvc/"


def service(name: str) -> str:
    """Return the key of a service that gateway endpoints lead to."""
    return f"{service_prefix()}{name}"


def service_uses(name: str = "", endpoint_id: str = "") -> str:
    """Return the key that says that an endpoint leads to a service, or the prefix of those of one service, or of all."""
    return f"alloc/gwsvc/{name}/{endpoint_id}" if name else "alloc/gwsvc/"


def bucket_prefix() -> str:
    """Return the prefix of what is known of buckets: every edge's agent follows all of it."""
    return "bucket/"


def bucket(name: str) -> str:
    """Return the key of what is known of a bucket."""
    return f"{bucket_prefix()}{name}"


def host_prefix(name: str) -> str:
    """Return the prefix of what a host is and what it is to carry."""
    return f"host/{name}/"


def host_spec(name: str) -> str:
    """Return a host's own record."""
    return f"host/{name}/spec"


def placement(host: str, resource_id: str) -> str:
    """Return the key of a placement: `host` is to carry this resource, of whatever kind its id is."""
    return f"host/{host}/placement/{resource_id}"


def host_live(name: str) -> str:
    """Return the key that a living agent keeps with a lease."""
    return f"host/{name}/live"


def host_drained(name: str) -> str:
    """Return the key that stands while an edge is drained; its agent watches it."""
    return f"host/{name}/drained"


def eni_status(host: str, eni_id: str) -> str:
    """Return the key of a host's word on an interface."""
    return f"hoststat/{host}/{eni_id}"


def eni_flows(host: str, eni_id: str) -> str:
    """Return the key of the connections of an interface that is on its way from a host."""
    return f"hoststat/{host}/flows/{eni_id}"


def vpc_status(host: str, vni: int) -> str:
    """Return the key of a host's word on a VPC."""
    return f"hoststat/{host}/vpc-{vni:06x}"


def nat_use(host: str, nat_id: str) -> str:
    """Return the key of what an edge has counted of a NAT gateway."""
    return f"hoststat/{host}/{nat_id}"


def connection_use(host: str, connection_id: str) -> str:
    """Return the key of what an edge says of a connection with an endpoint service."""
    return f"hoststat/{host}/{connection_id}"


def handover_prefix(host: str) -> str:
    """Return the prefix of what an edge says to the other one of its pair when gateways move: that one follows it."""
    return f"hoststat/{host}/handover/"


def handover_word(host: str) -> str:
    """Return the key of which gateways an edge hands over, asks for and has taken; it sorts behind their connections."""
    return f"{handover_prefix(host)}word"


def handover_flows(host: str, gateway_id: str, part: int) -> str:
    """Return the key of a part of the connections of a gateway that an edge hands over."""
    return f"{handover_prefix(host)}{gateway_id}/{part}"


def public_use(host: str, address: str) -> str:
    """Return the key of what an edge has translated for an elastic IP."""
    return f"hoststat/{host}/eip-{address}"


def agent_status(host: str) -> str:
    """Return the key of an agent's word on itself."""
    return f"hoststat/{host}/agent"


def mtu_prefix() -> str:
    """Return the prefix of what all hosts say of their underlays: few and small, and every edge follows them all."""
    return "underlay/mtu/"


def host_mtu(host: str) -> str:
    """Return the key of a host's word on its underlay."""
    return f"{mtu_prefix()}{host}"


def name(owner: str, kind: str, text: str) -> str:
    """Return the key that makes a name unique for its owner."""
    return f"name/{owner}/{kind}/{text}"


def named(kind: str, text: str, owner: str = "", resource_id: str = "") -> str:
    """Return the key by which a resource is found by its name, or the prefix of those of all owners, or of one."""
    return f"named/{kind}/{text}/{owner}/{resource_id}" if owner else f"named/{kind}/{text}/"


def pool_prefix() -> str:
    """Return the prefix of all pools of public addresses: few and small, and every edge follows them all."""
    return "pool/"


def pool(name: str) -> str:
    """Return the key of a pool of public addresses."""
    return f"{pool_prefix()}{name}"


def owned_prefix(prefix: str, owner: str) -> str:
    """Return the prefix of an owner's resources of one kind that belong to no VPC."""
    return f"{prefix}/{owner}/"


def owned(prefix: str, owner: str, resource_id: str) -> str:
    """Return the key of a resource that belongs to an owner and to no VPC."""
    return f"{owned_prefix(prefix, owner)}{resource_id}"


def public_address(address: str) -> str:
    """Return the key that says who holds a public address."""
    return f"alloc/eip/{address}"


def addresses_of(owner: str, address: str = "") -> str:
    """Return the key that lists a public address, or IPv6 range, among those that an owner has, or had last."""
    return f"alloc/eipof/{owner}/{address}"


def pair_prefix(pair: str = "") -> str:
    """Return the prefix of the places of one pair of edges, or of all pairs."""
    return f"alloc/pair/{pair}/" if pair else "alloc/pair/"


def pair_place(pair: str, place: int) -> str:
    """Return the key that says which edge has a place of a pair."""
    return f"{pair_prefix(pair)}{place}"


def pool_ranges() -> str:
    """Return the key that every change of a pool's ranges rewrites; who adds a host compares it."""
    return "alloc/ranges/pools"


def host_ranges() -> str:
    """Return the key that is written with every new host; who changes a pool's ranges compares it."""
    return "alloc/ranges/hosts"


def uplinks() -> str:
    """Return the key that every new or changed uplink of an edge rewrites: no two edges have one address there."""
    return "alloc/ranges/uplinks"


def vteps() -> str:
    """Return the prefix of the keys that make underlay addresses unique: one for each host."""
    return "alloc/vtep/"


def public_mark(vni: int) -> str:
    """Return the key that is written with every new public address of a VPC; who makes or deletes a gateway compares it."""
    return f"alloc/public/{vni:06x}"


def vtep(underlay: str) -> str:
    """Return the key that makes an underlay address unique."""
    return f"{vteps()}{underlay}"


def host_drain(name: str) -> str:
    """Return the key that stands while a host is deleted or changed; whoever places something compares that it is absent."""
    return f"alloc/drain/{name}"


def last_change() -> str:
    """Return the key that each command overwrites with who gives it: the store's history has them all."""
    return "audit/last"
