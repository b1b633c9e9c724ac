"""Flow logs end to end: real packets, an agent, and the lines in its files."""

from __future__ import annotations

import pytest

from netorch.agent.flowlog.files import log_directory, read_lines
from netorch.control.actions.flow_logs import create_flow_log
from netorch.control.actions.permissions import revoke_by_id
from netorch.diagnose.flows import Wanted, Watcher
from netorch.model.security import SecurityGroup
from tests.rig.world import World, wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow]

CLOUD = """
vpcs:
- name: acme
  owner: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4}
  - {name: b, host: hv1, address: 10.44.12.5}
  - {name: c, host: hv2, address: 10.44.12.6}
"""
FIELDS = "interface-id srcaddr dstaddr protocol packets action flow-direction log-status"


def lines(world: World, log_id: str) -> list[list[str]]:
    directory = log_directory(world.directory / "flow-logs", "acme", world.vpc("acme").vpc.record.id, log_id)
    return [line.split() for line in read_lines(directory)]


def test_a_refused_ping_is_seen_live_with_the_group_that_refused_it_and_logged(world: World) -> None:
    world.start_agents("hv1", "hv2")
    world.apply(CLOUD)
    vpc = world.vpc("acme")
    (group,) = (stored.record for stored in vpc.of(SecurityGroup).values())
    revoke_by_id(world.store, world.caller, group.id, [rule.id for rule in group.ingress])
    log = create_flow_log(world.store, world.caller, vpc.vpc.record.id, name="all", interval_s=10, log_format=FIELDS)
    wait_for(lambda: lines(world, log.id), "the first interval's lines")
    watcher = Watcher(world.inventory(), world.caller, Wanted(verdict="drop"))
    watcher.listen()
    assert not world.reaches("acme/a", "acme/b", tries=1)
    seen = list(watcher.follow(1.0))
    watcher.close()
    assert {(one.vpc, one.source_instance, one.destination_instance, one.reason, one.icmp) for one in seen} == {
        ("acme/acme", "a", "b", "sg_ingress", "8/0")
    }
    assert seen[0].why.endswith("group default")
    wanted = [world.eni("acme/b").id, "10.44.12.4", "10.44.12.5", "1", "1", "REJECT", "ingress", "OK"]
    wait_for(lambda: wanted in lines(world, log.id), "the line of the refused ping")


def test_an_accepted_and_a_refused_flow_have_their_lines_on_both_hosts(world: World) -> None:
    world.start_agents("hv1", "hv2")
    world.apply(CLOUD)
    vpc = world.vpc("acme").vpc.record
    log = create_flow_log(world.store, world.caller, vpc.id, name="all", interval_s=10, log_format=FIELDS)
    wait_for(lambda: lines(world, log.id), "the first interval's lines")
    names = {world.eni(f"acme/{name}").id: name for name in "abc"}
    assert {line[-1] for line in lines(world, log.id)} == {"NODATA"}
    assert world.reaches("acme/a", "acme/b")
    assert world.reaches("acme/a", "acme/c")

    def seen() -> set[tuple[str, ...]]:
        return {(names[line[0]], line[1], line[2], line[5], line[6]) for line in lines(world, log.id) if line[-1] == "OK"}

    a, b, c = "10.44.12.4", "10.44.12.5", "10.44.12.6"
    wanted = {
        ("a", a, b, "ACCEPT", "egress"),
        ("a", b, a, "ACCEPT", "ingress"),
        ("b", a, b, "ACCEPT", "ingress"),
        ("b", b, a, "ACCEPT", "egress"),
        ("a", a, c, "ACCEPT", "egress"),
        ("a", c, a, "ACCEPT", "ingress"),
        ("c", a, c, "ACCEPT", "ingress"),
        ("c", c, a, "ACCEPT", "egress"),
    }
    wait_for(lambda: seen() >= wanted, "the lines of two pings")
    assert seen() == wanted
    directory = log_directory(world.directory / "flow-logs", "acme", vpc.id, log.id)
    assert [oct(path.stat().st_mode & 0o777) for path in (directory.parents[1], directory.parent, directory)] == ["0o750"] * 3
    assert {oct(path.stat().st_mode & 0o777) for path in directory.iterdir()} == {"0o640"}
