from __future__ import annotations

import pytest

from netorch.control.actions import flow_logs, subnets, vpcs
from netorch.model.flow_log import DEFAULT_FORMAT
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.store.base import Store
from tests.unit.control.conftest import refused


@pytest.fixture
def vpc(store: Store, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])


def test_a_log_has_the_default_fields_and_longest_interval_unless_told_otherwise(store: Store, acme: Caller, vpc: Vpc) -> None:
    log = flow_logs.create_flow_log(store, acme, vpc.id, name="all")
    assert (log.format, log.interval_s, log.version) == (DEFAULT_FORMAT, 600, 2)
    assert [info.log for info in flow_logs.describe_flow_logs(store, acme, vpc.id)] == [log]


def test_a_format_is_written_as_ec2_does(store: Store, acme: Caller, vpc: Vpc) -> None:
    log = flow_logs.create_flow_log(store, acme, vpc.id, name="all", log_format="${version} ${vpc-id} srcaddr")
    assert (log.format, log.version) == (("version", "vpc-id", "srcaddr"), 3)


@pytest.mark.parametrize("bad", ["${nothing}", "version version", " ", "${version}${action}"])
def test_a_format_that_means_nothing_is_refused(store: Store, acme: Caller, vpc: Vpc, bad: str) -> None:
    with refused("InvalidParameterValue", "flow log 'all'"):
        flow_logs.create_flow_log(store, acme, vpc.id, name="all", log_format=bad)


@pytest.mark.parametrize("seconds", [0, 9, 601])
def test_an_interval_out_of_range_is_refused(store: Store, acme: Caller, vpc: Vpc, seconds: int) -> None:
    with refused("InvalidParameterValue", f"an interval of {seconds} s"):
        flow_logs.create_flow_log(store, acme, vpc.id, name="all", interval_s=seconds)


def test_the_same_log_twice_and_a_third_log_of_one_resource_are_refused(store: Store, acme: Caller, vpc: Vpc) -> None:
    flow_logs.create_flow_log(store, acme, vpc.id, name="a")
    with refused("FlowLogAlreadyExists", "a .* records the same"):
        flow_logs.create_flow_log(store, acme, vpc.id, name="b")
    with refused("InvalidParameterValue", "the VPC already has one with that name"):
        flow_logs.create_flow_log(store, acme, vpc.id, name="a", interval_s=60)
    flow_logs.create_flow_log(store, acme, vpc.id, name="b", interval_s=60)
    with refused("FlowLogsLimitExceeded"):
        flow_logs.create_flow_log(store, acme, vpc.id, name="c", interval_s=61)
    subnet = subnets.create_subnet(store, acme, vpc.id, name="app", cidr="10.0.1.0/24")
    assert flow_logs.create_flow_log(store, acme, subnet.id, name="c").resource == subnet.id


def test_anothers_vpc_cannot_be_logged_and_anothers_log_does_not_exist(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc
) -> None:
    log = flow_logs.create_flow_log(store, acme, vpc.id, name="all")
    with refused("InvalidVpcID.NotFound"):
        flow_logs.create_flow_log(store, globex, vpc.id, name="all")
    with refused("InvalidFlowLogId.NotFound"):
        flow_logs.describe_flow_log(store, globex, log.id)
    with refused("InvalidFlowLogId.NotFound"):
        flow_logs.delete_flow_log(store, globex, log.id)


def test_a_vpc_takes_its_flow_logs_with_it(store: Store, acme: Caller, vpc: Vpc) -> None:
    log = flow_logs.create_flow_log(store, acme, vpc.id, name="all")
    vpcs.delete_vpc(store, acme, vpc.id)
    assert store.list(f"vpc/{vpc.vni:06x}/").kvs == ()
    with refused("InvalidFlowLogId.NotFound"):
        flow_logs.describe_flow_log(store, acme, log.id)
