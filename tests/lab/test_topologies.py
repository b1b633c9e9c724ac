"""Topology files of every shape become networks that carry packets."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netorch.errors import LabError
from netorch.lab import hosts, nodes
from netorch.lab.containerlab.file import load_topology
from netorch.lab.wiring import cabled, in_node
from tests.rig.world import wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow]

TOPOLOGY = """
name: shapes
topology:
  defaults: {kind: linux}
  groups:
    router: {sysctls: {net.ipv4.ip_forward: 1}}
  nodes:
    a: {exec: [ip addr add 192.0.2.1/24 dev eth1, sh -c "sleep 1000 & echo started"]}
    b: {exec: [ip addr add 192.0.2.2/24 dev eth1]}
    r: {group: router}
    sw: {kind: bridge}
  links:
    - {type: veth, mtu: 1400, endpoints: [{node: a, interface: eth1, mac: "02:00:00:00:00:0a"}, {node: sw, interface: a}]}
    - endpoints: ["b:eth1", "sw:b"]
    - endpoints: ["b:eth2", "host:shapes-b"]
    - endpoints: ["a:mgmt0", "mgmt-net:a"]
    - {type: dummy, endpoint: {node: b, interface: d0}}
"""


def said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def namespaces() -> set[str]:
    return {line.split()[0] for line in said("ip", "netns", "list").splitlines()}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    directory = tmp_path_factory.mktemp("shapes") / "lab"
    steps: list[str] = []
    hosts.build(load_topology("shapes.clab.yml", TOPOLOGY), directory, "shapes.clab.yml", steps.append)
    yield steps
    hosts.destroy(directory)
    assert "shapes-b" not in said("ip", "-o", "link")
    assert said("ip", "netns", "list") == ""


def test_a_bridge_joins_the_ends_of_its_links(lab: list[str]) -> None:
    with in_node("a"):
        assert " 0% packet loss" in said("ping", "-c", "1", "-W", "5", "192.0.2.2")
        eth1 = said("ip", "-o", "link", "show", "eth1")
    assert "mtu 1400" in eth1
    assert "02:00:00:00:00:0a" in eth1


def test_ends_on_the_machine_and_interfaces_that_lead_nowhere_are_up(lab: list[str]) -> None:
    # Linux updates the operational state of a link up to a second after its carrier has come up.
    wait_for(lambda: "state UP" in said("ip", "-o", "link", "show", "shapes-b"), "the link to the machine to be up")
    with in_node("b"):
        assert "UP" in said("ip", "-o", "link", "show", "d0")
    with in_node("mgmt-net"):
        assert "master mgmt-net" in said("ip", "-o", "link", "show", "a")


def test_sysctls_of_a_group_are_set_in_its_nodes_only(lab: list[str]) -> None:
    for node, forwarding in (("r", "1"), ("b", "0")):
        with in_node(node):
            assert said("sysctl", "-n", "net.ipv4.ip_forward").strip() == forwarding


def test_what_a_command_leaves_running_runs_until_the_lab_goes(lab: list[str]) -> None:
    assert said("ip", "netns", "pids", "a").split()


def test_each_step_is_told(lab: list[str]) -> None:
    assert lab[0] == "making 5 nodes and 5 links"
    assert "a: running 2 commands" in lab


def test_a_command_that_never_ends_is_named_and_the_lab_taken_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "EXEC_S", 0.3)
    text = "name: slow\ntopology: {nodes: {slow-a: {kind: linux, exec: [sleep 1000]}}}\n"
    with pytest.raises(LabError, match=r"lab slow: slow-a: 'sleep 1000' has run for 0 s; let exec start"):
        hosts.build(load_topology("slow.clab.yml", text), tmp_path / "lab", "slow.clab.yml")
    assert "slow-a" not in said("ip", "netns", "list")
    assert not (tmp_path / "lab").exists()


def test_a_sysctl_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    text = "name: odd\ntopology: {nodes: {odd-a: {kind: linux, sysctls: {net.ipv4.nosuch: 1}}}}\n"
    with pytest.raises(LabError, match=r"lab odd: odd-a: the sysctl net.ipv4.nosuch = 1 cannot be set"):
        hosts.build(load_topology("odd.clab.yml", text), tmp_path / "lab", "odd.clab.yml")


OPERATED = """
name: operated
topology:
  defaults: {kind: linux}
  nodes:
    desk:
      labels: {netorch.role: console}
      exec:
        - sh -c 'echo "store = \\"$NETORCH_LAB_DIR/cloud.db\\"" >"$NETORCH_CONFIG"'
        - netorch host create hv1 --underlay 192.0.2.11
        - netorch vpc create acme --cidr 10.44.0.0/16
        - netorch subnet create app --vpc acme --cidr 10.44.12.0/24
        - netorch instance run web-1 --subnet app --host hv1 --no-wait
    hv1:
      labels: {netorch.role: hypervisor, netorch.underlay: 192.0.2.11}
      exec:
        - ip addr add 192.0.2.11/24 dev eth1
        - sh -c 'echo "store = \\"$NETORCH_LAB_DIR/cloud.db\\"" >"$NETORCH_CONFIG"'
  links: [{type: dummy, endpoint: {node: hv1, interface: eth1}}]
"""


def test_with_a_console_its_commands_make_the_hosts_and_all_of_it_goes_with_the_lab(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = namespaces()
    record = hosts.build(load_topology("operated.clab.yml", OPERATED), tmp_path / "lab", "operated.clab.yml")
    try:
        assert not nodes.store_path(tmp_path / "lab").exists()
        wait_for(lambda: any(name.startswith("i-") for name in cabled("netorch-hv1")), "the instance's port")
        status = hosts.run(record, tmp_path / "lab", None, ["sh", "-c", "echo $NETORCH_HOST; netorch instance list -o name"])
        assert (status, capfd.readouterr().out.split()) == (0, ["desk", "default/acme/web-1"])
    finally:
        hosts.destroy(tmp_path / "lab")
    assert namespaces() == before
