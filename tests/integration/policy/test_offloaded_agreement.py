"""Real packets end as the oracle says, too, between ends that converse: the kernel may offload connections (tests.rig.arena)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, note, settings

from tests.property.policy_scripts import Script, scripts, stored_scripts
from tests.rig.arena import Arena

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Two hosts whose instances converse."""
    arena = Arena(tmp_path_factory.mktemp("arena"), offloaded=True)
    yield arena
    arena.close()
    assert arena.offloads > 0


@pytest.mark.parametrize("name", stored_scripts())
def test_a_stored_case_ends_as_the_oracle_says(arena: Arena, name: str) -> None:
    arena.play(stored_scripts()[name])


@settings(max_examples=settings().max_examples // 4)
@given(script=scripts())
def test_packets_end_as_the_oracle_says(arena: Arena, script: Script) -> None:
    note(script.text())
    arena.play(script)
