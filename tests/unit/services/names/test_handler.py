"""The answers that a handler of names forgets when a VPC's own names change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from netorch.services.names.handler import Names
from netorch.state.daemons.services.names import NameRecord, NameView

VNI = 5000


def test_answers_that_began_with_a_vpcs_own_alias_are_forgotten_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[int] = []
    monkeypatch.setattr("netorch.services.names.resolver.Resolver.forget", lambda _, vni: forgotten.append(vni))
    alias = NameRecord(vni=VNI, name="out.corp", type="CNAME", ttl=30, values=("www.example.net.",))

    async def change() -> None:
        names = Names(tmp_path)
        for obj in (NameView(vni=VNI, ranges=("10.0.0.0/16",)), alias):
            await names.put(obj, [])
            assert VNI in forgotten
            forgotten.clear()
        await names.delete(alias)

    asyncio.run(change())
    assert forgotten == [VNI]
