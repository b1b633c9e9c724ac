"""Agents and the store stop and start, hosts reboot; traffic is not affected."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from netorch.agent.snapshot import SnapshotFile
from netorch.control.actions.instances import RunRequest, run_instance
from netorch.drivers import netns
from netorch.drivers.probe.echo import Probe, ask
from netorch.errors import KernelError
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.store.base import Put
from tests.rig.agents import AgentProcess, restricted
from tests.rig.packets import PATIENCE_S
from tests.rig.world import SAVED_S, World, wait_for

pytestmark = pytest.mark.root

ARPHRD_LOOPBACK = 772
# Of packets every 2 ms. Another processor may meet rules in the middle of their commit (docs/design/policy.md); QEMU is ten times
# slower. Without chains, packets would be lost for more than a second there.
MOST_LOST_IN_A_COMMIT = 0 if os.cpu_count() == 1 else 25

CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4}
  - {name: b, host: hv2, address: 10.44.12.5}
"""


TWO_CLOUDS = CLOUD + CLOUD.replace("vpcs:\n", "").replace("acme", "globex")


def writes_of(world: World, host: str) -> int | None:
    """Return the number of writes to the kernel since a host's agent started, as the agent reports it."""
    status = world.inventory().agents.get(host)
    return status.writes if status is not None else None


def test_a_restart_with_nothing_changed_writes_nothing_and_loses_nothing(world: World) -> None:
    world.start_agents("hv1", "hv2")
    world.apply(CLOUD)
    traffic = world.traffic("acme/a", "acme/b")
    for _ in range(3):
        world.stop_agent("hv1")
        world.start_agents("hv1")
        agent = world.agent("hv1")
        wait_for(lambda a=agent: a.follower.in_sync, "in sync")  # type: ignore[misc]
        assert agent.reconciler.writes == 0
    assert traffic.stop() == 0


def test_an_agent_killed_at_any_moment_loses_no_packet(world: World) -> None:
    world.start_agents("hv2")
    world.start_process("hv1")
    world.apply(CLOUD)
    traffic = world.traffic("acme/a", "acme/b")
    chance = random.Random(4789)
    for _ in range(4):
        agent = world.agents["hv1"]
        assert isinstance(agent, AgentProcess)
        time.sleep(chance.uniform(0.0, 1.5))  # at any point between start and idle
        agent.kill()
        world.start_process("hv1")
    pid = world.agents["hv1"]._process.pid  # type: ignore[union-attr]
    wait_for(lambda: _agent_of(world, "hv1") == pid, "the last agent to report")
    assert traffic.stop() == 0
    assert writes_of(world, "hv1") == 0


def _agent_of(world: World, host: str) -> int | None:
    status = world.inventory().agents.get(host)
    return status.pid if status is not None else None


def test_an_agent_with_other_tables_changes_them_without_losing_a_packet(world: World) -> None:
    """The old chains of VPCs and ports lead to where the new tables have nothing, as after an upgrade."""
    world.start_agents("hv1", "hv2")
    world.apply(CLOUD)
    traffic = world.traffic("acme/a", "acme/b", 0.002)
    world.stop_agent("hv1")
    for family in ("inet", "netdev"):
        _age(world, "hv1", family)
    world.start_agents("hv1")
    agent = world.agent("hv1")
    wait_for(lambda: agent.follower.in_sync, "in sync")
    assert traffic.stop() <= MOST_LOST_IN_A_COMMIT
    assert not any("older" in _chains(world, "hv1", family) for family in ("inet", "netdev"))
    assert agent.reconciler.writes == 2
    assert agent.reconciler.read_kernel() == 0, "the agent knows what the tables hold"


def test_a_vpc_whose_rules_do_not_fit_other_tables_costs_no_other_a_packet(world: World) -> None:
    world.start_agents("hv1", "hv2")
    world.apply(TWO_CLOUDS)
    key = keys.vpc(world.vpc("acme").vni)
    known = world.store.get(key)
    assert known is not None
    own = Probe(netns=world.instance("acme/a").id, destination="10.44.12.5")
    traffic = world.traffic("globex/a", "globex/b", 0.002)
    world.stop_agent("hv1")
    world.store.txn((), [Put(key, b'{"cidrs": 5}')])  # so the agent cannot tell which rules fit
    for family in ("inet", "netdev"):
        _age(world, "hv1", family)
    world.start_agents("hv1")
    wait_for(lambda: world.agent("hv1").follower.in_sync, "in sync")
    assert traffic.stop() <= MOST_LOST_IN_A_COMMIT
    assert not _answers(own)
    world.store.txn((), [Put(key, known.value)])
    wait_for(lambda: _answers(own), "the VPC's new rules")


def _age(world: World, host: str, family: str) -> None:
    """Let the chains of VPCs and ports in a table begin with a jump to a chain of which the table's text knows nothing."""
    own = [name for name in _chains(world, host, family) if name.startswith(("v-", "egress-", "ingress-"))]
    lines = [f"add chain {family} netorch older", *(f"insert rule {family} netorch {name} jump older" for name in own)]
    assert own
    _nft(world, host, "-f", "-", text="\n".join(lines))


def _chains(world: World, host: str, family: str) -> list[str]:
    """Return the names of the chains of netorch's table of a family in a host's overlay."""
    found = json.loads(_nft(world, host, "-j", "list", "chains", family))["nftables"]
    return [each["chain"]["name"] for each in found if each.get("chain", {}).get("table") == "netorch"]


def _nft(world: World, host: str, *words: str, text: str = "") -> str:
    command = ["ip", "netns", "exec", world.hosts[host].overlay, "nft", *words]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout


def test_an_agent_killed_while_it_builds_is_completed_by_the_next(world: World) -> None:
    world.start_agents("hv2")
    chance = random.Random(7348)
    many = "".join(f"\n  - {{name: n{n}, host: hv1, address: 10.44.12.{n}}}" for n in range(10, 22))
    world.start_process("hv1")
    world.apply(CLOUD + many.removeprefix("\n"), wait=False)
    for _ in range(5):
        time.sleep(chance.uniform(0.7, 1.6))
        agent = world.agents["hv1"]
        assert isinstance(agent, AgentProcess)
        agent.kill()
        world.start_process("hv1")
    world.wait_attached()
    assert all(world.reaches(f"acme/n{n}", "acme/b") for n in (10, 15, 21))


def test_a_second_agent_of_a_host_is_refused_whatever_its_state_directory(world: World) -> None:
    world.start_process("hv1")
    wait_for(lambda: _agent_of(world, "hv1"), "the first to report")
    command = ["agent", "run", "--host", "hv1", "--state-dir", str(world.directory / "other")]
    for place in ("hv1", "hv2"):  # from any namespace: the agent would manage the same overlay
        done = subprocess.run(
            ["ip", "netns", "exec", place, sys.executable, "-m", "netorch", "--store", str(world.store_path), *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.returncode, "an agent of this host is already running" in done.stderr) == (1, True), done.stderr
    agent = world.agents["hv1"]
    assert isinstance(agent, AgentProcess)
    agent.kill()
    world.start_process("hv1")  # the killed agent's lock does not block the next one


def test_the_data_plane_lives_on_without_store_and_agent_and_boots_from_the_snapshot(world: World) -> None:
    world.start_agents()
    world.apply(CLOUD)
    wait_for(lambda: (world.directory / "hv1.snapshot").exists(), "the snapshot")
    wait_for(lambda: _snapshot_has_both(world), "the snapshot to hold both mappings", SAVED_S)
    world.stop_agent("hv1")
    hidden = world.directory / "hidden"
    world.store_path.parent.rename(hidden)
    traffic = world.traffic("acme/b", "acme/a")
    time.sleep(0.2)
    assert traffic.stop() == 0

    _reboot(world, "hv1")
    assert not world.reaches("acme/b", "acme/a", tries=1)
    with world.hosts["hv1"].rtnl() as ipr:
        eth0 = ipr.link_lookup(ifname="eth0")[0]
        address = {"index": eth0, "address": world.hosts["hv1"].vtep, "prefixlen": 32}
        ipr.addr("del", **address)  # the network is not up yet; Linux removes the routes with the last address
        _restore(world, "hv1")
        assert netns.exists(world.hosts["hv1"].overlay)
        ipr.addr("add", **address)
        ipr.route("add", dst="198.18.0.1/32", oif=eth0, scope=253)
        ipr.route("add", dst="default", gateway="198.18.0.1", oif=eth0)
    wait_for(lambda: world.reaches("acme/b", "acme/a"), "the host to carry packets, with neither a store nor an agent")
    _restore(world, "hv1")  # a running host keeps its state
    world.start_agents("hv1")
    agent = world.agent("hv1")
    assert agent.follower.trouble
    assert agent.reconciler.writes == 0

    hidden.rename(world.store_path.parent)
    wait_for(lambda: world.agent("hv1").follower.in_sync, "the store to be back")


def _restore(world: World, host: str) -> None:
    """Run the command of netorch-restore.service."""
    command = [
        *restricted(),
        sys.executable,
        "-m",
        "netorch",
        "agent",
        "restore",
        "--host",
        host,
        "--state-dir",
        str(world.directory),
    ]
    with netns.inside(world.hosts[host].fd):
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr


def _snapshot_has_both(world: World) -> bool:
    snapshot = SnapshotFile(world.directory / "hv1.snapshot").load()
    return snapshot is not None and sum(key.startswith("map/") for key in snapshot.records) == 2


def _reboot(world: World, host: str) -> None:
    """Remove what a reboot removes; the namespaces may outlive their names, so they are emptied first."""
    with world.hosts[host].rtnl(overlay=True) as ipr:
        for link in list(ipr.get_links()):
            if link["ifi_type"] != ARPHRD_LOOPBACK:
                with suppress(NetlinkError):  # already deleted with the other end of its pair
                    ipr.link("del", index=link["index"])
    netns.remove(world.instance("acme/a").id)
    netns.remove(world.hosts[host].overlay)


def test_a_store_that_is_another_one_is_refused(world: World) -> None:
    world.start_agents()
    world.apply(CLOUD)
    wait_for(lambda: _snapshot_has_both(world), "the snapshot to hold both mappings", SAVED_S)
    world.stop_agent("hv1")
    saved = SnapshotFile(world.directory / "hv1.snapshot").load()
    assert saved is not None
    other = type(saved)(uid="another-store", revision=saved.revision, records=saved.records)
    SnapshotFile(world.directory / "hv1.snapshot").save(other)
    world.start_agents("hv1")
    assert "this is another store" in world.agent("hv1").follower.trouble
    assert world.reaches("acme/a", "acme/b")
    assert world.agent("hv1").reconciler.writes == 0


def test_an_unreadable_vpc_does_not_harm_another(world: World) -> None:
    world.start_agents()
    world.apply(TWO_CLOUDS)
    vni = world.vpc("acme").vni
    key = keys.vpc(vni)
    known = world.store.get(key)
    assert known is not None
    subnet = next(iter(world.vpc("globex").of(Subnet)))
    traffic = world.traffic("acme/a", "acme/b")
    world.store.txn((), [Put(key, b'{"cidrs": 5}')])
    wait_for(lambda: vni in world.agent("hv1").reconciler.problems, "the problem to be told")
    wait_for(lambda: world.store.get(keys.vpc_status("hv1", vni)) is not None, "the problem to be reported")
    world.stop_agent("hv1")
    world.start_agents("hv1")  # a fresh agent that has never compiled the unreadable VPC must not remove it
    placed = run_instance(world.store, world.caller, RunRequest(name="c", subnet=subnet, host="hv1"))
    probe = Probe(netns=placed.instance.id, destination="10.44.12.5")
    wait_for(lambda: _answers(probe), "the other VPC to go on changing")
    assert traffic.stop() == 0
    world.store.txn((), [Put(key, known.value)])
    wait_for(lambda: vni not in world.agent("hv1").reconciler.problems, "the problem to be gone")


def _answers(probe: Probe) -> bool:
    try:
        return ask([probe])[0].ok
    except KernelError:  # the instance's namespace does not exist yet
        return False


def test_a_snapshot_with_any_bit_flipped_or_cut_anywhere_is_noticed(tmp_path: os.PathLike[str]) -> None:
    from pathlib import Path

    from netorch.agent.snapshot import Snapshot

    file = SnapshotFile(Path(tmp_path) / "x.snapshot")
    file.save(Snapshot(uid="u", revision=3, records={"host/hv1/spec": (2, b"{}")}))
    content = file.path.read_bytes()
    assert file.load() is not None
    for position in range(len(content)):
        file.path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert file.load() is None
        file.path.write_bytes(content[:position])
        assert file.load() is None
