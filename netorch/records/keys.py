"""The store's keys. Only this module knows their spelling."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote
from zlib import crc32

PUBLIC: Final = "eip/"  # prefix of public addresses among a VPC's mappings
REACH: Final = "reach/"  # prefix of the records of prefixes that edges reach
ZONE: Final = "zone/"  # prefix of private zones


def vpc_prefix(vni: int) -> str:
    """Return the prefix of a VPC's resources. One prefix needs one watch, which keeps the order of changes."""
    return f"vpc/{vni:06x}/"


def vpc(vni: int) -> str:
    """Return the key of the VPC record itself."""
    return f"{vpc_prefix(vni)}vpc"


def resources(vni: int, prefix: str) -> str:
    """Return the prefix of a VPC's resources of one kind, by the prefix of their ids."""
    return f"{vpc_prefix(vni)}{prefix}/"


def resource(resource_id: str) -> str:
    """Return the key of a VPC or of a VPC's resource. The id contains the VNI and the kind."""
    prefix = resource_id[:-18]
    return f"vpc/{resource_id[-17:-11]}/{prefix}/{resource_id}" if prefix != "vpc" else f"vpc/{resource_id[-17:-11]}/vpc"


def member(vni: int, resource_id: str) -> str:
    """Return the key of a resource's record in VPC `vni`. Both VPCs of a shared resource have one; its id has one of the VNIs."""
    return f"{vpc_prefix(vni)}{resource_id[:-18]}/{resource_id}"


def map_prefix(vni: int) -> str:
    """Return the prefix of all mappings of a VPC."""
    return f"map/{vni:06x}/"


def mapping(vni: int, address: str) -> str:
    """Return the key of a mapping. `address` is canonical."""
    return f"map/{vni:06x}/{address}"


def gateway_mapping(vni: int, gateway_id: str) -> str:
    """Return the key of a gateway's mapping. It differs from an address's, because only ids have a dash."""
    return mapping(vni, gateway_id)


def public_mapping(vni: int, address: str) -> str:
    """Return the key of a public address's mapping in a VPC."""
    return mapping(vni, f"{PUBLIC}{address}")


def reach(vni: int, gateway_id: str, edge: str) -> str:
    """Return the key of the prefixes that an edge reaches through a gateway."""
    return mapping(vni, f"{REACH}{gateway_id}/{edge}")


def vpc_zone(vni: int, zone_id: str) -> str:
    """Return the key of a VPC's copy of a private zone."""
    return mapping(vni, f"{ZONE}{zone_id}")


def zone_use(owner: str, zone_id: str, vpc_id: str = "") -> str:
    """Return the key of the association of a VPC with a private zone, or the prefix of a zone's associations."""
    return f"alloc/zone/{owner}/{zone_id}/{vpc_id}"


def secret_prefix(edge: str) -> str:
    """Return the prefix of the secrets sealed for an edge. The edge's agent watches it."""
    return f"secret/{edge}/"


def secret(edge: str, resource_id: str) -> str:
    """Return the key of the secrets of a VPN connection or a virtual interface, sealed for an edge."""
    return f"{secret_prefix(edge)}{resource_id}"


def vpn_uses() -> str:
    """Return the prefix of the keys that record the customer gateway of each VPN connection."""
    return "alloc/vpn/"


def dhcp_use(owner: str, set_id: str, vpc_id: str = "") -> str:
    """Return the key of the association of a VPC with a DHCP options set, or the prefix of a set's associations."""
    return f"alloc/dopt/{owner}/{set_id}/{vpc_id}"


def ike_peers() -> str:
    """Return the prefix of the keys that record the VPN connection of each IKE peer."""
    return "alloc/ike/"


def vpn_use(owner: str, customer_gateway: str = "", vpn_id: str = "") -> str:
    """Return the key that records the customer gateway of a VPN connection, or the prefix for an owner or one gateway."""
    found = f"{vpn_uses()}{owner}/"
    return f"{found}{customer_gateway}/{vpn_id}" if customer_gateway else found


def ike_peer(pair: str, identity: str) -> str:
    """Return the key that records which VPN connection of a pair of edges leads to the device with this IKE identity."""
    return f"{ike_peers()}{pair}/{quote(identity, safe='')}"


def edge_key(edge: str) -> str:
    """Return the key of an edge's public key for sealed secrets. The edge's agent writes it."""
    return f"hoststat/{edge}/sealing"


def tunnel_status(edge: str, vpn_id: str) -> str:
    """Return the key of an edge's status of a VPN connection's tunnels or of a virtual interface."""
    return f"hoststat/{edge}/{vpn_id}"


def connection_prefix() -> str:
    """Return the prefix of all Direct Connect connections."""
    return "dxcon/"


def connection(name: str) -> str:
    """Return the key of a Direct Connect connection."""
    return f"{connection_prefix()}{name}"


def connection_vlans(name: str = "") -> str:
    """Return the prefix of the used VLANs of one Direct Connect connection, or of all connections."""
    return f"alloc/vlan/{name}/" if name else "alloc/vlan/"


def connection_vlan(name: str, outer_vlan: int, vlan: int) -> str:
    """Return the key that records which virtual interface uses a VLAN of a connection."""
    return f"{connection_vlans(name)}{outer_vlan}.{vlan}"


def ports(host: str = "") -> str:
    """Return the prefix of the devices of one edge, or of all edges, that are Direct Connect connections."""
    return f"alloc/dxport/{host}/" if host else "alloc/dxport/"


def port(host: str, device: str) -> str:
    """Return the key that records the Direct Connect connection of an edge's device."""
    return f"{ports(host)}{device}"


def service_prefix() -> str:
    """Return the prefix of all gateway services. They are few and small, and every edge watches all of them."""
    return "gwsvc/"


def service(name: str) -> str:
    """Return the key of a gateway service."""
    return f"{service_prefix()}{name}"


def service_uses(name: str = "", endpoint_id: str = "") -> str:
    """Return the key that records an endpoint's use of a gateway service, or the prefix for one service or for all."""
    return f"alloc/gwsvc/{name}/{endpoint_id}" if name else "alloc/gwsvc/"


def bucket_prefix() -> str:
    """Return the prefix of all bucket records. Every edge's agent watches all of them."""
    return "bucket/"


def bucket(name: str) -> str:
    """Return the key of a bucket's record."""
    return f"{bucket_prefix()}{name}"


def host_prefix(name: str) -> str:
    """Return the prefix of a host's record and placements."""
    return f"host/{name}/"


def host_spec(name: str) -> str:
    """Return the key of a host's own record."""
    return f"host/{name}/spec"


def placement(host: str, resource_id: str) -> str:
    """Return the key of a placement: `host` must carry this resource, of any kind."""
    return f"host/{host}/placement/{resource_id}"


def placements_in(host: str, kind: str, vni: int) -> str:
    """Return the prefix of a host's placements of one kind, by the prefix of its ids, in one VPC."""
    return f"host/{host}/placement/{kind}-{vni:06x}"


def host_live(name: str) -> str:
    """Return the key that a running agent keeps with a lease."""
    return f"host/{name}/live"


def host_rival(name: str) -> str:
    """Return the key that an agent keeps with a lease while an agent on another machine holds the host's live key."""
    return f"hoststat/{name}/rival"


def host_drained(name: str) -> str:
    """Return the key that exists while an edge is drained. The edge's agent watches it."""
    return f"host/{name}/drained"


def status_prefix(host: str) -> str:
    """Return the prefix of all that a host's agent publishes about it, except its underlay's MTU."""
    return f"hoststat/{host}/"


def eni_status(host: str, eni_id: str) -> str:
    """Return the key of a host's status of an interface."""
    return f"hoststat/{host}/{eni_id}"


def eni_flows(host: str, eni_id: str) -> str:
    """Return the key of the tracked connections of an interface that leaves a host."""
    return f"hoststat/{host}/flows/{eni_id}"


def vpc_status(host: str, vni: int) -> str:
    """Return the key of a host's status of a VPC."""
    return f"hoststat/{host}/vpc-{vni:06x}"


def nat_use(host: str, nat_id: str) -> str:
    """Return the key of an edge's counters of a NAT gateway."""
    return f"hoststat/{host}/{nat_id}"


def connection_use(host: str, connection_id: str) -> str:
    """Return the key of an edge's status of an endpoint connection."""
    return f"hoststat/{host}/{connection_id}"


def handover_prefix(host: str) -> str:
    """Return the prefix of an edge's handover records, which the other edge of its pair watches."""
    return f"hoststat/{host}/handover/"


def handover_word(host: str) -> str:
    """Return the key of an edge's handover message. It sorts after the gateways' connections."""
    return f"{handover_prefix(host)}word"


def handover_flows(host: str, gateway_id: str, part: int) -> str:
    """Return the key of a part of the tracked connections of a gateway that an edge hands over."""
    return f"{handover_prefix(host)}{gateway_id}/{part}"


def public_use(host: str, address: str) -> str:
    """Return the key of an edge's traffic counters of an elastic IP."""
    return f"hoststat/{host}/eip-{address}"


def agent_status(host: str) -> str:
    """Return the key of an agent's own status."""
    return f"hoststat/{host}/agent"


def mtu_prefix() -> str:
    """Return the prefix of all hosts' underlay MTUs. They are few and small, and every edge watches all of them."""
    return "underlay/mtu/"


def host_mtu(host: str) -> str:
    """Return the key of a host's underlay MTU."""
    return f"{mtu_prefix()}{host}"


def name(owner: str, kind: str, text: str) -> str:
    """Return the key that makes a name unique for its owner."""
    return f"name/{owner}/{kind}/{text}"


def named(kind: str, text: str, owner: str = "", resource_id: str = "") -> str:
    """Return the index key of a resource's name, or the prefix of all resources with that name."""
    return f"{names_of(kind)}{text}/{owner}/{resource_id}" if owner else f"{names_of(kind)}{text}/"


def names_of(kind: str) -> str:
    """Return the prefix of the index of all names of a kind."""
    return f"named/{kind}/"


def pool_prefix() -> str:
    """Return the prefix of all address pools. They are few and small, and every edge watches all of them."""
    return "pool/"


def pool(name: str) -> str:
    """Return the key of an address pool."""
    return f"{pool_prefix()}{name}"


def owned_prefix(prefix: str, owner: str) -> str:
    """Return the prefix of an owner's resources of one kind outside VPCs."""
    return f"{prefix}/{owner}/"


def owned(prefix: str, owner: str, resource_id: str) -> str:
    """Return the key of an owner's resource outside VPCs."""
    return f"{owned_prefix(prefix, owner)}{resource_id}"


def public_address(address: str) -> str:
    """Return the key that records the holder of a public address."""
    return f"alloc/eip/{address}"


def addresses_of(owner: str, address: str = "") -> str:
    """Return the key of a public address or IPv6 range in the list of those that an owner has, or was the last to have."""
    return f"alloc/eipof/{owner}/{address}"


def pair_prefix(pair: str = "") -> str:
    """Return the prefix of the places in one pair of edges, or in all pairs."""
    return f"alloc/pair/{pair}/" if pair else "alloc/pair/"


def pair_place(pair: str, place: int) -> str:
    """Return the key that records which edge has a place in a pair."""
    return f"{pair_prefix(pair)}{place}"


def pool_ranges() -> str:
    """Return the key that every change of a pool's ranges rewrites. Transactions that add a host compare it."""
    return "alloc/ranges/pools"


def host_ranges() -> str:
    """Return the key that every new host rewrites. Transactions that change a pool's ranges compare it."""
    return "alloc/ranges/hosts"


def uplinks() -> str:
    """Return the key that every new or changed uplink rewrites, so that no two edges share an uplink address."""
    return "alloc/ranges/uplinks"


def vteps() -> str:
    """Return the prefix of the keys that make underlay addresses unique, one per host."""
    return "alloc/vtep/"


def public_mark(vni: int) -> str:
    """Return the key that every new public address of a VPC rewrites. Transactions that create or delete a gateway compare it."""
    return f"alloc/public/{vni:06x}"


def vtep(underlay: str) -> str:
    """Return the key that makes an underlay address unique."""
    return f"{vteps()}{underlay}"


def host_drain(name: str) -> str:
    """Return the key that exists while a host is deleted or changed. Transactions that place a resource compare its absence."""
    return f"alloc/drain/{name}"


def accepting(digits: str = "") -> str:
    """Return the prefix of the keys of hypervisors that accept new instances; `digits` are the first of a host's eight."""
    return f"alloc/accepts/{digits}"


def accepts(name: str) -> str:
    """Return the key that exists while a hypervisor accepts new instances. Its digits scatter hosts, so that they are sampled."""
    return f"{accepting(f'{crc32(name.encode()):08x}')}/{name}"


def full(name: str) -> str:
    """Return the key by which a hypervisor with a capacity is known to be full, in the same listing. It is only a hint."""
    return f"{accepts(name)}/full"


def closed(name: str) -> str:
    """Return the key by which a hypervisor is known to be drained, in the same listing. It is only a hint."""
    return f"{accepts(name)}/drained"


def last_change() -> str:
    """Return the key that each command overwrites with its signature. The store's history keeps all values."""
    return "audit/last"


def enrolment() -> str:
    """Return the key of the enrolment service's address. Every host reads it."""
    return "join/service"


def join_token(host: str) -> str:
    """Return the key of the token by which a host may join. No host reads it."""
    return f"join/token/{host}"
