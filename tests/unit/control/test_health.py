"""What is told of hosts and VPCs, from what agents have said."""

from __future__ import annotations

import msgspec

from netorch.control import instances, subnets, vpcs
from netorch.control.caller import Caller
from netorch.control.health import read_health
from netorch.control.instances import Wish
from netorch.model import keys
from netorch.model.eni import EniState, EniStatus, VpcStatus
from netorch.model.status import AgentStatus
from netorch.store.base import Put, Store


def _say(store: Store, key: str, record: msgspec.Struct) -> None:
    store.txn([], [Put(key, msgspec.json.encode(record))])


def test_a_host_carries_the_vpcs_of_the_interfaces_that_it_says_are_attached(store: Store, acme: Caller, two_hosts: None) -> None:
    vpc = vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])
    subnet = subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/24")
    enis = [instances.run_instance(store, acme, Wish(name=name, subnet=subnet.id, host="hv1")).eni.id for name in ("one", "two")]
    _say(store, keys.agent_status("hv1"), AgentStatus(version="1", pid=1, started_at=0.0))  # from before it had any
    assert [(host.vpcs, host.attached, host.mappings) for host in read_health(store, 0.0).hosts] == [(0, 0, 0)] * 2
    _say(store, keys.eni_status("hv1", enis[0]), EniStatus(state=EniState.ATTACHED))
    _say(store, keys.eni_status("hv1", enis[1]), EniStatus(state=EniState.FAILED, reason="no namespace"))
    carrying, empty = read_health(store, 0.0).hosts
    assert (carrying.vpcs, carrying.interfaces, carrying.attached, carrying.mappings) == (1, 2, 1, 2)
    assert (empty.vpcs, empty.interfaces, empty.attached, empty.mappings) == (0, 0, 0, 0)


def test_what_agents_complain_of_is_a_problem(store: Store, acme: Caller, two_hosts: None) -> None:
    vpc = vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])
    _say(store, keys.vpc_status("hv2", vpc.vni), VpcStatus(reason="too much"))
    _say(store, keys.agent_status("hv2"), AgentStatus(version="1", pid=1, started_at=0.0, trouble="no underlay"))
    assert read_health(store, 0.0).problems == ("host hv2: no underlay", "host hv2: VPC web is as it was before: too much")
