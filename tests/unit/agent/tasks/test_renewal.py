"""The renewal of a certificate while the host's clock jumps: what it reports ends with the jump, and the old one stays."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from netorch.agent.tasks.base import Turn
from netorch.agent.tasks.renewal import LOOK_EVERY_S, Renewal
from netorch.identity.authority import HOST_LIFE, Authority, utc_now
from netorch.identity.files import OWN, asked_key, keep_answer


@pytest.mark.parametrize("years", [-20, 10])
def test_a_clock_that_jumps_and_comes_back_leaves_the_certificate_and_no_report(tmp_path: Path, years: int) -> None:
    begun = utc_now()
    authority = Authority.new("cloud", begun)
    keep_answer(tmp_path, authority.for_user(asked_key(tmp_path).public_key(), "host/hv1/1", begun, HOST_LIFE), authority.pem)
    before = (tmp_path / OWN).read_bytes()
    wall = begun

    def clock() -> datetime:
        return wall

    renewal, now = Renewal(tmp_path, clock), 1000.0
    for jump in (0, years, 0):
        wall = begun + timedelta(days=365 * jump)
        now += LOOK_EVERY_S
        renewal.turn(Turn(now=now))
        assert (renewal.trouble != "") == (jump > 0)
        assert renewal.wake_at(now) == now + LOOK_EVERY_S
    assert (tmp_path / OWN).read_bytes() == before
