"""Strategies for valid clouds, and the values that break them."""

from __future__ import annotations

from hypothesis import strategies as st

from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, RouteTableDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Attachment, Role

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
    return [
        HostDecl(
            name=name, underlay=f"192.0.2.{i + 1}", role=draw(st.sampled_from(Role)) if i else Role.HYPERVISOR, tags=draw(tags)
        )
        for i, name in enumerate(found)
    ]


@st.composite
def instances(draw: st.DrawFn, vni: int, subnets: list[SubnetDecl], hypervisors: list[str]) -> list[InstanceDecl]:
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
                attachment=attachment,
                netns=f"/proc/{vni}{number}/ns/net" if attachment is Attachment.EXISTING else "",
                tags=draw(tags),
            )
        )
    return found


@st.composite
def vpcs(draw: st.DrawFn, name: str, vni: int, hypervisors: list[str]) -> VpcDecl:
    dual = draw(st.booleans())
    tables = [RouteTableDecl(name=table, tags=draw(tags)) for table in draw(st.lists(names, max_size=2, unique=True))]
    subnets = [
        SubnetDecl(
            name=subnet,
            cidr=f"10.{k // 8}.{k}.0/24",
            ipv6_cidr=f"fd00:1:0:{k:x}::/64" if dual and draw(st.booleans()) else "",
            route_table=draw(st.sampled_from(["", *(table.name for table in tables)])),
            tags=draw(tags),
        )
        for k, subnet in enumerate(draw(st.lists(names, max_size=4, unique=True)))
    ]
    return VpcDecl(
        name=name,
        owner=draw(st.sampled_from(["default", "acme", "no"])),
        cidrs=["10.0.0.0/16", "192.168.7.0/24"][: draw(st.integers(1, 2))],
        ipv6_cidrs=["fd00:1::/56"] if dual else [],
        vni=draw(st.sampled_from([None, vni])),
        tags=draw(tags),
        route_tables=tables,
        subnets=subnets,
        instances=draw(instances(vni, subnets, hypervisors)) if subnets else [],
    )


@st.composite
def clouds(draw: st.DrawFn) -> Cloud:
    found = draw(hosts())
    hypervisors = [host.name for host in found if host.role is Role.HYPERVISOR]
    return Cloud(
        hosts=found,
        vpcs=[draw(vpcs(name, 5000 + i, hypervisors)) for i, name in enumerate(draw(st.lists(names, max_size=3, unique=True)))],
        instances=draw(instances(4999, [SubnetDecl(name="default", cidr="172.31.0.0/20")], hypervisors)),
    )
