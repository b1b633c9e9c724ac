"""The JSON Schema of vpc.yaml, for checks in editors. `load_cloud` checks more, e.g. overlaps."""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.model import cloud, flow_log, rules
from netorch.model.eni import Uplink
from netorch.model.ids import VNI_FIRST, VNI_LAST
from netorch.model.outside.direct_connect import MTUS, VLAN_LAST
from netorch.model.outside.gateway import MAX_PUBLIC
from netorch.model.outside.provided import NUMBER_PATTERN, PROVIDED
from netorch.model.outside.vif_rules import MAX_ROUTES
from netorch.model.outside.vpn import TUNNELS, TunnelOptions
from netorch.model.security import ACL_NUMBER_LAST
from netorch.spec.schema_words import (
    ADDRESS,
    ADDRESS6,
    CAPACITY,
    CIDR,
    DESCRIPTION,
    FIELD,
    IPV4,
    IPV6,
    MAPPED_RANGE,
    NAME,
    PART,
    PEER,
    PORTS,
    PROTOCOL,
    ROUTE,
    RULE_PORTS,
    RULE_PROTOCOL,
    TAGS,
    VLAN,
    Schema,
    cidr6,
)
from netorch.spec.services_schema import SERVICES
from netorch.spec.tunnel_schema import INSIDE, OPTIONS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
# type -> field -> constraints and description that the type does not express. A test checks that it is complete.
_FIELDS: Final[dict[type, dict[str, Schema]]] = {
    **SERVICES,
    cloud.HostDecl: {
        "name": {"description": "The host's name.", "pattern": rules.HOST_NAME_PATTERN},
        "underlay": {"description": "The IPv4 address that other hosts send VXLAN packets to: the VTEP.", **ADDRESS},
        "role": {"description": "The host's role: a hypervisor runs instances, an edge leads out of the cloud."},
        "pair": {
            "description": "The edge's pair: two edges at most, which carry the same gateways; needs an uplink.",
            **NAME,
        },
        "uplink": {"description": "How this edge reaches the outside; needs a pair."},
        "capacity": {"description": "How many interfaces a hypervisor may carry; 0: any number.", **CAPACITY},
        "tags": TAGS,
    },
    Uplink: {
        "device": {"description": "The host's network device towards the border router; the edge takes it over."},
        "address": {
            "description": "The edge's address on the uplink, with the prefix length.",
            "pattern": f"^{IPV4}/[0-9]{{1,2}}$",
            "examples": ["198.51.100.21/24"],
        },
        "gateway": {"description": "The border router's address in that network.", **ADDRESS},
        "ipv6_address": {
            "description": "The edge's IPv6 address on the uplink, with the prefix length.",
            "pattern": f"^({IPV6}/[0-9]{{1,3}})?$",
        },
        "ipv6_gateway": {"description": "The border router's IPv6 address.", "pattern": f"^({IPV6})?$"},
        "asn": {"description": "The edge's AS number; 0: no BGP.", "minimum": 0, "maximum": 0xFFFFFFFE},
        "gateway_asn": {"description": "The border router's AS number, not the edge's.", "minimum": 0, "maximum": 0xFFFFFFFE},
    },
    cloud.AddressPoolDecl: {
        "name": {"description": "The pool's name.", **NAME},
        "pair": {"description": "The pair of edges to which its addresses are routed.", **NAME},
        "cidrs": {
            "description": "Ranges that overlap no others: IPv4, every address of which is allocated; IPv6, /56 or larger.",
            "items": {
                "type": "string",
                "pattern": f"^({IPV4}|{IPV6})/[0-9]{{1,3}}$",
                "examples": ["198.51.100.0/24", "2001:db8:100::/40"],
            },
            "minItems": 1,
        },
        "tags": TAGS,
    },
    cloud.HostedVlanDecl: {
        "owner": {"description": "The owner who may have a virtual interface on this VLAN.", **NAME},
        "vlan": {"description": "The VLAN.", **VLAN},
        "outer_vlan": {"description": "The outer tag (802.1ad service tag); 0: none.", "minimum": 0, "maximum": VLAN_LAST},
    },
    cloud.ConnectionDecl: {
        "name": {"description": "The connection's name.", **NAME},
        "host": {"description": "The edge that has the port.", "pattern": rules.HOST_NAME_PATTERN},
        "device": {"description": "The port's network device; the edge takes it over.", "minLength": 1, "maxLength": 15},
        "owner": {"description": "The owner who may use every VLAN that is not hosted; nobody when left out.", **NAME},
        "hosted": {"description": "VLANs that owners may have virtual interfaces on, one owner each."},
        "tags": TAGS,
    },
    cloud.ElasticIpDecl: {
        "name": {"description": "Its name, unique for its owner; instances and NAT gateways name it.", **NAME},
        "owner": {"description": "Its owner.", **NAME},
        "pool": {"description": "The address pool; when left out, any pool that suits the VPC.", **NAME},
        "address": {"description": "The public address; any free one when left out.", **ADDRESS},
        "tags": TAGS,
    },
    cloud.InternetGatewayDecl: {
        "name": {"description": "Its name; it never changes.", **NAME},
        "tags": TAGS,
    },
    cloud.NatGatewayDecl: {
        "name": {"description": "Its name, unique in the VPC; routes refer to it as nat-NAME.", **NAME},
        "subnet": {"description": "The name of its subnet, whose route table its packets follow.", **NAME},
        "elastic_ips": {
            "description": "The names of the owner's elastic IPs that it uses as source addresses; the first is the primary.",
            "items": {"type": "string", **NAME},
            "maxItems": MAX_PUBLIC,
        },
        "address": {"description": "Its private IPv4 address; the next free one when left out.", **ADDRESS},
        "tags": TAGS,
    },
    cloud.EgressOnlyInternetGatewayDecl: {
        "name": {"description": "Its name; it never changes.", **NAME},
        "tags": TAGS,
    },
    cloud.VpnGatewayDecl: {
        "name": {"description": "Its name; it never changes.", **NAME},
        "asn": {"description": "Its AS number for BGP, from the private range; it never changes."},
        "tags": TAGS,
    },
    cloud.VirtualInterfaceDecl: {
        "name": {"description": "Its name, unique in the VPC.", **NAME},
        "connection": {"description": "The name of its connection.", **NAME},
        "vlan": {"description": "Its VLAN on the connection; the VPC's owner must be allowed to use it.", **VLAN},
        "outer_vlan": {"description": "The outer tag (802.1ad service tag); 0: none.", "minimum": 0, "maximum": VLAN_LAST},
        "mtu": {"description": "In bytes.", "enum": list(MTUS)},
        "asn": {"description": "The AS number of the customer's router; 0: no BGP.", "minimum": 0, "maximum": 0xFFFFFFFE},
        "address": {
            "description": "The edge's address, with the prefix length, /30 or /31; allocated when left out.",
            "pattern": f"^({IPV4}/3[01])?$",
            "examples": ["169.254.100.1/30"],
        },
        "peer": {"description": "The address of the customer's router; the other end of the link when left out.", **ADDRESS},
        "key_file": {"description": "A file with the BGP key (TCP MD5). It is read when the key is first set."},
        "bfd": {"description": "Whether BFD detects a failed router."},
        "routes": {
            "description": "Static routes to the customer's networks, instead of BGP. AWS Direct Connect has none.",
            "items": {"type": "string", "pattern": f"^{IPV4}/[0-9]{{1,2}}$", "examples": ["192.168.0.0/16"]},
            "maxItems": MAX_ROUTES,
        },
        "tags": TAGS,
    },
    cloud.CustomerGatewayDecl: {
        "name": {"description": "Its name, unique for its owner; VPN connections name it.", **NAME},
        "owner": {"description": "Its owner.", **NAME},
        "asn": {"description": "Its AS number, for BGP."},
        "address": {"description": "Its public IPv4 address, or that of the NAT in front of it.", **ADDRESS},
        "identity": {"description": "Its IKE identity; its address when left out."},
        "tags": TAGS,
    },
    cloud.TunnelDecl: {
        "inside_cidr": INSIDE,
        "psk_file": {"description": "A file with the pre-shared key of a new connection; generated when left out."},
        "options": {"description": "The tunnel's options; EC2's defaults when left out."},
    },
    TunnelOptions: OPTIONS,
    cloud.VpnConnectionDecl: {
        "name": {"description": "Its name, unique in the VPC.", **NAME},
        "customer_gateway": {"description": "The name of one of the owner's customer_gateways, or its id."},
        "static_routes": {"description": "Static routes to the customer's networks; BGP when left out."},
        "local_cidr": {"description": "Networks on the customer's side that may use the tunnels."},
        "remote_cidr": {"description": "Networks on the VPC's side that may use the tunnels."},
        "tunnels": {"description": "Its two tunnels.", "maxItems": TUNNELS},
        "tags": TAGS,
    },
    cloud.PrefixListDecl: {
        "name": {"description": "Its name, unique in the VPC; rules write pl-NAME.", **NAME, "not": {"pattern": "^pl-"}},
        "cidrs": {"description": "CIDRs of one IP version.", "minItems": 1, "maxItems": rules.MAX_ENTRIES},
        "max_entries": {"description": "Its size in rule quotas; the number of its CIDRs when left out."},
        "tags": TAGS,
    },
    cloud.IngressDecl: {
        "protocol": PROTOCOL | RULE_PROTOCOL,
        "source": {"description": "A CIDR, sg-NAME for a security group, or pl-NAME for a prefix list.", **PEER},
        "ports": PORTS | RULE_PORTS,
        "description": DESCRIPTION,
    },
    cloud.EgressDecl: {
        "protocol": PROTOCOL | RULE_PROTOCOL,
        "destination": {"description": "A CIDR, sg-NAME for a security group, or pl-NAME for a prefix list.", **PEER},
        "ports": PORTS | RULE_PORTS,
        "description": DESCRIPTION,
    },
    cloud.SecurityGroupDecl: {
        "name": {"description": "Its name, unique in the VPC; rules refer to it as sg-NAME.", **NAME, "not": {"pattern": "^sg-"}},
        "description": DESCRIPTION,
        "ingress": {"description": "Traffic that its members may receive; everything else is dropped."},
        "egress": {"description": "Traffic that its members may send; everything when left out, nothing when empty."},
        "tags": TAGS,
    },
    cloud.AclEntryDecl: {
        "rule": {
            "description": "The entry's number. The matching entry with the lowest number decides.",
            "minimum": 1,
            "maximum": ACL_NUMBER_LAST,
        },
        "action": {"description": "Whether matching packets are allowed or denied."},
        "protocol": PROTOCOL | RULE_PROTOCOL,
        "cidr": {
            "description": "The source for ingress, the destination for egress.",
            "pattern": f"^({IPV4}/[0-9]{{1,2}}|{IPV6}/[0-9]{{1,3}})$",
        },
        "ports": PORTS | RULE_PORTS,
    },
    cloud.NetworkAclDecl: {
        "name": {"description": "The ACL's name, unique in the VPC.", **NAME},
        "ingress": {"description": "Traffic into its subnets; packets that match no entry are denied."},
        "egress": {"description": "Traffic out of its subnets; packets that match no entry are denied."},
        "tags": TAGS,
    },
    cloud.FlowLogDecl: {
        "name": {"description": "The flow log's name, unique in the VPC.", **NAME},
        "traffic": {"description": "Which traffic it records."},
        "interval": {
            "description": "The aggregation interval in seconds.",
            "minimum": flow_log.INTERVAL_FIRST_S,
            "maximum": flow_log.INTERVAL_LAST_S,
        },
        "format": {
            "description": "The fields of a line as EC2 writes them; EC2's default ones when left out.",
            "pattern": rf"^$|^ *({FIELD})( +({FIELD}))* *$",
            "examples": ["${version} ${srcaddr} ${dstaddr} ${action}"],
        },
        "tags": TAGS,
    },
    cloud.RouteTableDecl: {
        "name": {"description": "The table's name, unique in the VPC.", **NAME},
        "main": {"description": "Whether it is the VPC's main table. If no table says so, the one named main is."},
        "routes": {
            "description": "Routes besides the local ones: DESTINATION via TARGET. The longest prefix decides.",
            "items": {"type": "string", "pattern": ROUTE, "examples": ["0.0.0.0/0 via eni fw-1", "10.9.0.0/16 via blackhole"]},
        },
        "propagate": {"description": "Whether the VPC's virtual private gateway propagates its routes into the table."},
        "tags": TAGS,
    },
    cloud.PeeringDecl: {
        "name": {"description": "The connection's name in this VPC, unique there; routes refer to it as pcx-NAME.", **NAME},
        "peer": {
            "description": "The other VPC: its name, owner/name, or its id.",
            "pattern": rf"{PART}(/{PART[1:]})?$",
            "examples": ["data", "globex/data"],
        },
        "map_own": {
            "description": "RANGE=ALIAS: a range of this VPC, and its alias in the other VPC, which may then have the same.",
            "pattern": MAPPED_RANGE,
            "examples": ["10.0.0.0/16=100.66.0.0/16"],
        },
        "map_peer": {
            "description": "RANGE=ALIAS: a range of the other VPC, and its alias in this VPC.",
            "pattern": MAPPED_RANGE,
            "examples": ["10.0.0.0/16=100.65.0.0/16"],
        },
        "tags": TAGS,
    },
    cloud.SubnetDecl: {
        "name": {"description": "The subnet's name, unique in the VPC.", **NAME},
        "cidr": {"description": "A /16 to /28 inside one of the VPC's cidrs. Five addresses of it are reserved.", **CIDR},
        "ipv6_cidr": {
            "description": "A /64 inside one of the VPC's ipv6_cidrs; provided-N is number N of the provided range, 0 to 255.",
            **cidr6(rules.IPV6_SUBNET_LENGTH, NUMBER_PATTERN),
            "examples": ["provided-0"],
        },
        "route_table": {"description": "The name of one of the VPC's route_tables; main when left out.", **NAME},
        "network_acl": {"description": "The name of one of the VPC's network_acls; the default one when left out.", **NAME},
        "public_on_launch": {"description": "Whether new instances get an ephemeral public address."},
        "tags": TAGS,
        "flow_logs": {"description": "Flow logs of all its interfaces."},
    },
    cloud.InstanceDecl: {
        "name": {"description": "The instance's name, unique in the VPC.", **NAME},
        "subnet": {"description": "The name of its subnet; the VPC's only one when left out.", **NAME},
        "host": {
            "description": "The name of the hypervisor; netorch chooses one when left out.",
            "pattern": rules.HOST_NAME_PATTERN,
        },
        "address": {"description": "Its private IPv4 address; the next free one when left out.", **ADDRESS},
        "ipv6_address": {
            "description": "Its IPv6 address; the next free one of a subnet with IPv6 when left out. In a provided "
            "range: its part within the /64, e.g. ::4.",
            **ADDRESS6,
        },
        "mac": {"description": "Its MAC address, unicast; a new one when left out.", "pattern": rules.MAC_PATTERN},
        "public_address": {
            "description": "Whether it has an ephemeral public address. When left out, the subnet decides for a new instance."
        },
        "elastic_ip": {"description": "The name of one of the owner's elastic_ips, to associate with it.", **NAME},
        "security_groups": {
            "description": "The names of its security groups; the default one when left out.",
            "items": {"type": "string", **NAME},
        },
        "source_dest_check": {
            "description": "Whether it only sends and receives packets of its own addresses; false e.g. for a firewall or router."
        },
        "attachment": {"description": "A new namespace, an existing one, or a tap device for a virtual machine."},
        "netns": {
            "description": "For attachment existing, which only the operator may use: a name in /run/netns or an absolute path."
        },
        "user_data": {"description": "The instance's user data as text, e.g. for cloud-init. It never changes."},
        "user_data_base64": {"description": "The user data in base64, for data that is not text."},
        "metadata_options": {"description": "Options of its metadata service; EC2's defaults when left out."},
        "tags": TAGS,
        "flow_logs": {"description": "Flow logs of its own interface."},
    },
    cloud.VpcDecl: {
        "name": {"description": "The VPC's name, unique for its owner.", **NAME},
        "owner": {"description": "The VPC's owner.", **NAME},
        "cidrs": {
            "description": "One to five IPv4 ranges, /16 to /28.",
            "items": {"type": "string", **CIDR},
            "minItems": 1,
            "maxItems": 5,
        },
        "ipv6_cidrs": {
            "description": "Up to five IPv6 ranges, /56; provided: one from an address pool, which the internet can reach.",
            "items": {"type": "string", **cidr6(rules.IPV6_VPC_LENGTH, PROVIDED)},
            "maxItems": 5,
            "examples": [[PROVIDED]],
        },
        "vni": {"description": "The requested VXLAN network identifier; a free one when left out."},
        "enable_dns_support": {"description": "Whether its resolver answers, e.g. at 169.254.169.253."},
        "enable_dns_hostnames": {
            "description": "Whether instances, zones and endpoints have DNS names in it; when left out, in the default VPC only."
        },
        "dhcp_options": {"description": "The name of one of the owner's dhcp_options, or its id; the default set when left out."},
        "tags": TAGS,
        "internet_gateway": {"description": "Its access to and from the internet; {} suffices. Routes refer to it as igw."},
        "egress_only_internet_gateway": {
            "description": "Outbound-only IPv6 access to the internet; {} suffices. Routes refer to it as eigw."
        },
        "vpn_gateway": {"description": "Connects the VPC to private networks elsewhere; {} suffices. Routes refer to it as vgw."},
        "vpn_connections": {"description": "VPN connections between its gateway and customer gateways."},
        "prefix_lists": {"description": "Named sets of CIDRs, for security group rules and routes."},
        "security_groups": {"description": "Stateful firewalls of instances; default, which every VPC has, may be among them."},
        "network_acls": {"description": "Stateless filters of subnets; default, which every VPC has, may be among them."},
        "route_tables": {"description": "Route tables; main, which every VPC has, may be among them."},
        "peerings": {
            "description": "Peering connections with other VPCs. Packets cross when both VPCs have routes to the connection."
        },
        "flow_logs": {"description": "Flow logs of all interfaces in the VPC."},
        "subnets": {"description": "The VPC's subnets; they do not overlap."},
        "nat_gateways": {
            "description": "Outbound-only internet access without public addresses. Routes refer to them as nat-NAME."
        },
        "gateway_endpoints": {"description": "Access to the operator's services, such as S3, without an internet gateway."},
        "interface_endpoints": {"description": "Access to other VPCs' services at addresses in the VPC's own subnets."},
        "endpoint_services": {"description": "Services that the VPC offers to other VPCs' interface endpoints."},
        "virtual_interfaces": {"description": "VLANs of connections that lead into the VPC; it needs a virtual private gateway."},
        "instances": {"description": "The instances in the VPC."},
    },
    cloud.Cloud: {
        "name": {
            "description": "Identifies what this file created, so that the file may be moved; its path when left out.",
            **NAME,
        },
        "hosts": {"description": "The machines; may be left out once they exist."},
        "address_pools": {"description": "Public addresses that are routed to edges; may be left out once they exist."},
        "connections": {"description": "Ports of edges for Direct Connect; may be left out once they exist."},
        "gateway_services": {"description": "Services that gateway endpoints lead to; may be left out once they exist."},
        "buckets": {"description": "Buckets of these services: their owners and policies."},
        "elastic_ips": {"description": "Public addresses that owners hold independently of their VPCs."},
        "customer_gateways": {"description": "Customers' VPN devices."},
        "dhcp_options": {"description": "Options that instances get by DHCP, besides their addresses."},
        "private_zones": {"description": "DNS zones that are visible in chosen VPCs only."},
        "vpcs": {"description": "The VPCs and everything in them."},
        "instances": {"description": "Instances in the default VPC."},
    },
}


def json_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of vpc.yaml."""
    (reference,), definitions = msgspec.json.schema_components([cloud.Cloud], ref_template="#/$defs/{name}")
    for type_, fields in _FIELDS.items():
        properties = definitions[type_.__name__]["properties"]
        for name, extra in fields.items():
            properties[name].update(extra)
    entries = definitions["PrefixListDecl"]["properties"]["max_entries"]
    entries["anyOf"] = [{"type": "integer", "minimum": 1, "maximum": rules.MAX_ENTRIES}, {"type": "null"}]
    vni = definitions["VpcDecl"]["properties"]["vni"]
    vni["anyOf"] = [{"type": "integer", "minimum": VNI_FIRST, "maximum": VNI_LAST}, {"type": "null"}]
    return {"$schema": DIALECT, "title": "netorch vpc.yaml", **reference, "$defs": definitions}
