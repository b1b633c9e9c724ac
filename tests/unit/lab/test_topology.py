"""Topology files: what is read, what is ignored, and every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorch.errors import SpecError
from netorch.lab.hosts import link_batch
from netorch.lab.topology import DEFAULT_MTU, NodeRole, Topology, env_name, from_json, load_topology, to_json

TWO_HOSTS = """
name: two
topology:
  defaults:
    kind: linux
    env: {COLOUR: red, LEVEL: 3}
    exec: ["ip route show"]
  kinds:
    linux:
      image: netorch:latest
      exec: ["ip -br link"]
  nodes:
    hv1:
      labels: {netorch.role: hypervisor, netorch.underlay: 192.0.2.11, rack: 7}
      env: {COLOUR: blue}
      exec: ["sh -c 'echo a b'"]
    spine:
  links:
    - endpoints: ["hv1:eth1", "spine:eth1"]
      mtu: 1550
    - endpoints: ["hv1:eth2", "spine:eth2"]
"""


def load(text: str) -> Topology:
    return load_topology("t.clab.yml", text)


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        load(text)
    assert caught.value.exit_code == 65
    return {problem.path: f"{problem.what}; {problem.fix}" for problem in caught.value.problems}


def changed(old: str, new: str) -> str:
    assert old in TWO_HOSTS
    return TWO_HOSTS.replace(old, new)


def test_defaults_and_kinds_are_inherited_and_exec_is_appended_as_containerlab_does() -> None:
    hv1 = load(TWO_HOSTS).nodes[0]
    assert hv1.image == "netorch:latest"
    assert hv1.env == {"COLOUR": "blue", "LEVEL": "3"}
    assert hv1.exec == (("ip", "route", "show"), ("ip", "-br", "link"), ("sh", "-c", "echo a b"))


def test_labels_say_what_a_node_is_for() -> None:
    hv1, spine = load(TWO_HOSTS).nodes
    assert (hv1.role, hv1.underlay, hv1.has_agent) == (NodeRole.HYPERVISOR, "192.0.2.11", True)
    assert hv1.labels["rack"] == "7"
    assert (spine.role, spine.has_agent) == (None, False)


def test_a_link_without_mtu_has_that_of_containerlab() -> None:
    assert [link.mtu for link in load(TWO_HOSTS).links] == [1550, DEFAULT_MTU] == [1550, 9500]


def test_a_router_runs_no_agent() -> None:
    text = changed("    spine:\n", "    spine: {labels: {netorch.role: router}}\n")
    assert load(text).nodes[1].role is NodeRole.ROUTER
    assert not load(text).nodes[1].has_agent


def test_fields_for_containers_only_are_accepted_and_listed() -> None:
    text = "prefix: x\nmgmt: {network: m}\n" + changed("    spine:\n", "    spine: {binds: [a:b], cmd: sleep}\n")
    assert set(load(text).ignored) == {"$.prefix", "$.mgmt", "$.topology.nodes.spine.binds", "$.topology.nodes.spine.cmd"}


def test_a_topology_survives_the_way_into_another_kernel() -> None:
    topology = load(TWO_HOSTS)
    assert from_json(to_json(topology)) == topology


@pytest.mark.parametrize(
    ("label", "variable"),
    [
        ("netorch.role", "CLAB_LABEL_NETORCH_ROLE"),
        ("clab-node-name", "CLAB_LABEL_CLAB_NODE_NAME"),
        ("a+b/c d", "CLAB_LABEL_A_B_CD"),
    ],
)
def test_labels_reach_a_node_under_the_names_that_containerlab_uses(label: str, variable: str) -> None:
    assert env_name(label) == variable


def test_links_are_born_in_their_namespaces() -> None:
    first = link_batch(load(TWO_HOSTS)).splitlines()[0]
    assert first == "link add name eth1 netns hv1 mtu 1550 type veth peer name eth1 netns spine mtu 1550"


@pytest.mark.parametrize(
    ("old", "new", "path", "said"),
    [
        ("    kind: linux\n", "", "$.topology.nodes.hv1", "the kind is missing; write kind: linux"),
        ("    kind: linux\n", "    kind: srl\n", "$.topology.nodes.hv1", "the kind is 'srl'"),
        (
            "netorch.role: hypervisor",
            "netorch.role: hypervisr",
            '$.topology.nodes.hv1.labels["netorch.role"]',
            "there is no role",
        ),
        ("netorch.role", "netorch.roel", '$.topology.nodes.hv1.labels["netorch.roel"]', "did you mean netorch.role?"),
        (", netorch.underlay: 192.0.2.11", "", "$.topology.nodes.hv1.labels", "without underlay address; add netorch.underlay"),
        ("192.0.2.11", "192.0.2", '$.topology.nodes.hv1.labels["netorch.underlay"]', "'192.0.2' is no IPv4 address"),
        ("192.0.2.11", '"2001:db8::1"', '$.topology.nodes.hv1.labels["netorch.underlay"]', "is no IPv4 address"),
        ("sh -c 'echo a b'", "sh -c 'echo a b", "$.topology.nodes.hv1.exec[0]", "no closing quotation"),
        ("ip -br link", "ip 'x", "$.topology.kinds.linux.exec[0]", "no closing quotation"),
        ('"spine:eth1"', '"spin:eth1"', "$.topology.links[0].endpoints[1]", "did you mean spine?"),
        ('"spine:eth1"', '"host:eth1"', "$.topology.links[0].endpoints[1]", "leads out of the lab"),
        ('"spine:eth1"', '"spine:eth0"', "$.topology.links[0].endpoints[1]", "eth0 is taken"),
        ('"spine:eth1"', '"spine:ethernet-1-0-234"', "$.topology.links[0].endpoints[1]", "is no name of an interface"),
        ('"spine:eth1"', '"spine"', "$.topology.links[0].endpoints[1]", "is no name of an interface"),
        ('"spine:eth2"', '"spine:eth1"', "$.topology.links[1].endpoints[1]", "is an end of two links"),
        ('["hv1:eth2", "spine:eth2"]', '["hv1:eth2"]', "$.topology.links[1].endpoints", "there are 1 endpoints"),
        ("mtu: 1550", "mtu: 67", "$.topology.links[0].mtu", "the MTU is 67; use 68 to 65535"),
        ("mtu: 1550", "mtuu: 1550", "$.topology.links[0].mtuu", "there is no field 'mtuu' here"),
        ("    spine:\n", "    'sp ine':\n", '$.topology.nodes["sp ine"]', "is no name of a node"),
        ("    spine:\n", "    spine: {}\n    netorch-hv1: {}\n", "$.topology.nodes.netorch-hv1", "has a meaning of its own"),
        ("name: two\n", "", "$.name", "the field is missing"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_cure(old: str, new: str, path: str, said: str) -> None:
    found = problems(changed(old, new))
    assert path in found
    assert said in found[path]


def test_two_hosts_cannot_share_an_underlay_address() -> None:
    label = '$.topology.nodes.spine.labels["netorch.underlay"]'
    text = changed("    spine:\n", "    spine: {labels: {netorch.role: edge, netorch.underlay: 192.0.2.11}}\n")
    assert "is the underlay address of hv1 too" in problems(text)[label]


def test_every_mistake_of_a_file_is_told_at_once_with_its_line() -> None:
    text = changed("mtu: 1550", "mtu: 1").replace("hypervisor", "boss").replace("    spine:\n", "    spine: {colour: red}\n")
    with pytest.raises(SpecError) as caught:
        load(text)
    assert [problem.line for problem in caught.value.problems] == [14, 17, 20]
    assert str(caught.value).startswith("t.clab.yml:14: $.topology.nodes.hv1.labels")


def test_a_missing_file_is_a_problem_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        load_topology(tmp_path / "absent.clab.yml")
