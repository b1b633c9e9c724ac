"""Instances in existing namespaces, with agents: a refused instance gets a reason, and no other instance is affected."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from netorch.control.views.describe import InstanceState, describe_instances
from netorch.control.views.health import read_health
from netorch.drivers import netns
from netorch.model.eni import EniState
from tests.rig.hosts import (
    foreigner,
)
from tests.rig.namespaces import (
    by_mount,
    namespace,
)
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root


# --- with agents -------------------------------------------------------------------------------------------------------------

CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: a, host: hv1}
  - {name: b, host: hv2}
"""

INTRUDER = "  - {name: c, host: hv2, attachment: existing, netns: %s}\n"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[World]:
    """Two hosts with agents and an instance on each."""
    world = World(tmp_path, ("hv1", "hv2"))
    try:
        world.start_agents()
        world.apply(CLOUD)
        yield world
    finally:
        world.close()


def reason(world: World, name: str, of: str) -> str:
    """Wait until an instance has failed for a reason that contains these words, and return the reason."""

    def told() -> str:
        status = world.inventory().eni_status.get(("hv2", world.eni(name).id))
        return status.reason if status is not None and status.state is EniState.FAILED and of in status.reason else ""

    return wait_for(told, f"{name} to fail for {of!r}")


def test_who_is_refused_a_namespace_is_told_why_and_nobody_else_suffers(two: World) -> None:
    routes = foreigner("hv2", "route")
    victim = two.instance("acme/b").id
    stream = two.traffic("acme/a", "acme/b", 0.02)
    try:
        for name, what in (("hv2", "the host's own namespace"), (by_mount(f"/run/netns/{victim}"), victim)):
            two.apply(CLOUD + INTRUDER % name, wait=False)
            said = reason(two, "acme/c", what)
            assert f"host hv2: interface {two.eni('acme/c').id}: {said}" in read_health(two.store, 0.0).problems
        two.apply(CLOUD)
        two.settle()
        wait_for(lambda: read_health(two.store, 0.0).problems == (), "all to be well")
    finally:
        lost = stream.stop()
    assert lost == 0
    assert foreigner("hv2", "route") == routes
    assert "eth0" in foreigner(victim, "link")


def has_altname(overlay: str, name: str) -> bool:
    return f"netorch-{name}" in foreigner(overlay, f"link show dev {name}")


def test_a_running_agent_gives_devices_their_marks_and_ports_back(two: World) -> None:
    overlay = two.hosts["hv2"].overlay
    port, vni = two.port("acme/b"), two.eni("acme/b").vni
    for name in (port, f"vx{vni}", f"vrf{vni}"):
        foreigner(overlay, f"link property del dev {name} altname netorch-{name}")
        wait_for(partial(has_altname, overlay, name), f"the mark of {name}")
    assert two.reaches("acme/a", "acme/b")
    with namespace("container"):
        foreigner(overlay, f"link set {port} netns container")
        wait_for(lambda: two.reaches("acme/a", "acme/b", tries=1), "the port")
        assert port not in foreigner("container", "link")


def test_an_instance_in_a_namespace_with_a_default_route_is_told_that_it_stays(two: World) -> None:
    with namespace("container"):
        for command in ("link add up0 type dummy", "link set up0 up", "route add default dev up0 metric 50"):
            foreigner("container", command)
        two.apply(CLOUD + INTRUDER % "container")
        two.settle()
        info = next(found for found in describe_instances(two.inventory(), two.caller) if found.instance.name == "c")
        assert info.state is InstanceState.RUNNING
        assert "already had an IPv4 default route" in info.reason
        assert foreigner("container", "route show default").startswith("default dev up0")
        two.apply(CLOUD)
        assert (netns.RUN_NETNS / "container").exists()
