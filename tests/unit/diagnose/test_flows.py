"""The lines of `netorch flows`."""

from __future__ import annotations

import time

import msgspec
import pytest

from netorch.cli.commands.flows import _clock, text_of
from netorch.diagnose.flows import Seen
from tests.unit.cli.conftest import Run

NOON = time.mktime((2026, 3, 4, 12, 0, 0, 0, 0, -1))  # seconds since 1970, local time
BEGUN = Seen(at_s=NOON, host="hv1", verdict="accept", vpc="acme/shop", source="10.0.1.4", destination="10.0.1.5", protocol=6)


@pytest.mark.parametrize(("at_s", "clock"), [(NOON - 3600, "11:00:00"), (NOON - 4 * 86400, "2026-02-28 12:00:00")])
def test_a_connection_has_its_start_in_front_with_the_date_unless_it_is_today(at_s: float, clock: str) -> None:
    assert _clock(at_s, NOON) == clock


@pytest.mark.parametrize("offloaded", [True, False])
def test_a_connection_says_whether_it_is_offloaded(offloaded: bool) -> None:
    seen = msgspec.structs.replace(BEGUN, offloaded=offloaded)
    assert text_of(seen).endswith("(? -> ?) [offloaded]") is offloaded
    assert msgspec.json.decode(msgspec.json.encode(seen))["offloaded"] is offloaded


def test_a_machine_without_a_host_is_refused(quick: Run) -> None:
    quick("host", "create", "elsewhere", "--underlay", "192.0.2.11")
    said = quick("flows", code=1).stderr
    assert "flows: none of 1 hosts has its overlay namespace on this machine; run it on a host whose agent has started" in said
