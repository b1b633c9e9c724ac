"""An agent and its namespaces: interference by others, the objects lost with a namespace, and notifications."""

from __future__ import annotations

import msgspec
import pytest

from netorch.model.eni import Host
from netorch.model.vpc import Vpc
from netorch.state.base import OUTSIDE, KernelObject, Key
from netorch.state.link import IncompleteLink, Link, Uplink
from netorch.state.names import outside_cable, vxlan_name
from netorch.state.netns import Namespace
from netorch.state.op import Create, Delete
from tests.unit.edges.pair import UPLINK, Pair, gateway_of

FIRST, A = "198.51.100.5", "10.0.0.4"


@pytest.fixture
def vpc(pair: Pair) -> Vpc:
    """A VPC with a public address, on a settled pair."""
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, FIRST, A)
    pair.world.settle(3)
    pair.world.assert_settled()
    return vpc


def held(pair: Pair) -> dict[Key, KernelObject]:
    """Return the first edge's kernel objects."""
    return dict(pair.world.kernels["e1"].objects)


def victims(vpc: Vpc) -> dict[str, Key]:
    """Return the keys of objects that another program may delete."""
    near, far = outside_cable(vpc.vni, gateway_of(vpc.vni))
    return {
        "namespace": Namespace(label=OUTSIDE).key,
        "uplink": Uplink(ifname=UPLINK.device).key,
        "near end": ("link", "overlay", near),
        "far end": ("link", OUTSIDE, far),
        "VXLAN device": ("link", "overlay", vxlan_name(vpc.vni)),
        "up state": ("up", OUTSIDE, UPLINK.device),
    }


@pytest.mark.parametrize("what", ["namespace", "uplink", "near end", "far end", "VXLAN device", "up state"])
def test_what_somebody_deletes_comes_back_with_all_that_went_along(pair: Pair, vpc: Vpc, what: str) -> None:
    before = held(pair)
    kernel = pair.world.kernels["e1"]
    kernel.disturb(Delete(kernel.objects[victims(vpc)[what]]))
    assert held(pair) != before
    pair.world.settle(3)
    assert held(pair) == before
    pair.world.assert_settled()


def test_an_end_that_lacks_its_mark_is_finished(pair: Pair, vpc: Vpc) -> None:
    before, kernel = held(pair), pair.world.kernels["e1"]
    end = kernel.objects[victims(vpc)["far end"]]
    assert isinstance(end, Link)
    kernel.host.objects[end.key] = IncompleteLink(netns=OUTSIDE, vni=vpc.vni, ifname=str(end.key[2]), seems=end)
    pair.world.start("e1")
    pair.world.settle(3)
    assert held(pair) == before


def test_a_host_that_is_an_edge_no_more_and_again_loses_and_regains_what_leads_outside(pair: Pair, vpc: Vpc) -> None:
    world, kernel = pair.world, pair.world.kernels["e1"]
    before = held(pair)
    stored = world.agents["e1"].records.host
    assert stored is not None
    pair.put_edge(Host(name="e1", underlay=stored.underlay))
    world.settle(3)
    assert UPLINK.device in kernel.devices
    assert not [obj for obj in kernel.objects.values() if obj.netns == OUTSIDE]
    assert world.agents["e1"].reconciler.problems == {}
    pair.put_edge(stored)
    world.settle(3)
    assert held(pair) == before


def test_an_edge_gets_another_uplink(pair: Pair, vpc: Vpc) -> None:
    world, kernel = pair.world, pair.world.kernels["e1"]
    stored = world.agents["e1"].records.host
    assert stored is not None
    assert stored.uplink is not None
    kernel.devices.add("eth2")
    pair.put_edge(msgspec.structs.replace(stored, uplink=msgspec.structs.replace(stored.uplink, device="eth2")))
    world.settle(3)
    assert kernel.devices == {"eth0", UPLINK.device}
    world.assert_settled()


def test_a_namespace_of_no_gateway_that_is_known_is_removed_with_what_is_in_it(pair: Pair, vpc: Vpc) -> None:
    before, kernel = held(pair), pair.world.kernels["e1"]
    stray = Namespace(vni=vpc.vni, label=f"nat-{vpc.vni:06x}00000000abc")
    pair.world.kill("e1")
    kernel.apply([Create(stray)])
    pair.world.start("e1")
    pair.world.settle(3)
    assert held(pair) == before
