"""S3 from instances: boto3 in their namespaces, real packets, both edges' proxies, a real S3-compatible server outside.

Two VPCs have the same addresses but different permissions.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from botocore.exceptions import ClientError

from netorch.control.actions.endpoints.buckets import put_bucket_policy
from netorch.control.actions.endpoints.services import create_service
from netorch.drivers.services.control import Control, ServicesError
from netorch.drivers.services.driver import services_directory
from netorch.lab.wiring import in_node
from netorch.state.base import OUTSIDE
from tests.integration.services.proxy.stand import document
from tests.rig.outskirts import EDGES, INTERNET, SERVER, Outskirts, dead
from tests.rig.services.s3 import HOSTS, S3, Interrupting, client, names_at, s3_server
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

CLOUD: Final = """
vpcs:
- name: a
  cidrs: [10.0.0.0/16]
  subnets: [{name: app, cidr: 10.0.1.0/24}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances:
  - {name: one, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [open]}
  - {name: two, host: hv2, subnet: app, address: 10.0.1.6, security_groups: [open]}
- name: b
  cidrs: [10.0.0.0/16]
  subnets: [{name: app, cidr: 10.0.1.0/24}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances: [{name: one, host: hv1, subnet: app, address: 10.0.1.5, security_groups: [open]}]
"""
ADDRESS: Final = "198.18.200.7"  # one of the addresses under which VPCs reach the service
PORT: Final = 9000
ARN: Final = "arn:aws:s3:::"


class Shop:
    """Two VPCs with an endpoint each, and the server."""

    def __init__(self, outskirts: Outskirts) -> None:
        self.outskirts, world = outskirts, outskirts.world
        outskirts.pair_up()
        upstream = f"http://{SERVER}:{PORT}"
        create_service(world.store, world.caller, name="s3", prefixes=["198.18.200.0/24"], upstream=upstream, hosts=HOSTS)
        own = [f"{ARN}{bucket}{rest}" for bucket in ("xxx", "yyy") for rest in ("", "/*")]
        policies = {"a": document({"Effect": "Allow", "Action": "s3:*", "Resource": own}), "b": ""}
        for name, policy in policies.items():
            outskirts.make_endpoint(name, "s3", policy)
        condition = {"StringNotEquals": {"aws:sourceVpc": world.vpc("a").vpc.record.id}}
        only_a = document({"Effect": "Deny", "Action": "s3:*", "Resource": own[:2], "Condition": condition})
        put_bucket_policy(world.store, world.caller, "xxx", only_a, service="s3", owner=world.caller.owner)
        outskirts.settle()

    def client(self, style: str = "path", attempts: int = 1) -> S3:
        """Return a client that resolves the service's name."""
        return client(f"http://{HOSTS[0]}", style, attempts)

    def pid(self, edge: str) -> int:
        """Return the process ID of an edge's proxy."""
        with Control(services_directory(edge, OUTSIDE) / "control", 30.0) as control:
            return control.pid()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("outskirts")
    outskirts = Outskirts(directory)
    try:
        outskirts.world.start_agents()
        outskirts.world.apply(CLOUD)
        with s3_server(SERVER, PORT, directory, ("ip", "netns", "exec", INTERNET)), names_at(ADDRESS):
            yield Shop(outskirts)
    finally:
        outskirts.close()


def refused(call: object, **arguments: object) -> str:
    """Return why a call is refused, or nothing."""
    assert callable(call)
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Message"])
    return ""


def test_two_vpcs_with_one_address_use_one_service_each_as_it_may(shop: Shop) -> None:
    large = os.urandom(3 << 20)
    with in_node(shop.outskirts.place("a/one")):
        at = shop.client("virtual")
        for bucket in ("xxx", "yyy"):
            at.create_bucket(Bucket=bucket)
        at.put_object(Bucket="xxx", Key="k", Body=large)
        assert at.get_object(Bucket="xxx", Key="k")["Body"].read() == large
        assert "because no VPC endpoint policy allows the s3:CreateBucket action" in refused(at.create_bucket, Bucket="zzz")
    with in_node(shop.outskirts.place("a/two")):
        assert [each["Key"] for each in shop.client().list_objects_v2(Bucket="xxx")["Contents"]] == ["k"]
    with in_node(shop.outskirts.place("b/one")):
        at = shop.client()
        assert "with an explicit deny in a resource-based policy" in refused(at.get_object, Bucket="xxx", Key="k")
        assert refused(at.create_bucket, Bucket="zzz") == ""
        assert refused(at.put_object, Bucket="zzz", Key="k", Body=b"x") == ""


def test_a_killed_proxy_comes_back_and_a_retry_finds_it(shop: Shop) -> None:
    with in_node(shop.outskirts.place("b/one")):
        at = shop.client(attempts=4)
        at.create_bucket(Bucket="killed")
        for edge in EDGES:
            before = shop.pid(edge)
            os.kill(before, signal.SIGKILL)
            wait_for(partial(_other, shop, edge, before), "another proxy", 60.0)
        at.put_object(Bucket="killed", Key="k", Body=b"x")
        assert at.get_object(Bucket="killed", Key="k")["Body"].read() == b"x"
    assert refused_in(shop, "b/one")


def _other(shop: Shop, edge: str, old: int) -> bool:
    try:
        return shop.pid(edge) != old
    except ServicesError:
        return False


def refused_in(shop: Shop, place: str) -> str:
    """Return why an instance is refused the bucket of the other VPC."""
    with in_node(shop.outskirts.place(place)):
        return refused(shop.client().list_objects_v2, Bucket="xxx")


def test_an_upload_during_which_an_edge_dies_is_stored_whole_by_the_other(shop: Shop) -> None:
    large = os.urandom(2 << 20)
    with in_node(shop.outskirts.place("b/one")):
        at = shop.client(attempts=5)
        at.create_bucket(Bucket="failover")
        for edge in EDGES:  # the connection goes through one of them
            with ExitStack() as stack:
                body = Interrupting(lambda: stack.enter_context(dead(edge)), _is_connected, len(large) // 2, large)  # noqa: B023
                at.put_object(Bucket="failover", Key=edge, Body=body)
                assert body.happened
                assert at.get_object(Bucket="failover", Key=edge)["Body"].read() == large


def _is_connected() -> bool:
    """Return whether this namespace has a connection to port 80. Source: Documentation/networking/proc_net_tcp.rst."""
    return ":0050 01" in Path("/proc/thread-self/net/tcp").read_text()
