"""The cloud of the benchmark `scale`: equal VPCs with a typical policy."""

from __future__ import annotations

from netorch.model.cloud import (
    AclAction,
    AclEntryDecl,
    Cloud,
    EgressDecl,
    HostDecl,
    IngressDecl,
    InstanceDecl,
    NetworkAclDecl,
    SecurityGroupDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import Attachment

HOSTS = {"hv1": "192.0.2.11", "hv2": "192.0.2.12", "hv3": "192.0.2.13"}


def entry(rule: int, protocol: str, cidr: str, ports: str = "", action: AclAction = AclAction.ALLOW) -> AclEntryDecl:
    """Return an ACL entry."""
    return AclEntryDecl(rule=rule, action=action, protocol=protocol, cidr=cidr, ports=ports)


GROUPS = [
    SecurityGroupDecl(
        name="web",
        ingress=[
            IngressDecl(protocol="tcp", ports="443", source="0.0.0.0/0"),
            IngressDecl(protocol="tcp", ports="22", source="10.0.0.0/8"),
            IngressDecl(protocol="icmp", source="10.0.0.0/8"),
            IngressDecl(protocol="tcp", ports="8000-8100", source="sg-db"),
        ],
    ),
    SecurityGroupDecl(
        name="db",
        ingress=[IngressDecl(protocol="tcp", ports="5432", source="sg-web")],
        egress=[
            EgressDecl(protocol="tcp", ports="8000-8100", destination="sg-web"),
            EgressDecl(protocol="udp", ports="53", destination="10.0.0.0/8"),
        ],
    ),
]
ACL = NetworkAclDecl(
    name="edge",
    ingress=[
        entry(90, "tcp", "198.51.100.0/24", action=AclAction.DENY),
        entry(100, "tcp", "0.0.0.0/0"),
        entry(110, "icmp", "10.0.0.0/8"),
    ],
    egress=[entry(100, "tcp", "0.0.0.0/0"), entry(110, "udp", "10.0.0.0/8", "53")],
)


def cloud(vpcs: int, *, dual: bool) -> Cloud:
    """Return VPCs with the same CIDR, each with a tap on hv1 and one on hv2."""
    six = "fd00:44::/64" if dual else ""
    return Cloud(
        hosts=[HostDecl(name=name, underlay=vtep) for name, vtep in HOSTS.items()],
        vpcs=[
            VpcDecl(
                name=f"vpc-{number:05d}",
                owner=f"customer-{number % 500:03d}",
                cidrs=["10.44.0.0/16"],
                ipv6_cidrs=["fd00:44::/56"] if dual else [],
                security_groups=GROUPS,
                network_acls=[ACL],
                subnets=[SubnetDecl(name="web", cidr="10.44.12.0/24", ipv6_cidr=six, network_acl="edge")],
                instances=[
                    InstanceDecl(
                        name=f"on-{host}",
                        host=host,
                        address=f"10.44.12.{last}",
                        attachment=Attachment.TAP,
                        security_groups=[group],
                    )
                    for last, host, group in ((4, "hv1", "web"), (5, "hv2", "db"))
                ],
            )
            for number in range(vpcs)
        ],
    )
