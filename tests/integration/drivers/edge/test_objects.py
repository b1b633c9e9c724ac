"""The objects that compilers yield for an edge: Linux accepts them, and they are read back without a difference."""

from __future__ import annotations

import pytest

from netorch.compiler.base import Gateway, HostView
from netorch.compiler.registry import compile_host, load_compilers
from netorch.drivers.linux import LinuxKernel
from netorch.model.eni import Host, Role
from netorch.model.mapping import PublicMapping, Seat
from netorch.model.outside.public import AddressPool
from netorch.model.vpc import Vpc
from netorch.plan.diff import diff
from netorch.plan.explain import explain
from netorch.state.base import KernelObject, Key
from tests.rig.hosts import foreigner, host, restarted
from tests.unit.edges.pair import EDGES, POOL, UPLINK, gateway_of
from tests.views import make_view, vpc_objects

pytestmark = pytest.mark.root

NAME, VNI = "e1", 5000
IPV6_POOL, IPV6_RANGE = "2001:db8::/32", "2001:db8:5::/56"


def desired() -> dict[Key, KernelObject]:
    """Return the objects of an edge that carries one VPC, whose gateway has a public address and an IPv6 range."""
    compilers = load_compilers()
    pool = AddressPool(name="p", pair="west", cidrs=(POOL, IPV6_POOL))
    edge = Host(name=NAME, underlay=EDGES[NAME], role=Role.EDGE, pair="west", uplink=UPLINK)
    view = HostView(host=edge, underlay_ifname="eth0", underlay_mtu=1550, pools=(pool,))
    vpc = Vpc(id="vpc-00138800000000001", vni=VNI, owner="o", name="v", cidrs=("10.0.0.0/16",), ipv6_cidrs=(IPV6_RANGE,))
    seat = Seat(host=NAME, vtep=EDGES[NAME])
    public = PublicMapping(
        vni=VNI,
        address="198.51.100.5",
        association="eipassoc-00138800000000001",
        eni="eni-00138800000000001",
        private_address="10.0.0.4",
        pool="p",
    )
    gateway = Gateway(id=gateway_of(VNI), seats=(seat,), seat=seat)
    return compile_host(compilers, view) | vpc_objects(compilers, make_view(view, vpc, gateways=[gateway], public=[public]))


def pending(kernel: LinuxKernel) -> str:
    """Return the operations that an agent would carry out."""
    return explain(diff(desired(), kernel.dump()))


def test_a_restarted_agent_of_an_edge_has_nothing_to_do() -> None:
    with host(NAME) as kernel:
        foreigner(f"u-{NAME}", f"link add {UPLINK.device} type veth peer wire0")
        failures = kernel.apply(diff(desired(), kernel.dump()))
        assert [str(failure.error) for failure in failures] == []
        assert pending(kernel) == ""
        with restarted(NAME) as again:
            assert pending(again) == ""
        assert kernel.apply(diff({}, desired())) == []
        assert UPLINK.device in foreigner(f"u-{NAME}", "link show")
