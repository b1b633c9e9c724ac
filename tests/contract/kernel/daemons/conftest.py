"""Patience with bird: these tests compare what a running bird has, and one without a processor for a second has nothing."""

from __future__ import annotations

import pytest

from netorch.drivers.bird import daemon
from tests.rig.packets import PATIENCE_S


@pytest.fixture(autouse=True)
def patient_with_bird(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "ANSWER_S", PATIENCE_S)
