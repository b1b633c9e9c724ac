from __future__ import annotations

from netorch.model.check.cloud import check_cloud, check_vpc
from netorch.model.cloud import Cloud, CustomerGatewayDecl, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Attachment

WEB = SubnetDecl(name="web", cidr="10.0.1.0/24")


def paths(cloud: Cloud) -> list[str]:
    return [problem.path for problem in check_cloud(cloud)]


def test_two_customers_may_have_the_same_names_and_addresses() -> None:
    def vpc(owner: str) -> VpcDecl:
        return VpcDecl(
            name="demo", owner=owner, cidrs=["10.0.0.0/16"], subnets=[WEB], instances=[InstanceDecl(name="a", address="10.0.1.4")]
        )

    assert check_cloud(Cloud(vpcs=[vpc("acme"), vpc("globex")])) == []


def test_hosts_are_looked_up_only_when_the_file_lists_some() -> None:
    vpc = VpcDecl(name="demo", cidrs=["10.0.0.0/16"], subnets=[WEB], instances=[InstanceDecl(name="a", host="hv9")])
    assert paths(Cloud(vpcs=[vpc])) == []
    assert paths(Cloud(vpcs=[vpc], hosts=[HostDecl(name="hv1", underlay="192.0.2.1")])) == ["$.vpcs[0].instances[0].host"]


def test_one_namespace_is_not_given_to_instances_of_two_vpcs() -> None:
    box = InstanceDecl(name="a", host="hv1", attachment=Attachment.EXISTING, netns="box")
    vpcs = [VpcDecl(name=name, cidrs=["10.0.0.0/16"], subnets=[WEB], instances=[box]) for name in ("a", "b")]
    assert paths(Cloud(vpcs=vpcs)) == ["$.vpcs[1].instances[0].netns"]


def test_one_namespace_is_not_given_twice_under_two_spellings() -> None:
    boxes = [
        InstanceDecl(name=name, host="hv1", attachment=Attachment.EXISTING, netns=netns)
        for name, netns in (("a", "/run/netns/box"), ("b", "box"), ("c", "/var/run/netns/box"), ("d", "other"))
    ]
    cloud = Cloud(vpcs=[VpcDecl(name="a", cidrs=["10.0.0.0/16"], subnets=[WEB], instances=boxes)])
    assert paths(cloud) == ["$.vpcs[0].instances[1].netns", "$.vpcs[0].instances[2].netns"]


def test_a_subnet_may_fill_its_vpc() -> None:
    vpc = VpcDecl(name="demo", cidrs=["10.0.0.0/16"], subnets=[SubnetDecl(name="all", cidr="10.0.0.0/16")])
    assert check_cloud(Cloud(vpcs=[vpc])) == []


def test_a_subnet_lies_inside_one_cidr_not_across_two() -> None:
    vpc = VpcDecl(name="demo", cidrs=["10.0.0.0/24", "10.0.1.0/24"], subnets=[SubnetDecl(name="both", cidr="10.0.0.0/23")])
    assert paths(Cloud(vpcs=[vpc])) == ["$.vpcs[0].subnets[0].cidr"]


def test_nothing_is_said_about_subnets_of_a_vpc_whose_cidr_is_wrong() -> None:
    vpc = VpcDecl(name="demo", cidrs=["10.0.0.0/8"], subnets=[WEB])
    assert paths(Cloud(vpcs=[vpc])) == ["$.vpcs[0].cidrs[0]"]


def test_top_level_instances_land_in_the_default_vpc() -> None:
    assert paths(Cloud(instances=[InstanceDecl(name="a", address="172.31.0.4"), InstanceDecl(name="b")])) == []
    declared = VpcDecl(name="default", cidrs=["10.0.0.0/16"], subnets=[WEB])
    assert paths(Cloud(vpcs=[declared], instances=[InstanceDecl(name="a", address="172.31.0.4")])) == ["$.instances[0].address"]


def test_a_single_vpc_is_checked_with_paths_from_itself() -> None:
    (problem,) = check_vpc(VpcDecl(name="demo", cidrs=["10.0.0.1/16"], subnets=[WEB]))
    assert (problem.path, problem.what, problem.fix) == ("$.cidrs[0]", "10.0.0.1/16 has host bits set", "write 10.0.0.0/16")


def test_what_is_wrong_with_a_customer_gateway_is_said_once() -> None:
    device = CustomerGatewayDecl(name="an office", asn=65000, address="192.0.2.1")
    assert paths(Cloud(customer_gateways=[device])) == ["$.customer_gateways[0].name"]
