from __future__ import annotations

import msgspec
import yaml
from hypothesis import given

from netorch.model.cloud import Cloud, InstanceDecl, SubnetDecl, VpcDecl
from netorch.spec import load_cloud, to_yaml
from tests.unit.spec.clouds import clouds


def test_a_cloud_is_written_in_the_order_of_its_declaration_without_defaults() -> None:
    vpc = VpcDecl(
        name="demo",
        owner="acme",
        cidrs=["10.44.0.0/16"],
        ipv6_cidrs=["fd00:1::/56"],
        tags={"cost centre": "no"},
        subnets=[SubnetDecl(name="web", cidr="10.44.12.0/24")],
        instances=[InstanceDecl(name="a", mac="02:00:00:00:00:01"), InstanceDecl(name="010")],
    )
    assert (
        to_yaml(Cloud(vpcs=[vpc]))
        == """\
vpcs:
  - name: demo
    cidrs: [10.44.0.0/16]
    owner: acme
    ipv6_cidrs: ["fd00:1::/56"]
    tags:
      "cost centre": "no"
    subnets:
      - name: web
        cidr: 10.44.12.0/24
    instances:
      - name: a
        mac: "02:00:00:00:00:01"
      - name: "010"
"""
    )


def test_an_empty_cloud_can_be_read_back() -> None:
    assert load_cloud("vpc.yaml", to_yaml(Cloud())) == Cloud()


@given(clouds())
def test_readers_of_yaml_1_1_read_the_same(cloud: Cloud) -> None:
    assert yaml.load(to_yaml(cloud), Loader=yaml.CSafeLoader) == msgspec.to_builtins(cloud)
