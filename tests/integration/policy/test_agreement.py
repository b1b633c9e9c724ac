"""Real packets end as the oracle says: they arrive only where it says, or are dropped by the stage that it names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, note

from tests.property.policy_scripts import Script, scripts, stored_scripts
from tests.rig.arena import Arena

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Two hosts, for all scripts of this module."""
    arena = Arena(tmp_path_factory.mktemp("arena"))
    yield arena
    arena.close()


@pytest.mark.parametrize("name", stored_scripts())
def test_a_stored_case_ends_as_it_says(arena: Arena, name: str) -> None:
    arena.play(stored_scripts()[name])


@given(script=scripts())
def test_packets_end_as_the_oracle_says(arena: Arena, script: Script) -> None:
    note(script.text())
    arena.play(script)
