"""Strategies for valid clouds, and values that break them."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st
from msgspec import UNSET

from netorch.model.cloud import (
    AclAction,
    AclEntryDecl,
    AddressPoolDecl,
    Cloud,
    ConnectionDecl,
    EgressDecl,
    EgressOnlyInternetGatewayDecl,
    ElasticIpDecl,
    FlowLogDecl,
    HostDecl,
    HostedVlanDecl,
    IngressDecl,
    InstanceDecl,
    InternetGatewayDecl,
    LoggedTraffic,
    NatGatewayDecl,
    NetworkAclDecl,
    PeeringDecl,
    PrefixListDecl,
    RouteTableDecl,
    SecurityGroupDecl,
    SubnetDecl,
    TunnelDecl,
    VirtualInterfaceDecl,
    VpcDecl,
    VpnConnectionDecl,
    VpnGatewayDecl,
)
from netorch.model.eni import Attachment, Role, Uplink
from netorch.model.outside.vpn import TunnelOptions
from tests.unit.spec.services import TOLD

_ALNUM = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
TRICKY_NAMES = ["no", "yes", "null", "true", "010", "1e3", "0x1f", "1_000", "12", "0o7", "NaN", "y", "2020-01-01", "a-"]
names = st.one_of(
    st.sampled_from(TRICKY_NAMES), st.builds(str.__add__, st.sampled_from(_ALNUM), st.text(_ALNUM + "._-", max_size=12))
)
tag_texts = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=20)
tags = st.dictionaries(
    st.one_of(names, tag_texts.filter(bool)).filter(lambda key: ":" not in key), st.one_of(names, tag_texts), max_size=3
)


@st.composite
def hosts(draw: st.DrawFn) -> list[HostDecl]:
    found = draw(st.lists(names, max_size=3, unique=True))
    roles = [draw(st.sampled_from(Role)) if i else Role.HYPERVISOR for i in range(len(found))]
    paired = [role is Role.EDGE and draw(st.booleans()) for role in roles]
    return [
        HostDecl(
            name=name,
            underlay=f"192.0.2.{i + 1}",
            role=roles[i],
            pair="west" if paired[i] else "",
            uplink=draw(uplinks(i + 1)) if paired[i] else None,
            tags=draw(tags),
        )
        for i, name in enumerate(found)
    ]


@st.composite
def uplinks(draw: st.DrawFn, number: int) -> Uplink:
    six = draw(st.booleans())
    return Uplink(
        device=draw(st.sampled_from(["eth2", "no", "bond0.12"])),
        address=f"198.18.0.{number}/24",
        gateway="198.18.0.254",
        ipv6_address=f"2001:db8::{number}/64" if six else "",
        ipv6_gateway="fe80::1" if six else "",
    )


@st.composite
def pools(draw: st.DrawFn, pairs: set[str]) -> list[AddressPoolDecl]:
    found = draw(st.lists(names, max_size=2, unique=True)) if pairs else []
    return [
        AddressPoolDecl(name=name, pair="west", cidrs=[f"203.0.113.{i * 64}/26"], tags=draw(tags)) for i, name in enumerate(found)
    ]


@st.composite
def elastic_ips(draw: st.DrawFn, pools: list[AddressPoolDecl]) -> list[ElasticIpDecl]:
    found = draw(st.lists(st.tuples(names, st.sampled_from(["default", "acme"])), max_size=4, unique=True))
    return [
        ElasticIpDecl(
            name=name,
            owner=owner,
            pool=draw(st.sampled_from(["", *(pool.name for pool in pools[:1])])),
            address=f"203.0.113.{i + 1}" if draw(st.booleans()) else "",
            tags=draw(tags),
        )
        for i, (name, owner) in enumerate(found)
    ]


@st.composite
def nat_gateways(draw: st.DrawFn, subnets: list[SubnetDecl]) -> list[NatGatewayDecl]:
    """Return gateways without named elastic IPs."""
    return [
        NatGatewayDecl(
            name=name,
            subnet=draw(st.sampled_from([subnet.name for subnet in subnets])),
            tags=draw(tags),
        )
        for name in draw(st.lists(names, max_size=2, unique=True))
    ]


def with_elastic_ips(vpc: VpcDecl, elastic: list[ElasticIpDecl], taken: set[tuple[str, str]]) -> VpcDecl:
    """Return a VPC whose instances and NAT gateways name unused elastic IPs of its owner."""
    if not isinstance(vpc.internet_gateway, InternetGatewayDecl):
        return vpc
    free = [one.name for one in elastic if one.owner == vpc.owner and (one.owner, one.name) not in taken]
    nats = [msgspec.structs.replace(nat, elastic_ips=[free.pop()] if free else []) for nat in vpc.nat_gateways]
    found = [
        msgspec.structs.replace(decl, elastic_ip=free.pop()) if free and decl.public_address is not True else decl
        for decl in vpc.instances
    ]
    used = {*(name for nat in nats for name in nat.elastic_ips), *(decl.elastic_ip for decl in found if decl.elastic_ip)}
    taken.update((vpc.owner, name) for name in used)
    return msgspec.structs.replace(vpc, nat_gateways=nats, instances=found)


@st.composite
def connections(draw: st.DrawFn, hosts: list[HostDecl]) -> list[ConnectionDecl]:
    """Return ports of edges in pairs; every owner may use one VLAN of each."""
    edges = [host.name for host in hosts if host.pair]
    found = draw(st.lists(names, max_size=2, unique=True)) if edges else []
    return [
        ConnectionDecl(
            name=name,
            host=draw(st.sampled_from(edges)),
            device=f"eth{i + 3}",
            hosted=[HostedVlanDecl(owner=owner, vlan=k + 1, outer_vlan=i) for k, owner in enumerate(["default", "acme", "no"])],
            tags=draw(tags),
        )
        for i, name in enumerate(found)
    ]


@st.composite
def with_virtual_interface(draw: st.DrawFn, vpc: VpcDecl, ports: list[ConnectionDecl], taken: set[tuple[str, str]]) -> VpcDecl:
    """Return a VPC with a virtual interface, if it has a gateway and its owner an unused VLAN."""
    free = [port for port in ports if (port.name, vpc.owner) not in taken]
    if not isinstance(vpc.vpn_gateway, VpnGatewayDecl) or not free:
        return vpc
    port = draw(st.sampled_from(free))
    (hosted,) = (hosted for hosted in port.hosted if hosted.owner == vpc.owner)
    taken.add((port.name, vpc.owner))
    speaks = draw(st.booleans())
    vif = VirtualInterfaceDecl(
        name=draw(names),
        connection=port.name,
        vlan=hosted.vlan,
        outer_vlan=hosted.outer_vlan,
        mtu=draw(st.sampled_from([1500, 8500])),
        asn=65010 if speaks else 0,
        address=draw(st.sampled_from(["", "10.9.0.1/30", "169.254.7.0/31"])),
        bfd=speaks and draw(st.booleans()),
        routes=[] if speaks else ["192.168.128.0/17", "172.16.0.0/12"],
        tags=draw(tags),
    )
    return msgspec.structs.replace(vpc, virtual_interfaces=[vif])


@st.composite
def instances(
    draw: st.DrawFn,
    vni: int,
    subnets: list[SubnetDecl],
    hypervisors: list[str],
    groups: list[str],
    logs: list[FlowLogDecl],
) -> list[InstanceDecl]:
    found = []
    for number, name in enumerate(draw(st.lists(names, max_size=4, unique=True))):
        index = draw(st.integers(0, len(subnets) - 1))
        attachment = draw(st.sampled_from(Attachment))
        base = subnets[index].cidr.rpartition(".")[0]
        base6 = subnets[index].ipv6_cidr.removesuffix("/64")
        found.append(
            InstanceDecl(
                name=name,
                subnet=subnets[index].name if len(subnets) > 1 or draw(st.booleans()) else "",
                host=draw(st.sampled_from(["", *hypervisors])),
                address=f"{base}.{number + 4}" if draw(st.booleans()) else "",
                ipv6_address=f"{base6}{number + 4:x}" if base6 and draw(st.booleans()) else "",
                mac=f"02:00:00:00:{number:02X}:{index:02x}" if draw(st.booleans()) else "",
                public_address=draw(st.one_of(st.just(UNSET), st.booleans())),
                security_groups=draw(st.lists(st.sampled_from(groups), max_size=2, unique=True)),
                source_dest_check=draw(st.booleans()),
                attachment=attachment,
                netns=f"/proc/{vni}{number}/ns/net" if attachment is Attachment.EXISTING else "",
                tags=draw(tags),
                flow_logs=logs if number == 0 else [],
                **draw(st.sampled_from(TOLD)),
            )
        )
    return found


CIDRS4 = st.sampled_from(["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32"])
PORTS = st.sampled_from(["", 0, 443, "443", "8000-8080"])
Traffic = tuple[str | int, str | int]
TRAFFIC: st.SearchStrategy[Traffic] = st.one_of(
    st.tuples(st.sampled_from(["tcp", "udp", 6, "17"]), PORTS),
    st.tuples(st.sampled_from(["icmp", 1]), st.sampled_from(["", 8, "3/4"])),
    st.tuples(st.sampled_from(["all", 47, "0"]), st.just("")),
)
descriptions = st.text("abc: #'\"-0", max_size=10)
filter_names = names.filter(lambda name: not name.startswith(("sg-", "pl-")))


def _same(rule: tuple[Traffic, str, str]) -> tuple[int, str, str]:
    """Return the key that is equal for different spellings of the same rule."""
    (protocol, ports), peer, _ = rule
    number = {"tcp": 6, "udp": 17, "icmp": 1, "all": -1}.get(str(protocol), protocol)
    return int(number), str(ports), peer


@st.composite
def security_groups(draw: st.DrawFn, lists: list[str]) -> list[SecurityGroupDecl]:
    found = draw(st.lists(filter_names, max_size=3, unique=True))
    references = ["sg-default", *(f"sg-{name}" for name in found), *(f"pl-{name}" for name in lists)]
    peers = st.one_of(CIDRS4, st.sampled_from(references))
    words = st.lists(st.tuples(TRAFFIC, peers, descriptions), max_size=3, unique_by=_same)
    decls = []
    for name in found:
        ingress, egress = (
            [(protocol, ports, peer, text) for (protocol, ports), peer, text in rules] for rules in (draw(words), draw(words))
        )
        decls.append(
            SecurityGroupDecl(
                name=name,
                description=draw(descriptions),
                ingress=[IngressDecl(protocol=a, ports=b, source=c, description=d) for a, b, c, d in ingress],
                egress=[EgressDecl(protocol=a, ports=b, destination=c, description=d) for a, b, c, d in egress]
                if draw(st.booleans())
                else UNSET,
                tags=draw(tags),
            )
        )
    return decls


@st.composite
def network_acls(draw: st.DrawFn) -> list[NetworkAclDecl]:
    entries = st.builds(
        lambda rule, action, traffic, cidr: AclEntryDecl(
            rule=rule, action=action, protocol=traffic[0], ports=traffic[1], cidr=cidr
        ),
        st.integers(1, 32766),
        st.sampled_from(AclAction),
        TRAFFIC,
        CIDRS4,
    )
    some = st.lists(entries, max_size=3, unique_by=lambda entry: entry.rule)
    found = draw(st.lists(st.one_of(names, st.just("default")), max_size=2, unique=True))
    return [NetworkAclDecl(name=name, ingress=draw(some), egress=draw(some), tags=draw(tags)) for name in found]


@st.composite
def prefix_lists(draw: st.DrawFn) -> list[PrefixListDecl]:
    return [
        PrefixListDecl(
            name=name,
            cidrs=draw(st.lists(CIDRS4, min_size=1, max_size=3, unique=True)),
            max_entries=draw(st.sampled_from([None, 3, 1000])),
            tags=draw(tags),
        )
        for name in draw(st.lists(filter_names, max_size=2, unique=True))
    ]


@st.composite
def flow_logs(draw: st.DrawFn) -> list[list[FlowLogDecl]]:
    """Return the flow logs for three places of one VPC."""
    found = [
        FlowLogDecl(
            name=name,
            traffic=draw(st.sampled_from(LoggedTraffic)),
            interval=k + 10,
            format=draw(st.sampled_from(["", "${version} ${action}", "srcaddr ${dstaddr}"])),
            tags=draw(tags),
        )
        for k, name in enumerate(draw(st.lists(names, max_size=4, unique=True)))
    ]
    return [found[:1], found[1:2], found[2:4]]


@st.composite
def peerings(draw: st.DrawFn) -> list[PeeringDecl]:
    """Return connections with VPCs outside the file, because all VPCs in the file have the same ranges."""
    found = draw(st.lists(names, max_size=2, unique=True))
    peers = zip(found, ["nowhere/peer", "vpc-00200000000000000"], strict=False)
    return [PeeringDecl(name=name, peer=peer, tags=draw(tags)) for name, peer in peers]


@st.composite
def route_tables(draw: st.DrawFn, lists: list[str], subnets: list[str]) -> list[RouteTableDecl]:
    """Return tables with routes to a black hole, to an interface given by its id, or to the VPC itself."""
    routes = ["0.0.0.0/0 via blackhole", "  192.0.2.0/24  via  blackhole", "2001:DB8::/32 via blackhole", "10.0.0.0/16 via local"]
    routes += [f"{destination} via eni-00138800000000001" for destination in (*(f"pl-{name}" for name in lists), *subnets)]
    some = st.lists(st.sampled_from(routes), max_size=4, unique=True)
    found = draw(st.lists(st.one_of(names, st.just("main")), max_size=2, unique=True))
    return [RouteTableDecl(name=name, routes=draw(some), tags=draw(tags)) for name in found]


@st.composite
def vpn_connections(draw: st.DrawFn) -> list[VpnConnectionDecl]:
    """Return VPN connections to devices given by their ids."""
    tunnels = [TunnelDecl(inside_cidr="169.254.9.0/30", options=TunnelOptions(dpd_timeout=40)), TunnelDecl(psk_file="no")]
    return [
        VpnConnectionDecl(
            name=name,
            customer_gateway="cgw-00000000000000001",
            static_routes=draw(st.one_of(st.just(UNSET), st.sampled_from([[], ["192.168.0.0/24"]]))),
            tunnels=tunnels[: draw(st.integers(0, 2))] if k == 0 else [],
            tags=draw(tags),
        )
        for k, name in enumerate(draw(st.lists(names, max_size=2, unique=True)))
    ]


@st.composite
def vpcs(draw: st.DrawFn, name: str, vni: int, hypervisors: list[str]) -> VpcDecl:
    dual, leads_out, leads_away, leads_home = (draw(st.booleans()) for _ in range(4))
    lists = draw(prefix_lists())
    found = draw(st.lists(names, max_size=4, unique=True))
    tables = draw(route_tables([found.name for found in lists], [f"10.{k // 8}.{k}.0/24" for k in range(len(found))]))
    groups = draw(security_groups([found.name for found in lists]))
    acls = draw(network_acls())
    of_vpc, of_subnet, of_instance = draw(flow_logs())
    subnets = [
        SubnetDecl(
            name=subnet,
            cidr=f"10.{k // 8}.{k}.0/24",
            ipv6_cidr=f"fd00:1:0:{k:x}::/64" if dual and draw(st.booleans()) else "",
            route_table=draw(st.sampled_from(["", "main", *(table.name for table in tables)])),
            network_acl=draw(st.sampled_from(["", "default", *(acl.name for acl in acls)])),
            public_on_launch=draw(st.booleans()),
            tags=draw(tags),
            flow_logs=of_subnet if k == 0 else [],
        )
        for k, subnet in enumerate(found)
    ]
    return VpcDecl(
        name=name,
        owner=draw(st.sampled_from(["default", "acme", "no"])),
        cidrs=["10.0.0.0/16", "192.168.7.0/24"][: draw(st.integers(1, 2))],
        ipv6_cidrs=["fd00:1::/56"] if dual else [],
        vni=draw(st.sampled_from([None, vni])),
        tags=draw(tags),
        internet_gateway=InternetGatewayDecl(name=draw(st.sampled_from(["", "no"])), tags=draw(tags)) if leads_out else UNSET,
        egress_only_internet_gateway=EgressOnlyInternetGatewayDecl(tags=draw(tags)) if leads_away else UNSET,
        vpn_connections=draw(vpn_connections()) if leads_home else [],
        vpn_gateway=VpnGatewayDecl(asn=draw(st.sampled_from([64512, 4200000000])), tags=draw(tags)) if leads_home else UNSET,
        prefix_lists=lists,
        security_groups=groups,
        network_acls=acls,
        route_tables=tables,
        peerings=draw(peerings()),
        flow_logs=of_vpc,
        subnets=subnets,
        nat_gateways=draw(nat_gateways(subnets)) if leads_out and subnets else [],
        instances=draw(instances(vni, subnets, hypervisors, ["default", *(group.name for group in groups)], of_instance))
        if subnets
        else [],
    )


@st.composite
def clouds(draw: st.DrawFn) -> Cloud:
    found = draw(hosts())
    hypervisors = [host.name for host in found if host.role is Role.HYPERVISOR]
    ranges = draw(pools({host.pair for host in found if host.pair}))
    elastic = draw(elastic_ips(ranges))
    taken: set[tuple[str, str]] = set()
    made = [draw(vpcs(name, 5000 + i, hypervisors)) for i, name in enumerate(draw(st.lists(names, max_size=3, unique=True)))]
    ports = draw(connections(found))
    used: set[tuple[str, str]] = set()
    made = [draw(with_virtual_interface(vpc, ports, used)) for vpc in made]
    return Cloud(
        hosts=found,
        address_pools=ranges,
        connections=ports,
        elastic_ips=elastic,
        vpcs=[with_elastic_ips(vpc, elastic, taken) for vpc in made],
        instances=draw(instances(4999, [SubnetDecl(name="default", cidr="172.31.0.0/20")], hypervisors, ["default"], [])),
    )
