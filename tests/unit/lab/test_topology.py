"""Topology files: fields that are read, fields that are ignored, and all errors at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorch.errors import SpecError
from netorch.lab.containerlab.file import find_file, load_topology
from netorch.lab.containerlab.ignored import ignored_lines
from netorch.lab.topology import DEFAULT_MTU, NodeRole, Topology, env_name, from_json, to_json
from netorch.lab.variables import expand
from netorch.lab.wiring import link_batch, port_batch

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


def load(text: str, **environ: str) -> Topology:
    return load_topology("t.clab.yml", text, environ)


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


def test_labels_give_an_edge_its_pair_and_its_uplink() -> None:
    text = changed("hypervisor, ", 'edge, netorch.pair: west, netorch.uplink: "eth2,198.51.100.1/31,198.51.100.0", ')
    edge = load(text).nodes[0]
    assert (edge.role, edge.pair, edge.uplink) == (NodeRole.EDGE, "west", "eth2,198.51.100.1/31,198.51.100.0")


def test_a_link_without_mtu_has_that_of_containerlab() -> None:
    assert [link.mtu for link in load(TWO_HOSTS).links] == [1550, DEFAULT_MTU] == [1550, 9500]


def test_a_console_runs_no_agent_and_there_is_one_at_most() -> None:
    console = "{labels: {netorch.role: console}}"
    topology = load(changed("    spine:\n", f"    spine: {console}\n"))
    assert topology.console is not None
    assert (topology.console.name, topology.console.has_agent) == ("spine", False)
    assert load(TWO_HOSTS).console is None
    found = problems(changed("    spine:\n", f"    spine: {console}\n    desk: {console}\n"))
    assert list(found.values()) == ["spine is the console already; remove the role of one"]


def test_a_router_runs_no_agent() -> None:
    text = changed("    spine:\n", "    spine: {labels: {netorch.role: router}}\n")
    assert load(text).nodes[1].role is NodeRole.ROUTER
    assert not load(text).nodes[1].has_agent


def test_fields_for_containers_only_are_accepted_and_listed() -> None:
    text = "prefix: x\nmgmt: {network: m}\n" + changed("    spine:\n", "    spine: {binds: [a:b], cmd: sleep}\n")
    of_spine = {"$.topology.nodes.spine.binds", "$.topology.nodes.spine.cmd"}
    assert set(load(text).ignored) == {"$.prefix", "$.mgmt", "$.topology.kinds.linux.image", *of_spine}


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
        ("rack: 7", "netorch.pair: west", '$.topology.nodes.hv1.labels["netorch.pair"]', "only an edge has a pair and an uplink"),
        (
            "hypervisor, ",
            "edge, netorch.pair: west, ",
            "$.topology.nodes.hv1.labels",
            "add netorch.uplink: an edge carries gateways",
        ),
        (
            "hypervisor, ",
            "edge, netorch.pair: west, netorch.uplink: eth2, ",
            '$.topology.nodes.hv1.labels["netorch.uplink"]',
            "'eth2' is not an uplink; write DEVICE,ADDRESS/LENGTH,GATEWAY",
        ),
        ("sh -c 'echo a b'", "sh -c 'echo a b", "$.topology.nodes.hv1.exec[0]", "no closing quotation"),
        ("ip -br link", "ip 'x", "$.topology.kinds.linux.exec[0]", "no closing quotation"),
        ('"spine:eth1"', '"spin:eth1"', "$.topology.links[0].endpoints[1]", "did you mean spine?"),
        ('"spine:eth1"', '"macvlan:eth1"', "$.topology.links[0].endpoints", "a lab has no macvlan links"),
        ('"spine:eth1"', '"spine:eth0"', "$.topology.links[0].endpoints[1]", "eth0 is containerlab's management interface"),
        ('"spine:eth1"', '"spine:eth%d"', "$.topology.links[0].endpoints[1]", "is no name of an interface"),
        ('"spine:eth1"', '"spine:äöüäöüäö"', "$.topology.links[0].endpoints[1]", "is no name of an interface; use 1 to 15 bytes"),
        ('"spine:eth1"', '"spine:default"', "$.topology.links[0].endpoints[1]", "the kernel keeps the name 'default'"),
        ("mtu: 1550", "type: vteh", "$.topology.links[0].type", "did you mean veth?"),
        ("mtu: 1550", "type: host", "$.topology.links[0]", "a link of type host without endpoint"),
        ('"spine:eth1"', '"spine:ethernet-1-0-234"', "$.topology.links[0].endpoints[1]", "is no name of an interface"),
        ('"spine:eth1"', '"spine"', "$.topology.links[0].endpoints[1]", "is no name of an interface"),
        ('"spine:eth2"', '"spine:eth1"', "$.topology.links[1].endpoints[1]", "is an end of two links"),
        ('["hv1:eth2", "spine:eth2"]', '["hv1:eth2"]', "$.topology.links[1].endpoints", "there are 1 endpoints"),
        ("mtu: 1550", "mtu: 67", "$.topology.links[0].mtu", "the MTU is 67; use 68 to 65535"),
        ("mtu: 1550", "mtuu: 1550", "$.topology.links[0].mtuu", "there is no field 'mtuu' here; did you mean mtu?"),
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


LAYERS = """
name: layers
topology:
  defaults: {kind: linux, env: {A: defaults, B: defaults, C: defaults, D: defaults}, exec: [echo 1]}
  kinds:
    linux: {env: {B: kind, C: kind, D: kind}, exec: [echo 2]}
    bridge: {env: {B: bridge}}
  groups:
    hv: {labels: {netorch.role: router}, env: {C: group, D: group}, exec: [echo 3]}
    br: {kind: bridge}
  nodes:
    a: {group: hv, env: {D: node}, exec: [echo 4]}
    b: {group: br}
    c: {group: only-for-drawings}
"""


def test_a_node_goes_before_its_group_its_group_before_its_kind_its_kind_before_the_defaults() -> None:
    a, b, c = load(LAYERS).nodes
    assert a.env == {"A": "defaults", "B": "kind", "C": "group", "D": "node"}
    assert [argv[1] for argv in a.exec] == ["1", "2", "3", "4"]
    assert (a.role, a.bridge) == (NodeRole.ROUTER, False)
    assert (b.bridge, b.env["B"]) == (True, "bridge")  # a group may set the kind
    assert (c.bridge, c.env["B"]) == (False, "kind")


LINKS = """
name: links
topology:
  nodes: {a: {kind: linux}, b: {kind: linux}, sw: {kind: bridge}, lone: {kind: linux, network-mode: none}}
  links:
    - type: veth
      mtu: 1400
      endpoints: [{node: a, interface: eth1, mac: "02:00:00:00:00:0a"}, {node: b, interface: eth1}]
    - endpoints: ["a:eth2", "sw:a"]
    - endpoints: ["b:eth2", "host:tob"]
    - type: host
      endpoint: {node: b, interface: eth3}
      host-interface: tob3
    - endpoints: ["mgmt-net:b-mgmt", "b:eth4"]
    - {type: dummy, endpoint: {node: b, interface: d0}}
    - endpoints: ["lone:eth0", "dummy"]
"""


def test_links_of_both_forms_and_all_types_that_stay_on_the_machine_are_made() -> None:
    topology = load(LINKS)
    assert link_batch(topology).splitlines() == [
        "link add name sw netns sw type bridge",
        "link add name mgmt-net netns mgmt-net type bridge",
        "link add name eth1 netns a mtu 1400 address 02:00:00:00:00:0a type veth peer name eth1 netns b mtu 1400",
        "link add name eth2 netns a mtu 9500 type veth peer name a netns sw mtu 9500",
        "link add name eth2 netns b mtu 9500 type veth peer name tob mtu 9500",
        "link add name eth3 netns b mtu 9500 type veth peer name tob3 mtu 9500",
        "link add name b-mgmt netns mgmt-net mtu 9500 type veth peer name eth4 netns b mtu 9500",
        "link add name d0 netns b mtu 9500 type dummy",
        "link add name eth0 netns lone mtu 9500 type dummy",
    ]
    assert port_batch(topology, "sw") == "link set dev a master sw\n"
    assert port_batch(topology, "mgmt-net") == "link set dev b-mgmt master mgmt-net\n"


@pytest.mark.parametrize(
    ("text", "environ", "name"),
    [
        ("lab-${USER:=x}", {}, "lab-x"),
        ("lab-${USER:=x}", {"USER": ""}, "lab-x"),
        ("lab-${USER:=x}", {"USER": "ann"}, "lab-ann"),
        ("lab-${USER-x}", {"USER": ""}, "lab-"),
        ("lab-${A:-${B:-c}}", {}, "lab-c"),
        ("lab-${A:-$B}-z", {"B": "b"}, "lab-b-z"),
        ("lab$A${A}", {"A": "1"}, "lab11"),
        ("lab${A+-set}", {"A": ""}, "lab-set"),
        ("lab${A:+-set}", {"A": ""}, "lab"),
    ],
)
def test_environment_variables_are_expanded_as_containerlab_does(text: str, environ: dict[str, str], name: str) -> None:
    assert load(f"name: {text}\ntopology:\n  nodes: {{a: {{kind: linux}}}}\n", **environ).name == name


@pytest.mark.parametrize("text", ["$1", "$(date)", "$UNSET", "${UNSET}", "${UNSET:-open", "$", "a$"])
def test_what_is_no_variable_or_is_not_set_stays_as_it_is(text: str) -> None:
    assert expand(text, {"SET": "x"}) == text


def test_two_dollar_signs_are_one() -> None:
    assert expand("$$HOME", {"HOME": "/root"}) == "$HOME"


def test_sysctls_of_the_network_are_heeded_and_others_listed() -> None:
    topology = load(changed("    spine:\n", "    spine: {sysctls: {net.ipv4.ip_forward: 1, kernel.pid_max: 9}}\n"))
    assert topology.nodes[1].sysctls == {"net.ipv4.ip_forward": "1"}
    assert '$.topology.nodes.spine.sysctls["kernel.pid_max"]' in topology.ignored


def test_what_a_lab_does_not_use_is_said_once_for_all_nodes_that_share_it() -> None:
    text = LAYERS.replace("a: {", "a: {binds: [x:y], image: i, ").replace("b: {group", "b: {image: i, binds: [x:y], group")
    assert ignored_lines(load("mgmt: {network: m}\n" + text).ignored) == [
        "not used by a lab: mgmt",
        "not used by a lab: binds, image (node a, node b)",
    ]


def test_a_field_that_is_unknown_is_never_said_to_be_removed() -> None:
    found = problems(changed("    spine:\n", "    spine: {zzz: 1}\n"))
    assert found["$.topology.nodes.spine.zzz"].endswith("netorch knows the fields of containerlab's schema; check its spelling")


def test_a_topology_file_is_found_in_a_directory(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"there is no topology file \(\*\.clab\.yml\)"):
        find_file(tmp_path)
    (tmp_path / "one.clab.yaml").write_text(TWO_HOSTS)
    (tmp_path / "vpc.yaml").write_text("")
    assert find_file(tmp_path).name == "one.clab.yaml"
    (tmp_path / "two.clab.yml").write_text(TWO_HOSTS)
    with pytest.raises(SpecError, match=r"several topology files: one\.clab\.yaml, two\.clab\.yml; name one"):
        find_file(tmp_path)


def test_numbers_name_nodes_and_anchors_are_merged_as_containerlab_does() -> None:
    text = """
name: loose
topology:
  defaults: &common {kind: linux, env: {A: 1}}
  nodes:
    1: *common
    2:
      <<: *common
      env: {B: 2}
    3:
      <<: [{exec: [echo 3]}, *common]
  links:
    - endpoints: ["1:eth1", "2:eth1"]
"""
    one, two, three = load(text).nodes
    assert (one.name, two.name, three.name) == ("1", "2", "3")
    assert (two.env, three.exec) == ({"A": "1", "B": "2"}, (("echo", "3"),))
    assert "<< names something" in problems("name: x\ntopology:\n  nodes:\n    a:\n      <<: 5\n      kind: linux\n")["$"]


def test_an_alias_is_prepared_once() -> None:
    """Both nodes share one mapping: ignored fields must not confuse the second reading."""
    shared = "name: x\ntopology:\n  nodes:\n    a: &n {kind: linux, binds: [a:b], labels: {n: 1}}\n    b: *n\n"
    assert [node.labels for node in load(shared).nodes] == [{"n": "1"}, {"n": "1"}]
