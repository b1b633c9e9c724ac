"""Which filter of a device takes the packets to an interface that routes lead to."""

from __future__ import annotations

import msgspec
import pytest

from netorch.errors import TraceError
from netorch.state.base import KernelObject
from netorch.state.tc import EGRESS, INGRESS, IP, VERIFIED, Drop, Match, OtherPriority, Receive, Redirect, StrangeFilter, TcFilter
from netorch.trace.host_model import HostModel

MAC, OTHER_MAC = "06:00:00:00:00:01", "06:00:00:00:00:02"
INLET = TcFilter(
    vni=5000, ifname="vx5000", step=10, match=Match(dst_mac=MAC), actions=(Receive(mark=1), Redirect("m-0013880000001"))
)
STRANGE = StrangeFilter(vni=5000, ifname="vx5000", hook=INGRESS, pref=1, handle=5, what="matchall of another kind or protocol")


def model(*objects: KernelObject) -> HostModel:
    return HostModel("hv1", {obj.key: obj for obj in objects})


def test_the_first_filter_of_the_mac_at_the_device_s_ingress_is_taken() -> None:
    later = msgspec.structs.replace(INLET, step=11, actions=(Drop(),))
    others = (
        msgspec.structs.replace(INLET, hook=EGRESS, step=1),
        msgspec.structs.replace(INLET, ifname="vx6000", step=1),
        msgspec.structs.replace(INLET, step=1, match=OtherPriority(VERIFIED)),
        msgspec.structs.replace(INLET, step=2, match=Match(protocol=IP, dst_mac=OTHER_MAC)),
    )
    assert model(later, *others, INLET).filter("vx5000", MAC) == INLET
    assert model(*others, INLET).filter("vx5000", "06:00:00:00:00:03") is None


def test_somebody_elses_filter_on_the_device_is_no_ground_to_tell_from() -> None:
    with pytest.raises(TraceError, match=r"matchall.*drifted"):
        model(INLET, STRANGE).filter("vx5000", MAC)
    assert model(INLET, msgspec.structs.replace(STRANGE, ifname="vx6000")).filter("vx5000", MAC) == INLET
