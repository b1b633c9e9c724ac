"""The filter of a device that decides about a packet, and the result of address translation."""

from __future__ import annotations

import msgspec
import pytest

from netorch.errors import TraceError
from netorch.state.base import KernelObject
from netorch.state.tc import (
    EGRESS,
    INGRESS,
    IP,
    IPV6,
    VERIFIED,
    Drop,
    Match,
    Nat,
    OtherPriority,
    Receive,
    Redirect,
    StrangeFilter,
    TcFilter,
)
from netorch.trace.hooks.tc import deciding, translated
from netorch.trace.host_model import HostModel
from tests.unit.policy.small import ping

MAC, OTHER_MAC = "06:00:00:00:00:01", "06:00:00:00:00:02"
INLET = TcFilter(
    vni=5000, ifname="vx5000", step=10, match=Match(dst_mac=MAC), actions=(Receive(mark=1), Redirect("m-0013880000001"))
)
STRANGE = StrangeFilter(vni=5000, ifname="vx5000", hook=INGRESS, pref=1, handle=5, what="matchall of another kind or protocol")


PACKET = ping("10.0.0.4", "10.0.0.5")


def model(*objects: KernelObject) -> HostModel:
    return HostModel("hv1", {obj.key: obj for obj in objects})


def taken(*objects: KernelObject, lladdr: str = MAC, priority: int = VERIFIED) -> TcFilter | None:
    return deciding(model(*objects).filters("vx5000", INGRESS), PACKET, lladdr, priority)


def test_the_first_filter_that_takes_a_packet_at_the_device_s_ingress_decides() -> None:
    later = msgspec.structs.replace(INLET, step=11, actions=(Drop(),))
    unproven = msgspec.structs.replace(INLET, step=1, match=OtherPriority(VERIFIED), actions=(Drop(),))
    others = (
        msgspec.structs.replace(INLET, hook=EGRESS, step=1),
        msgspec.structs.replace(INLET, ifname="vx6000", step=1),
        unproven,
        msgspec.structs.replace(INLET, step=2, match=Match(protocol=IP, dst_mac=OTHER_MAC)),
        msgspec.structs.replace(INLET, step=3, match=Match(protocol=IPV6)),
        msgspec.structs.replace(INLET, step=4, match=Match(protocol=IP, src="10.0.0.5/32")),
        msgspec.structs.replace(INLET, step=5, match=Match(protocol=IP, ip_proto=17)),
    )
    assert taken(later, *others, INLET) == INLET
    assert taken(later, *others, INLET, priority=0) == unproven
    pings = msgspec.structs.replace(INLET, step=6, match=Match(protocol=IP, ip_proto=1))
    assert taken(later, *others, INLET, pings) == pings
    assert taken(*others, INLET, lladdr="06:00:00:00:00:03") is None


def test_somebody_elses_filter_on_the_device_is_no_ground_to_tell_from() -> None:
    with pytest.raises(TraceError, match=r"matchall.*drifted"):
        taken(INLET, STRANGE)
    assert taken(INLET, msgspec.structs.replace(STRANGE, ifname="vx6000")) == INLET


def test_a_translation_changes_one_address_and_keeps_the_bits_behind_a_shorter_prefix() -> None:
    assert translated(PACKET, Nat(EGRESS, "10.0.0.4/32", "198.51.100.5")).source == "198.51.100.5"
    assert translated(PACKET, Nat(INGRESS, "10.0.0.0/24", "192.0.2.0")).destination == "192.0.2.5"
    assert translated(PACKET, Nat(EGRESS, "10.0.0.5/32", "198.51.100.5")) == PACKET
