"""The health of hosts and VPCs, from the status of agents."""

from __future__ import annotations

import msgspec

from netorch.control.actions import instances, subnets, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.control.actions.outside.drains import drain_host, undrain_host
from netorch.control.views.health import read_health
from netorch.model.eni import EniState, EniStatus, Host, Role, VpcStatus
from netorch.model.status import AgentStatus, BorderSession
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode, encode
from netorch.store.base import Delete, Put, Store


def _say(store: Store, key: str, record: msgspec.Struct) -> None:
    store.txn([], [Put(key, msgspec.json.encode(record))])


def test_a_host_carries_the_vpcs_of_the_interfaces_that_it_says_are_attached(store: Store, acme: Caller, two_hosts: None) -> None:
    vpc = vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])
    subnet = subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/24")
    enis = [
        instances.run_instance(store, acme, RunRequest(name=name, subnet=subnet.id, host="hv1")).eni.id for name in ("one", "two")
    ]
    _say(store, keys.agent_status("hv1"), AgentStatus(version="1", pid=1, started_at=0.0))  # from before it had instances
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
    said = ("host hv2: no underlay", "host hv2: VPC web keeps its last state: too much")
    assert [problem for problem in read_health(store, 0.0).problems if "agent is not running" not in problem] == list(said)


def test_a_cloud_without_hosts_is_not_well(store: Store) -> None:
    assert read_health(store, 0.0).problems == ("no host: nothing can run; add one: netorch host create NAME --underlay ADDRESS",)


def test_a_host_without_an_agent_is_not_well_though_it_carries_nothing(store: Store, two_hosts: None) -> None:
    _say(store, keys.agent_status("hv2"), AgentStatus(version="1", pid=1, started_at=0.0))
    never, silent = read_health(store, 0.0).problems
    assert never.startswith(
        "host hv1: its agent is not running and has never been seen; if the store is etcd, let it join first "
    )
    assert never.endswith("first (netorch host token hv1); start it on hv1: systemctl start netorch-agent")
    assert silent == "host hv2: its agent is not running; start it on hv2: systemctl start netorch-agent"
    store.txn([], [Put(keys.host_live(name), b"{}") for name in ("hv1", "hv2")])
    assert read_health(store, 0.0).problems == ()


def test_packets_that_no_host_may_send_are_a_problem_for_some_minutes(store: Store, two_hosts: None) -> None:
    store.txn([], [Put(keys.host_live(name), b"{}") for name in ("hv1", "hv2")])
    counters = {"unverified": 3, "unknown_vtep": 0, "sg_ingress": 9}
    _say(store, keys.agent_status("hv2"), AgentStatus(version="1", pid=1, started_at=0.0, counters=counters, violated_at=1000.0))
    (problem,) = read_health(store, 1060.0).problems
    assert problem == (
        "host hv2: packets of a misconfigured or hostile host arrived (3 unverified in all, the last 1m ago); "
        "compare the hosts' addresses: netorch map list"
    )
    assert read_health(store, 1301.0).problems == ()


def test_what_is_not_netorchs_in_a_hosts_namespace_is_a_problem(store: Store, two_hosts: None) -> None:
    store.txn([], [Put(keys.host_live(name), b"{}") for name in ("hv1", "hv2")])
    foreign = ("nft table inet mine", "rule pref 500 lookup 77")
    _say(store, keys.agent_status("hv1"), AgentStatus(version="1", pid=1, started_at=0.0, foreign=foreign))
    (problem,) = read_health(store, 0.0).problems
    assert problem.startswith("host hv1: its namespace netorch-hv1, which is netorch's alone, holds nft table inet mine, rule")


def test_a_session_with_the_border_router_that_is_not_established_is_a_problem(store: Store, two_hosts: None) -> None:
    def status(state: str, reason: str = "") -> AgentStatus:
        session = BorderSession(router="198.18.0.254", asn=64512, state=state, reason=reason)
        return AgentStatus(version="1", pid=1, started_at=0.0, border=(session,))

    _say(store, keys.agent_status("hv1"), status("Active", "packets arrived with another password"))
    _say(store, keys.agent_status("hv2"), status("Established"))
    health = read_health(store, 1.0)
    said = "host hv1: its BGP session with 198.18.0.254 is Active (packets arrived with another password), so it receives nothing"
    assert [problem.startswith(said) for problem in health.problems if "BGP" in problem] == [True]
    assert {host.name: host.border[0].state for host in health.hosts} == {"hv1": "Active", "hv2": "Established"}


def test_a_drained_hypervisor_is_noted_with_what_it_carries(store: Store, operator: Caller, two_hosts: None) -> None:
    store.txn([], [Put(keys.host_live(name), b"{}") for name in ("hv1", "hv2")])
    drain_host(store, operator, "hv2")
    health = read_health(store, 0.0)
    assert health.problems == ()
    assert health.notes == (
        "host hv2 is drained: it accepts no new instances and carries no interfaces, so its machine may be turned off; "
        "`netorch host undrain hv2` ends the drain",
    )


def test_a_hypervisor_of_an_older_store_is_a_problem_until_it_is_undrained(
    store: Store, operator: Caller, two_hosts: None
) -> None:
    store.txn([], [Put(keys.host_live(name), b"{}") for name in ("hv1", "hv2")])
    store.txn([], [Delete(keys.accepts("hv2"))])
    (problem,) = read_health(store, 0.0).problems
    assert "so hv2 gets no instances; `netorch host undrain hv2` writes it" in problem
    undrain_host(store, operator, "hv2")
    assert read_health(store, 0.0).problems == ()


def test_an_edge_that_is_drained_is_no_problem_of_those_who_have_left_it(store: Store, two_hosts: None) -> None:
    store.txn([], [Put(keys.host_live(name), b"{}") for name in ("hv1", "hv2")])
    spec = store.get(keys.host_spec("hv2"))
    assert spec is not None
    edge = msgspec.structs.replace(decode(spec, Host), role=Role.EDGE)
    store.txn([], [Put(keys.host_spec("hv2"), encode(edge)), Put(keys.host_drained("hv2"), b"hv2"), Delete(keys.accepts("hv2"))])
    underlay = read_health(store, 0.0).hosts[1].underlay
    _say(store, keys.agent_status("hv1"), AgentStatus(version="1", pid=1, started_at=0.0, silent=(underlay,)))
    health = read_health(store, 0.0)
    assert health.problems == ()
    assert health.notes == ("edge hv2 is drained, and no host sends to it; to end that: netorch host undrain hv2",)


def test_an_edge_that_does_not_answer_a_host_is_a_problem_of_that_host(store: Store, two_hosts: None) -> None:
    store.txn([], [Put(keys.host_live(name), b"{}") for name in ("hv1", "hv2")])
    underlay = read_health(store, 0.0).hosts[1].underlay
    silent = (underlay, "192.0.2.99")
    _say(store, keys.agent_status("hv1"), AgentStatus(version="1", pid=1, started_at=0.0, silent=silent))
    assert read_health(store, 0.0).problems == (), "they answer that they are not ready, and say themselves why"
    _say(store, keys.agent_status("hv1"), AgentStatus(version="1", pid=1, started_at=0.0, silent=silent, dead=silent))
    assert read_health(store, 0.0).problems == (
        f"host hv1: edge hv2 ({underlay}) does not answer its probes; check that host",
        "host hv1: the edge 192.0.2.99 does not answer its probes; check that host",
    )


def test_an_edge_that_is_back_is_said_to_be_on_standby(store: Store, two_hosts: None) -> None:
    vtep = read_health(store, 0.0).hosts[1].underlay
    for host in ("hv1", "hv2"):
        _say(store, keys.agent_status(host), AgentStatus(version="1", pid=1, started_at=0.0, standby=(vtep,)))
    (note,) = read_health(store, 0.0).notes
    assert note.startswith("edge hv2 is on standby: NAT gateways stay at the other edge")
