"""Records of connections that come from other hosts: what the kernel's messages cannot hold is refused."""

from __future__ import annotations

import msgspec
import pytest

from netorch.drivers.conntrack.flows import whole
from netorch.errors import UnreadableRecord
from netorch.records.codec import decode_value
from netorch.records.flows import HandedOver
from netorch.state.flow import Flow

KEY = "hoststat/hv1/flows/eni-00138800000000007"
DAYS_5 = 432_000  # the kernel's nf_conntrack_tcp_timeout_established
IPV4 = Flow(zone=3, protocol=6, source="10.0.0.5", destination="10.0.0.77", sport=40000, dport=80, tcp_state=3)
IPV6 = msgspec.structs.replace(IPV4, source="fd00::5", destination="fd00::77")


def read(flow: Flow, change: dict[str, object]) -> Flow:
    value = msgspec.json.encode({"flows": [msgspec.to_builtins(flow) | change]})
    return decode_value(KEY, value, HandedOver).flows[0]


@pytest.mark.parametrize(
    ("flow", "change"),
    [
        (IPV4, {"timeout_s": DAYS_5, "tcp_state": 9}),
        (IPV4, {"nat_source": "10.0.0.9", "nat_port": 5000, "nat_destination": "10.0.0.8", "nat_dport": 53}),
        (IPV6, {"destination": "::ffff:10.0.0.5"}),
    ],
)
def test_all_that_is_read_fits_into_a_message_for_the_kernel(flow: Flow, change: dict[str, object]) -> None:
    assert whole(read(flow, change))


@pytest.mark.parametrize(
    ("flow", "change"),
    [
        (IPV4, {"nat_destination": "x"}),
        (IPV4, {"nat_destination": "fd00::1"}),
        (IPV4, {"nat_destination": "10.1"}),
        (IPV4, {"nat_source": "fd00::1"}),
        (IPV4, {"nat_source": "10.0.0.05"}),
        (IPV4, {"destination": "fd00::77"}),
        (IPV6, {"nat_source": "10.0.0.5"}),
        (IPV6, {"nat_destination": "fd00::1"}),
        (IPV6, {"source": "fd00:0::5"}),
        (IPV6, {"source": "FD00::5"}),
        (IPV6, {"source": "fe80::1%1"}),
        (IPV4, {"source": "10.0.0.5\0"}),
        (IPV4, {"timeout_s": DAYS_5 + 1}),
        (IPV4, {"timeout_s": -1}),
        (IPV4, {"nat_port": 1 << 16}),
        (IPV4, {"nat_dport": -1}),
        (IPV4, {"original_zone": 1 << 16}),
        (IPV4, {"tcp_state": 10}),
    ],
)
def test_a_record_with_a_connection_that_is_none_cannot_be_read(flow: Flow, change: dict[str, object]) -> None:
    with pytest.raises(UnreadableRecord, match=KEY):
        read(flow, change)
